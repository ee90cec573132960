"""Compiles what the kernels' functions would launch, on no GPU at all.

A program of its own, because Triton decides when it is imported whether its
functions are compiled or interpreted. Prints JSON: for each architecture,
module and kernel the opcodes of its variants' PTX.

python compile_all.py ARCHITECTURE ...
"""

import importlib
import json
import re
import sys
from collections import defaultdict
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction, mangle_type

FOLDER = Path(__file__).parents[2] / 'mmdet_retina_plus' / 'kernels'
OPTIONS = ('num_warps', 'enable_fp_fusion')


class Compiler:
    """Takes the place of launches.

    Attributes:
        opcodes: Sets of them, by module and kernel.
    """

    def __init__(self, architecture: int) -> None:
        self.target = GPUTarget('cuda', architecture, 32)
        self.opcodes: dict[str, list[list[str]]] = defaultdict(list)

    def run(self, kernel: JITFunction, *args, **kwargs) -> None:
        options = {
            name: kwargs.pop(name) for name in OPTIONS if name in kwargs
        }
        del kwargs['grid'], kwargs['warmup']
        kwargs |= zip(kernel.arg_names, args, strict=False)
        names = {name: at for at, name in enumerate(kernel.arg_names)}
        constants = {
            parameter.name: kwargs[parameter.name]
            for parameter in kernel.params
            if parameter.is_constexpr or is_one(kwargs[parameter.name])
        }
        signature = {
            name: 'constexpr' if name in constants else mangle_type(value)
            for name, value in kwargs.items()
        }
        aligned = {
            (names[name],): [['tt.divisibility', 16]]
            for name, value in kwargs.items()
            if isinstance(value, torch.Tensor)
        }
        source = ASTSource(
            kernel,
            signature=dict(
                sorted(signature.items(), key=lambda x: names[x[0]])
            ),
            constexprs=constants,
            attrs=aligned,
        )
        ptx = triton.compile(source, target=self.target, options=options)
        opcodes = re.findall(
            r'^\s+(?:@%?\S+ )?([a-z]\S*)', ptx.asm['ptx'], re.M
        )
        module = kernel.fn.__module__.rpartition('.')[2]
        self.opcodes[f'{module}.{kernel.fn.__name__}'].append(
            sorted(set(opcodes))
        )


def is_one(value: object) -> bool:
    """Triton makes a constant of such an argument."""
    return isinstance(value, int) and value == 1


def load() -> dict[str, ModuleType]:
    """The kernels without the package around them."""
    spec = spec_from_file_location(
        'alone',
        FOLDER / '__init__.py',
        submodule_search_locations=[str(FOLDER)],
    )
    assert spec is not None and spec.loader is not None
    sys.modules['alone'] = package = module_from_spec(spec)
    spec.loader.exec_module(package)
    return {
        path.stem: importlib.import_module(f'alone.{path.stem}')
        for path in FOLDER.glob('[!_]*.py')
    }


def launch_losses(sigmoid_loss: ModuleType) -> None:
    one = ((0.25,), (0.75,))
    each = ((0.1,) * 80, (0.9,) * 80)
    labels = torch.zeros(50, dtype=torch.long)
    soft = torch.zeros(50, 80)
    for star, target, weight, balance, scale, per_element, dtype in (
        (False, labels, None, one, 1.0, False, torch.float32),
        (False, labels, soft[:, :1], one, torch.ones(()), False, torch.half),
        (True, labels, soft, each, 1.0, False, torch.bfloat16),
        (False, soft, soft[:, :1], one, torch.ones(()), True, torch.float32),
        (True, soft.half(), soft, one, 1.0, False, torch.float32),
    ):
        loss = sigmoid_loss.SigmoidLoss(
            star, 2.0, 1.0, balance, target, weight, scale, per_element
        )
        pred = torch.zeros(50, 80, dtype=dtype)
        loss.gradient(pred, loss.value(pred)[0])
    # A prime number of classes, and one.
    for classes in (7, 1):
        pred = torch.zeros(50, classes)
        loss = loss._replace(star=False, target=labels, weight=None)
        loss.gradient(pred, loss.value(pred)[0])


def launch_matchers(max_iou: ModuleType, atss: ModuleType) -> None:
    priors = torch.zeros(300, 4)
    labels = torch.zeros(5, dtype=torch.long)
    # Triton makes a constant of one box.
    for count, some in ((1, None), (5, torch.zeros(300).bool())):
        boxes = priors[:count]
        for match, all_ties, to_nearest in (
            (False, False, False),
            (True, False, True),
            (True, True, False),
        ):
            rule = max_iou.Rule(
                0.5, 0.0, 0.4, match, 0.0, all_ties, to_nearest
            )
            max_iou.assign(boxes, labels[:count], priors, some, rule)
        found = atss.find_candidates(boxes, priors, some, [(200, 9), (100, 9)])
        atss.resolve(boxes, labels, priors, some, found.winners)
    for mode in max_iou.MODES:
        max_iou.best_overlaps(priors.half(), priors, mode)


if __name__ == '__main__':
    compilers = {name: Compiler(int(name)) for name in sys.argv[1:]}
    modules = load()
    for compiler in compilers.values():
        JITFunction.run = lambda kernel, *args, to=compiler, **kwargs: to.run(
            kernel, *args, **kwargs
        )
        launch_losses(modules['sigmoid_loss'])
        launch_matchers(modules['max_iou'], modules['atss'])
    kernels = {
        f'{name}.{function}'
        for name, module in modules.items()
        for function, value in vars(module).items()
        if isinstance(value, JITFunction) and function.endswith('_kernel')
    }
    print(
        json.dumps(
            {
                architecture: {
                    name: compiler.opcodes[name] for name in kernels
                }
                for architecture, compiler in compilers.items()
            }
        )
    )

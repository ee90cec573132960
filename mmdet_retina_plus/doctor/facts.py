"""What an environment offers, gathered as data that tests can make up."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata

IMPORTS = {
    'numpy': 'numpy',
    'torch': 'torch',
    'cv2': 'cv2',
    'mmengine': 'mmengine',
    'mmcv': 'mmcv.ops',
    'mmdet': 'mmdet.models',
    'mmdet_retina_plus': 'mmdet_retina_plus.detectors',
    'mim': 'mim.cli',
}
"""What to import to know that a subject works; each needs those above."""

PROBE = """
import importlib, json, sys
# mim does not import from the current folder either.
sys.path[:] = filter(None, sys.path)
for module in sys.argv[1:]:
    print(json.dumps([module, 'crashes the interpreter']), flush=True)
    try:
        importlib.import_module(module)
        failure = ''
    except BaseException as error:
        failure = f'{type(error).__name__}: {error}'
    print(json.dumps([module, failure]), flush=True)
import torch
count = torch.get_num_threads()
device = f'CPU, {count} thread{"s" * (count > 1)}'
if torch.cuda.is_available():
    device = torch.cuda.get_device_name()
print(json.dumps(['device', device]))
print(json.dumps(['gpu', torch.cuda.is_available()]))
from mmcv.ops import get_compiling_cuda_version
print(json.dumps(['mmcv_cuda', get_compiling_cuda_version()]))
from mmcv import _ext
print(json.dumps(['operators', getattr(_ext, 'BACKEND', 'compiled')]))
"""


@dataclass(frozen=True)
class Facts:
    """An environment, as data.

    Attributes:
        providers: Distributions by the import name that they provide.
        versions: Version by distribution.
        failures: Why a module of `IMPORTS` fails; '' or absent where it does
            not, or was not tried.
        device: What torch computes on.
        gpu: Whether that is a GPU.
        mmcv_cuda: The CUDA version that mmcv's operators are built for,
            'not available' where for none, '' where they do not load.
        operators: 'compiled', or what those in Python run on, 'torchvision'
            or 'torch'.
        compiler: Path of a C++ compiler.
        python: Version of the interpreter.
    """

    providers: Mapping[str, list[str]]
    versions: Mapping[str, str]
    failures: Mapping[str, str] = field(default_factory=dict)
    device: str = 'unknown'
    gpu: bool = False
    mmcv_cuda: str = ''
    operators: str = 'compiled'
    compiler: str | None = None
    python: str = platform.python_version()

    def upstream(self, name: str) -> bool:
        """Whether an import comes from OpenMMLab, not from the onedl fork."""
        return any(
            not provider.startswith('onedl-')
            for provider in self.providers.get(name, [])
        )


def gather_facts() -> Facts:
    """Look around; modules are imported in a process that may crash."""
    found = metadata.packages_distributions()
    providers = {
        name: sorted(set(filter(None, found.get(name, []))))
        for name in (*IMPORTS, 'setuptools')
    }
    versions = {
        provider: metadata.version(provider)
        for names in providers.values()
        for provider in names
    }
    probe = subprocess.run(
        [sys.executable, '-c', PROBE, *IMPORTS.values()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    # Whatever else a module prints when it is imported is not ours.
    lines = [x for x in probe.stdout.splitlines() if x.startswith('["')]
    answers = dict(map(json.loads, lines))
    return Facts(
        providers=providers,
        versions=versions,
        device=answers.pop('device', 'unknown'),
        gpu=answers.pop('gpu', False),
        mmcv_cuda=answers.pop('mmcv_cuda', ''),
        operators=answers.pop('operators', 'compiled'),
        failures=answers,
        compiler=next(filter(None, map(shutil.which, ('c++', 'g++'))), None),
    )

"""Gather facts about an environment, as plain data for the checks."""

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
"""Module to import per subject; each depends on those above it."""

PROBE = """
import importlib, json, sys
# As in mim, do not import from the current folder.
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
        providers: Distributions by import name.
        versions: Version by distribution.
        failures: Error by module of `IMPORTS`; '' or absent if it imports or
            was not tried.
        device: Device that torch computes on.
        gpu: Whether that device is a GPU.
        mmcv_cuda: CUDA version of mmcv's operators; 'not available': built
            without CUDA; '': they do not load.
        operators: 'compiled', or the library that operators in Python use:
            'torchvision' or 'torch'.
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
    """Gather facts; modules are imported in a process that may crash."""
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
    # Ignore what modules print when they are imported.
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

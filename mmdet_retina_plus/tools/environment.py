"""What the environment offers, and whether training can work in it."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata

from .findings import Finding

STACK = ('mmengine', 'mmcv', 'mmdet')
INSTALL = {
    'numpy': 'pip install numpy',
    'torch': 'pip install torch torchvision',
    # The other OpenCV wants libraries of a desktop, such as libGL.
    'cv2': 'pip install opencv-python-headless',
    'mmengine': 'pip install mmengine==0.10.7',
    'mmcv': 'MMCV_WITH_OPS=1 pip install --no-cache-dir '
    '--no-build-isolation mmcv==2.1.0  (compiles for some minutes)',
    'mmdet': 'pip install mmdet==3.3.0',
    'mim': 'pip install --no-deps openmim==0.3.9  (its dependencies would '
    'downgrade setuptools)',
    'mmdet_retina_plus': 'pip install --no-deps . (in its checkout)',
}
REQUIRED_BY_MMDET = {
    # mmdet 3.x refuses other versions when it is imported.
    'mmcv': ('2.0.0rc4', '2.2.0'),
    'mmengine': ('0.7.1', '1.0.0'),
}
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
device = f'CPU, {torch.get_num_threads()} threads'
if torch.cuda.is_available():
    device = torch.cuda.get_device_name()
print(json.dumps(['device', device]))
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
        compiler: Path of a C++ compiler.
        python: Version of the interpreter.
    """

    providers: Mapping[str, list[str]]
    versions: Mapping[str, str]
    failures: Mapping[str, str] = field(default_factory=dict)
    device: str = 'unknown'
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
        failures=answers,
        compiler=next(filter(None, map(shutil.which, ('c++', 'g++'))), None),
    )


def check_python(facts: Facts) -> list[Finding]:
    if tuple(map(int, facts.python.split('.')[:2])) < (3, 10):
        return [
            Finding(
                'error',
                'python',
                f'{facts.python}, older than 3.10',
                'make a new environment with Python 3.11',
            )
        ]
    return [Finding('ok', 'python', facts.python)]


def check_providers(facts: Facts) -> list[Finding]:
    """One distribution per import: two overwrite each other's files."""
    findings = []
    for name in ('torch', *STACK):
        providers = facts.providers.get(name, [])
        if len(providers) > 1:
            way_out = (
                f'pip uninstall -y {" ".join(providers)}, then '
                f'{INSTALL[name]} (or the onedl one, not both)'
            )
            message = f'installed twice, by {" and ".join(providers)}'
            findings.append(Finding('error', name, message, way_out))
        elif providers == ['mmcv-lite']:
            findings.append(
                Finding(
                    'error',
                    name,
                    'mmcv-lite has no compiled operators',
                    f'pip uninstall -y mmcv-lite, then {INSTALL[name]}',
                )
            )
        elif providers:
            version = facts.versions[providers[0]]
            findings.append(
                Finding('ok', name, f'{version}, from {providers[0]}')
            )
        elif facts.failures.get(IMPORTS[name]) == '':
            findings.append(
                Finding('ok', name, 'importable, but from no distribution')
            )
        else:
            findings.append(
                Finding('error', name, 'not installed', INSTALL[name])
            )
    return findings


def check_versions(facts: Facts) -> list[Finding]:
    from packaging.version import Version

    mmdet = facts.versions.get('mmdet')
    if mmdet is None:  # The fork accepts any version of its own parts.
        return []
    if Version(mmdet) < Version('3.0'):
        message = f'{mmdet} has the old registries and configs'
        return [Finding('error', 'mmdet', message, INSTALL['mmdet'])]
    findings = []
    for name, (lowest, limit) in REQUIRED_BY_MMDET.items():
        for provider in facts.providers.get(name, []):
            version = facts.versions[provider]
            if not Version(lowest) <= Version(version) < Version(limit):
                message = (
                    f'mmdet {mmdet} refuses {provider} {version}: it wants '
                    f'at least {lowest} and less than {limit}'
                )
                way_out = f'pip uninstall -y {provider}, then {INSTALL[name]}'
                findings.append(Finding('error', name, message, way_out))
    return findings


def check_setuptools(facts: Facts) -> list[Finding]:
    """mim and mmengine import pkg_resources, gone in setuptools 82."""
    from packaging.version import Version

    version = facts.versions.get('setuptools')
    pin = "pip install 'setuptools>=77.0.3,<82'"
    old_tools = facts.upstream('mmengine') or facts.upstream('mim')
    # distutils left Python in 3.12; setuptools brings it back for mmengine.
    if version is None and (
        old_tools or Version(facts.python) >= Version('3.12')
    ):
        return [Finding('error', 'setuptools', 'not installed', pin)]
    if version and old_tools and Version(version) >= Version('82'):
        message = (
            f'{version} has no pkg_resources, which mim and the bases '
            "'mmdet::…' of configs import"
        )
        return [Finding('error', 'setuptools', message, pin)]
    return [Finding('ok', 'setuptools', version or 'not installed')]


def check_mim(facts: Facts) -> list[Finding]:
    """Training can do without mim; `mim train mmdet` cannot."""
    providers = facts.providers.get('mim', [])
    if not providers:
        message = 'not installed, so there is no `mim train`'
        return [Finding('warning', 'mim', message, INSTALL['mim'])]
    if len(providers) > 1:
        message = f'installed twice, by {" and ".join(providers)}'
        way_out = f'pip uninstall -y {" ".join(providers)}, then install one'
        return [Finding('error', 'mim', message, way_out)]
    if facts.providers.get('mmdet') and (
        facts.upstream('mim') != facts.upstream('mmdet')
    ):
        if facts.upstream('mim'):
            message = '`mim train mmdet` offers to overwrite the onedl fork'
            way_out = 'type `mim train onedl-mmdetection CONFIG`'
        else:
            message = 'onedl-mim does not find the mmdet of OpenMMLab'
            way_out = f'pip uninstall -y onedl-mim, then {INSTALL["mim"]}'
        return [Finding('warning', 'mim', message, way_out)]
    failure = facts.failures.get(IMPORTS['mim'])
    if failure:
        return [Finding('warning', 'mim', failure, INSTALL['mim'])]
    version = facts.versions[providers[0]]
    return [Finding('ok', 'mim', f'{version}, from {providers[0]}')]


def check_checkpoints(facts: Facts) -> list[Finding]:
    from packaging.version import Version

    torch = facts.versions.get('torch')
    if torch is None or Version(torch) < Version('2.6'):
        return []
    message = f'torch {torch} reads them safely; what mmengine adds is allowed'
    return [Finding('ok', 'checkpoints', message)]


def check_compiler(facts: Facts) -> list[Finding]:
    need = 'only needed to build mmcv, and by torch.compile'
    return [Finding('ok', 'compiler', facts.compiler or f'none; {need}')]


def check_imports(facts: Facts, explained: bool) -> list[Finding]:
    """The first import that fails; what comes after it fails through it.

    Args:
        facts: The environment.
        explained: A wrong version or a missing part is known already, and
            is why the stack fails.
    """
    for name, module in IMPORTS.items():
        failure = facts.failures.get(module)
        own_fault = not explained or name in ('numpy', 'cv2')
        if failure and own_fault and name != 'mim':
            way_out = INSTALL[name]
            if facts.providers.get(name):
                providers = ' '.join(facts.providers[name])
                way_out = f'pip uninstall -y {providers}, then {way_out}'
            return [Finding('error', name, failure, way_out)]
    if explained:
        return []
    return [
        Finding('ok', 'operators', 'those of mmcv load, modules register'),
        Finding('ok', 'device', facts.device),
    ]


CHECKS = (
    check_python,
    check_providers,
    check_versions,
    check_setuptools,
    check_mim,
    check_checkpoints,
    check_compiler,
)


def check_environment(facts: Facts) -> list[Finding]:
    """All findings; without an error among them training can work."""
    findings = [finding for check in CHECKS for finding in check(facts)]
    explained = any(finding.level == 'error' for finding in findings)
    return findings + check_imports(facts, explained)

"""Check whether training can work in an environment, and suggest fixes."""

from .facts import IMPORTS, Facts
from .findings import Finding, guarded

STACK = ('mmengine', 'mmcv', 'mmdet')
SETUPTOOLS = "pip install 'setuptools>=77.0.3,<82'"
INSTALL = {
    'numpy': 'pip install numpy',
    'torch': 'pip install torch torchvision',
    # The other OpenCV needs desktop libraries such as libGL.
    'cv2': 'pip install opencv-python-headless',
    'mmengine': 'pip install mmengine==0.10.7',
    # Its build imports torch and pkg_resources.
    'mmcv': f'{SETUPTOOLS} ninja && retina-plus build-mmcv',
    'mmdet': 'pip install mmdet==3.3.0',
    # Without dependencies: opendatalab is not needed to train, and downgrades
    # many packages.
    'mim': 'pip install --no-deps openmim==0.3.9 && pip install click '
    'colorama model-index pandas requests rich tabulate',
    'mmdet_retina_plus': 'pip install --no-deps . (in its checkout)',
}
TRIED_TORCH = ('2.13.0', '2.14.1')
"""Versions of torch that mmcv was built for and all tests ran on."""
GPU_TORCH = '2.11.0'
"""Version that trainings and the tests for a GPU ran on."""
BUILT_TORCH = '2.15.0'
"""Newer version that mmcv was built for; not all tests ran on it."""
REQUIRED_BY_MMDET = {
    # mmdet 3.x refuses other versions when it is imported.
    'mmcv': ('2.0.0rc4', '2.2.0'),
    'mmengine': ('0.7.1', '1.0.0'),
}


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
    """Check for one distribution per import: two overwrite each other."""
    findings = []
    for name in ('torch', *STACK):
        providers = facts.providers.get(name, [])
        if len(providers) > 1:
            fix = (
                f'pip uninstall -y {" ".join(providers)}, then '
                f'{INSTALL[name]} (or the onedl one, not both)'
            )
            message = f'installed twice, by {" and ".join(providers)}'
            findings.append(Finding('error', name, message, fix))
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
                fix = f'pip uninstall -y {provider}, then {INSTALL[name]}'
                findings.append(Finding('error', name, message, fix))
    return findings


def check_torch(facts: Facts) -> list[Finding]:
    """Name the tested versions; others may work as well."""
    version = facts.versions.get('torch')
    if version is None:
        return []
    message = (
        f'the tests ran on torch {" and ".join(TRIED_TORCH)}, on a GPU on '
        f'{GPU_TORCH}; mmcv was also built for {BUILT_TORCH}'
    )
    if version.split('+')[0] not in (*TRIED_TORCH, GPU_TORCH, BUILT_TORCH):
        message += f'; {version} was not tried'
    return [Finding('ok', 'tested', message)]


def check_setuptools(facts: Facts) -> list[Finding]:
    """mim and mmengine import pkg_resources, removed in setuptools 82."""
    from packaging.version import Version

    version = facts.versions.get('setuptools')
    old_tools = facts.upstream('mmengine') or facts.upstream('mim')
    # Python 3.12 removed distutils; setuptools provides it for mmengine.
    if version is None and (
        old_tools or Version(facts.python) >= Version('3.12')
    ):
        return [Finding('error', 'setuptools', 'not installed', SETUPTOOLS)]
    if version and old_tools and Version(version) >= Version('82'):
        message = (
            f'{version} has no pkg_resources, which mim and the bases '
            "'mmdet::…' of configs import"
        )
        return [Finding('error', 'setuptools', message, SETUPTOOLS)]
    return [Finding('ok', 'setuptools', version or 'not installed')]


def check_mim(facts: Facts) -> list[Finding]:
    """Warn about mim: only `mim train mmdet` needs it."""
    providers = facts.providers.get('mim', [])
    if not providers:
        message = 'not installed, so there is no `mim train`'
        return [Finding('warning', 'mim', message, INSTALL['mim'])]
    if len(providers) > 1:
        message = f'installed twice, by {" and ".join(providers)}'
        fix = f'pip uninstall -y {" ".join(providers)}, then install one'
        return [Finding('error', 'mim', message, fix)]
    if facts.providers.get('mmdet') and (
        facts.upstream('mim') != facts.upstream('mmdet')
    ):
        if facts.upstream('mim'):
            message = '`mim train mmdet` offers to overwrite the onedl fork'
            fix = 'type `mim train onedl-mmdetection CONFIG`'
        else:
            message = 'onedl-mim does not find the mmdet of OpenMMLab'
            fix = f'pip uninstall -y onedl-mim, then {INSTALL["mim"]}'
        return [Finding('warning', 'mim', message, fix)]
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
    message = (
        f'torch {torch} reads them safely; types that mmengine adds are '
        'allowed'
    )
    return [Finding('ok', 'checkpoints', message)]


def check_compiler(facts: Facts) -> list[Finding]:
    need = 'needed to build mmcv and, on a GPU, by our kernels'
    return [Finding('ok', 'compiler', facts.compiler or f'none; {need}')]


def check_operators(facts: Facts) -> list[Finding]:
    """mmengine trains on a GPU if there is one, even if mmcv cannot."""
    if not facts.gpu or facts.mmcv_cuda != 'not available':
        return []
    message = (
        f'mmcv is built without CUDA: training would start on {facts.device} '
        'and fail in its first NMS'
    )
    fix = (
        'with the CUDA toolkit of torch (nvcc) installed: pip uninstall -y '
        f'{" ".join(facts.providers.get("mmcv", ["mmcv"]))}, then '
        f'{INSTALL["mmcv"]}; or train on the CPU: export '
        'CUDA_VISIBLE_DEVICES=-1'
    )
    return [Finding('error', 'operators', message, fix)]


def check_imports(facts: Facts, explained: bool) -> list[Finding]:
    """Report the first import that fails; later ones depend on it.

    Args:
        facts: The environment.
        explained: Whether a wrong version or a missing package is already
            reported, and explains failures of the stack.
    """
    for name, module in IMPORTS.items():
        failure = facts.failures.get(module)
        own_fault = not explained or name in ('numpy', 'cv2')
        if failure and own_fault and name != 'mim':
            fix = INSTALL[name]
            if facts.providers.get(name):
                providers = ' '.join(facts.providers[name])
                fix = f'pip uninstall -y {providers}, then {fix}'
            return [Finding('error', name, failure, fix)]
    if explained:
        return []
    cuda = facts.mmcv_cuda not in ('', 'not available')
    kind = f'compiled for {f"CUDA {facts.mmcv_cuda}" if cuda else "the CPU"}'
    if facts.operators != 'compiled':
        kind = (
            f'Python on {facts.operators}, NMS, soft-NMS and RoIAlign only; '
            f'for all: {INSTALL["mmcv"]}'
        )
    return [
        Finding('ok', 'operators', f'those of mmcv load ({kind})'),
        Finding('ok', 'device', facts.device),
    ]


CHECKS = (
    check_python,
    check_providers,
    check_versions,
    check_torch,
    check_setuptools,
    check_mim,
    check_checkpoints,
    check_compiler,
    check_operators,
)


def check_environment(facts: Facts) -> list[Finding]:
    """Run all checks; without an error, training can work."""
    findings = [
        finding for check in CHECKS for finding in guarded(check, facts)
    ]
    explained = any(finding.level == 'error' for finding in findings)
    return findings + check_imports(facts, explained)

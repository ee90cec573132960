"""Target of a build of mmcv: the torch of this environment, CPU or GPU."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ARCH = re.compile(r'\d+\.\d+[a-z]?(\+PTX)?')


@dataclass(frozen=True)
class Release:
    """A release of mmcv.

    Attributes:
        name: Name of the distribution that provides `import mmcv`.
        version: Version.
        setuptools: Lowest major version that can build it, and the first later
            one that cannot.
    """

    name: str
    version: str
    setuptools: tuple[int, int]


RELEASES = {
    # mmdet 3.3 refuses mmcv 2.2. mmcv's setup.py imports pkg_resources, which
    # setuptools 82 dropped; torch needs 77.
    'openmmlab': Release('mmcv', '2.1.0', (77, 82)),
    'onedl': Release('onedl-mmcv', '2.3.6', (80, 1000)),
}


@dataclass(frozen=True)
class Target:
    """Target that the operators are compiled for.

    Attributes:
        torch: Version of torch.
        standard: C++ standard that torch's headers need, 17 or 20.
        cuda: CUDA version of torch, or '' to compile for the CPU only.
        archs: Compute capabilities to compile for, such as '9.0'.
    """

    torch: str
    standard: int
    cuda: str = ''
    archs: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """PEP 440 local label that distinguishes wheels by target."""
        parts = [f'torch{self.torch.split("+")[0]}']
        if self.cuda:
            parts.append(f'cu{self.cuda.replace(".", "")}')
            parts += [re.sub(r'\W', '', f'sm{arch}') for arch in self.archs]
        else:
            parts.append('cpu')
        return '.'.join(parts).lower()


def find_target(cuda: bool = False, archs: Sequence[str] = ()) -> Target:
    """Find the target of a build in this environment.

    Args:
        cuda: Compile for GPUs even if torch sees none.
        archs: Compute capabilities, by default those of the GPUs here.

    Raises:
        ValueError: torch is missing or does not fit the arguments.
    """
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            f'torch cannot be imported ({error}): pip install torch'
        ) from error
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    standard = cpp_standard(Path(torch.__file__).parent)
    if not gpus and not cuda:
        if archs:
            raise ValueError('--arch is for GPU code: add --cuda')
        return Target(torch.__version__, standard)
    if not torch.version.cuda:
        raise ValueError(
            f'torch {torch.__version__} is built without CUDA: install one '
            'with CUDA, or '
            + ('drop --cuda' if not gpus else 'use --no-compiler')
        )
    for arch in archs:
        if not ARCH.fullmatch(arch):
            raise ValueError(
                f'--arch {arch} is not a compute capability such as 8.0 or 9.0'
            )
    if not archs:
        cards = {torch.cuda.get_device_capability(i) for i in range(gpus)}
        archs = [f'{major}.{minor}' for major, minor in sorted(cards)]
    if not archs:
        raise ValueError(
            'torch sees no GPU here: name the compute capability of the card '
            'to compile for, such as --arch 8.0 (A100) or --arch 9.0 (H100)'
        )
    return Target(
        torch.__version__, standard, torch.version.cuda, tuple(archs)
    )


def find_cuda_home() -> str | None:
    """Folder of the CUDA toolkit that torch found; needs setuptools."""
    from torch.utils.cpp_extension import CUDA_HOME

    return CUDA_HOME


def cpp_standard(torch_folder: Path) -> int:
    """Oldest C++ standard that torch's headers accept, such as 20."""
    header = torch_folder / 'include' / 'ATen' / 'ATen.h'
    found = re.search(r'__cplusplus < 20(\d\d)', header.read_text())
    if not found:
        raise ValueError(
            f'{header} does not say which C++ standard it needs: install a '
            'torch that this package supports'
        )
    return int(found[1])

"""One-stage detection for an installed mmdetection 3.x.

Importing the package registers its modules in mmdet's registries; a config
asks for that with ``custom_imports = dict(imports=['mmdet_retina_plus'])``.
"""

import os
from pathlib import Path

from .common.suggestions import did_you_mean

__version__ = '0.1.0'
__all__ = ['__version__', 'config', 'register_all_modules']


def register_all_modules() -> None:
    """Import every module once, which registers it.

    Raises:
        ImportError: mmdet, mmcv, mmengine or torch is missing or refuses to
            be imported.
    """
    try:
        from . import (  # noqa: F401
            assigners,
            backbones,
            compat,
            detectors,
            evaluation,
            fusion,
            heads,
            hooks,
            losses,
            mining,
            necks,
            runners,
            transforms,
            visualization,
        )
    # mmdet answers an mmcv that it does not know with an AssertionError.
    except (ImportError, AssertionError) as error:
        raise ImportError(
            f'mmdet_retina_plus needs a working mmdetection 3.x: {error}. '
            '`retina-plus doctor` says what is wrong and how to fix it.'
        ) from error


def config(name: str) -> str:
    """Absolute path of a config that ships with the package.

    ``_base_ = __import__('mmdet_retina_plus').config('retinanet_r50_fpn_fl')``
    inherits from it and registers our modules by the same import.

    Args:
        name: File name below ``configs/``, with or without ``.py``.

    Raises:
        ValueError: No config has this name; the nearest names are listed.
    """
    path = config_dir() / f'{name.removesuffix(".py")}.py'
    if not path.is_file():
        hint = did_you_mean(name, config_names(), most=3, always=True)
        raise ValueError(f'There is no config {name!r}{hint}')
    return str(path)


def config_names() -> list[str]:
    """Names of the configs and sweeps that ship with the package."""
    folder = config_dir()
    return sorted(
        path.relative_to(folder).with_suffix('').as_posix()
        for path in folder.rglob('*.py')
        if '_base_' not in path.parts
    )


def config_dir() -> Path:
    package = Path(__file__).resolve().parent
    # In a wheel the configs lie inside of the package, in a checkout beside.
    folders = (package / 'configs', package.parent / 'configs')
    return next(folder for folder in folders if folder.is_dir())


# The command `retina-plus` sets it to 0 to start where mmdet is broken; its
# sub-commands register when they need to.
if os.environ.get('MMDET_RETINA_PLUS_REGISTER', '1') != '0':
    register_all_modules()

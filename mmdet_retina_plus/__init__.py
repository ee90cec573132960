"""One-stage detection for an installed mmdetection 3.x.

Importing the package registers its modules in mmdet's registries; a config
asks for that with ``custom_imports = dict(imports=['mmdet_retina_plus'])``.
"""

import difflib
import sys
from pathlib import Path

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
            visualization,
        )
        from .data import (  # noqa: F401
            load_neighbour_slices,
            masks_to_seg_map,
            window_intensity,
        )
    # mmdet answers an mmcv that it does not know with an AssertionError.
    except (ImportError, AssertionError) as error:
        raise ImportError(
            f'mmdet_retina_plus needs a working mmdetection 3.x: {error}. '
            '`retina-plus doctor` says what is wrong and how to mend it.'
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
    package = Path(__file__).resolve().parent
    # In a wheel the configs lie inside of the package, in a checkout beside.
    folders = (package / 'configs', package.parent / 'configs')
    folder = next(folder for folder in folders if folder.is_dir())
    path = folder / f'{name.removesuffix(".py")}.py'
    if not path.is_file():
        names = sorted(
            str(path.relative_to(folder).with_suffix(''))
            for path in folder.rglob('*.py')
            if '_base_' not in path.parts
        )
        nearest = difflib.get_close_matches(name, names, n=3, cutoff=0)
        raise ValueError(
            f'There is no config {name!r}. Did you mean {", ".join(nearest)}?'
        )
    return str(path)


# `retina-plus doctor` must be able to speak where mmdet is broken, so the
# command registers when one of its sub-commands needs it.
COMMAND = ('retina-plus', 'retina-plus.exe')
if Path(sys.argv[0] if sys.argv else '').name not in COMMAND:
    register_all_modules()

"""Rearrange mmcv's sources so that they compile in minutes.

Parsing torch's headers takes about ten seconds per file, and mmcv has 77 C++
files without CUDA. A few generated files include them instead.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

GROUPS = {'.cpp': 4, '.cu': 12}
"""Number of generated files by suffix."""
# These define some of the same names (PreCalc, add, bilinear_interpolate;
# Point, threadsPerBlock, divideUP, Loc2Index).
APART = {
    *('bezier_align.cpp', 'roi_align.cpp'),
    *('roi_align_rotated.cpp', 'rotated_feature_align.cpp'),
    *('box_iou_quadri_cuda.cu', 'box_iou_rotated_cuda.cu', 'carafe_cuda.cu'),
    *('carafe_naive_cuda.cu', 'convex_iou.cu', 'iou3d_cuda.cu'),
    *('line_nms_cuda.cu', 'min_area_polygons.cu', 'nms_cuda.cu'),
    *('nms_quadri_cuda.cu', 'nms_rotated_cuda.cu'),
}
# cpu/psamask.cpp defines both as macros.
AFTER = '#undef min\n#undef max\n'
HEADER_BYTES = 4000
"""Cost of including a file besides its own size, for the balance."""


def amalgamate(source: Path) -> None:
    """Include all sources of an unpacked sdist from a few files.

    The included files are renamed so that setup.py no longer finds them.
    """
    root = source / 'mmcv' / 'ops' / 'csrc' / 'pytorch'
    cuda = root / 'cuda'
    # setup.py lists the .cpp files of these folders, and cuda/*.cu.
    merge([*root.glob('*.cpp'), *(root / 'cpu').glob('*.cpp')], root)
    merge([*cuda.glob('*.cu')], cuda)


def merge(files: Sequence[Path], folder: Path) -> None:
    """Write files of one suffix that include the given ones.

    Args:
        files: Files below the folder.
        folder: Folder of the generated files.
    """
    suffix = files[0].suffix
    for number, group in enumerate(balance(files, GROUPS[suffix])):
        text = ''
        for file in group:
            included = file.rename(file.with_suffix(f'{suffix}.inl'))
            text += f'#include "{included.relative_to(folder)}"\n{AFTER}'
        (folder / f'all_{number}{suffix}').write_text(text)


def balance(files: Iterable[Path], count: int) -> list[list[Path]]:
    """Group files by about equal size, at most one of `APART` per group.

    Large files are placed first, so that small ones fill the groups.
    """
    groups: list[list[Path]] = [[] for _ in range(count)]
    sizes = [0] * count
    # Files of APART come first: a group takes at most one of them.
    for file in sorted(files, key=order):
        free = [
            i
            for i, group in enumerate(groups)
            if not (apart(file) and any(map(apart, group)))
        ]
        chosen = min(free, key=sizes.__getitem__)
        groups[chosen].append(file)
        sizes[chosen] += file.stat().st_size + HEADER_BYTES
    return [group for group in groups if group]


def order(file: Path) -> tuple[bool, int, str]:
    return not apart(file), -file.stat().st_size, str(file)


def apart(file: Path) -> bool:
    # roi_align.cpp above cpu/ only dispatches and defines none of the names.
    return file.name in APART and file.parent.name in ('cpu', 'cuda')


def set_standard(source: Path, standard: int) -> None:
    """Replace C++17 in setup.py by the standard that torch needs."""
    replace(source / 'setup.py', '-std=c++17', f'-std=c++{standard}')


def set_label(source: Path, label: str) -> None:
    """Add a local label to the version of the wheel: mmcv 2.1.0+LABEL."""
    replace(source / 'setup.cfg', 'tag_build =', f'tag_build = +{label}')


def use_python_operators(source: Path) -> None:
    """Replace the compiled operators by those in Python."""
    shutil.copy(
        Path(__file__).with_name('python_ext.py'), source / 'mmcv' / '_ext.py'
    )
    replace(
        source / 'setup.py', 'ext_modules=get_extensions()', 'ext_modules=[]'
    )


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding='utf-8')
    assert old in text, f'{file} has no {old}'
    file.write_text(text.replace(old, new), encoding='utf-8')

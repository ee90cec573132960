"""mmcv's sources, arranged so that they compile in minutes.

Parsing torch's headers costs some ten seconds a file, and mmcv has 77 C++
files without CUDA. Here a few generated files include them instead.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

GROUPS = {'.cpp': 4, '.cu': 12}
"""Number of generated files by suffix."""
# Each of these defines a name that another of them defines too (PreCalc,
# add, bilinear_interpolate; Point, threadsPerBlock, divideUP, Loc2Index).
APART = {
    *('bezier_align.cpp', 'roi_align.cpp'),
    *('roi_align_rotated.cpp', 'rotated_feature_align.cpp'),
    *('box_iou_quadri_cuda.cu', 'box_iou_rotated_cuda.cu', 'carafe_cuda.cu'),
    *('carafe_naive_cuda.cu', 'convex_iou.cu', 'iou3d_cuda.cu'),
    *('line_nms_cuda.cu', 'min_area_polygons.cu', 'nms_cuda.cu'),
    *('nms_quadri_cuda.cu', 'nms_rotated_cuda.cu'),
}
# cpu/psamask.cpp defines them as macros.
AFTER = '#undef min\n#undef max\n'
HEADER_BYTES = 4000
"""What including a file costs besides its own text, for the balance."""


def amalgamate(source: Path) -> None:
    """Let few files include all sources of an unpacked sdist.

    The included files are renamed, so that setup.py no longer finds them.
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
        folder: Where the generated files lie.
    """
    suffix = files[0].suffix
    for number, group in enumerate(balance(files, GROUPS[suffix])):
        text = ''
        for file in group:
            included = file.rename(file.with_suffix(f'{suffix}.inl'))
            text += f'#include "{included.relative_to(folder)}"\n{AFTER}'
        (folder / f'all_{number}{suffix}').write_text(text)


def balance(files: Iterable[Path], count: int) -> list[list[Path]]:
    """Groups of about the same size that keep `APART` apart.

    Large files come first, so that a group ends with small ones.
    """
    groups: list[list[Path]] = [[] for _ in range(count)]
    sizes = [0] * count
    # Those of APART first: a group takes one of them at most.
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
    # The dispatcher roi_align.cpp above cpu/roi_align.cpp defines none.
    return file.name in APART and file.parent.name in ('cpu', 'cuda')


def set_standard(source: Path, standard: int) -> None:
    """Name the C++ standard that torch needs where setup.py names 17."""
    replace(source / 'setup.py', '-std=c++17', f'-std=c++{standard}')


def set_label(source: Path, label: str) -> None:
    """Add a local label to the version of the wheel: mmcv 2.1.0+LABEL."""
    replace(source / 'setup.cfg', 'tag_build =', f'tag_build = +{label}')


def use_python_operators(source: Path) -> None:
    """Put the operators in Python where the compiled ones would be."""
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

"""Check that result files have the same images, classes and units."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.text import some

from .box_units import (
    areas,
    compare_corners,
    compare_fractions,
    compare_places,
)
from .result_files import ResultFile


def compare(files: Sequence[ResultFile], strict: bool = True) -> list[str]:
    """Refuse files that cannot be fused.

    Args:
        files: All files to fuse. One without detections fits any other.
        strict: Whether to refuse files without a common image or category
            instead of noting them.

    Returns:
        Notes on possible mistakes.

    Raises:
        ValueError: The files disagree about ids, scores or boxes.
    """
    check_names(files)
    empty = [file for file in files if not file.records]
    files = [file for file in files if file.records]
    for key in ('image_id', 'category_id'):
        check_types(files, key)
    images = [set(file.image_ids) for file in files]
    categories = [set(file.category_ids) for file in files]
    return [
        *(
            f'{file.path} has no detections: leave it out unless its detector '
            'processed the images and found nothing'
            for file in empty
            if files
        ),
        *compare_ids(files, images, 'images', strict),
        *compare_ids(files, categories, 'categories', strict),
        *unlisted(files),
        *equal_files(files),
        *compare_scores(files),
        *compare_corners(files),
        *compare_fractions(files),
        *compare_places(files, strict),
        *areas(files),
    ]


def check_names(files: Sequence[ResultFile]) -> None:
    """Refuse ids that stand for different images or categories.

    Without --ann-file, each call of `retina-plus predict` numbers both from 1.

    Raises:
        ValueError: Names the id and its two names.
    """
    for what in ('images', 'categories'):
        known: dict[Any, tuple[str, Path]] = {}
        for file in files:
            for number, name in getattr(file, what).items():
                first, place = known.setdefault(number, (name, file.path))
                # The calls may have had different folders of images.
                if not f'/{first}'.endswith(f'/{name}') and not (
                    f'/{name}'.endswith(f'/{first}')
                ):
                    raise ValueError(
                        f'Number {number} of the {what} is {first} in {place} '
                        f'and {name} in {file.path}: predict both with the '
                        'same --ann-file, whose ids they then use'
                    )


def check_types(files: Sequence[ResultFile], key: str) -> None:
    """Refuse a mix of numbers and strings, which are never equal.

    Raises:
        ValueError: Names a value of each type.
    """
    found: dict[bool, tuple[Any, Path]] = {}
    for file in files:
        for value in file.values(key):
            found.setdefault(is_number(value), (value, file.path))
    if len(found) == 2:
        (number, one), (text, other) = found[True], found[False]
        raise ValueError(
            f'{key} is the number {number!r} in {one} and the string {text!r} '
            f'in {other}, which are never equal: write all as numbers or all '
            'as strings'
        )


def compare_ids(
    files: Sequence[ResultFile],
    ids: Sequence[set],
    what: str,
    strict: bool,
) -> list[str]:
    """Note files with different ids.

    Args:
        files: Files with detections.
        ids: Ids in each file.
        what: 'images' or 'categories'.
        strict: Whether to refuse files that share no id with the others.

    Raises:
        ValueError: A file shares no id with the others.
    """
    if not ids or all(found == ids[0] for found in ids):
        return []
    met = [0]
    for _ in ids:  # Files may be connected through others.
        known = set().union(*(ids[number] for number in met))
        met = [number for number, found in enumerate(ids) if found & known]
    apart = [number for number in range(len(ids)) if number not in met]
    if apart and strict:
        raise ValueError(
            f'{files[0].path} and {files[apart[0]].path} have no {what} in '
            f'common (ids {some(sorted(ids[0]))}; '
            f'{some(sorted(ids[apart[0]]))}): predict with the same '
            f'--ann-file, or use --missing-weight 0 if different {what} are '
            'intended'
        )
    common = set.intersection(*ids)
    others = sorted(set().union(*ids) - common)
    counts = ', '.join(
        f'{len(found)} in {file.path}'
        for found, file in zip(ids, files, strict=True)
    )
    return [
        f'{what}: {counts}; {len(common)} in all files, but not '
        f'{some(others)}; where a file has no detection, the scores of the '
        'others fall'
    ]


def unlisted(files: Sequence[ResultFile]) -> list[str]:
    """Note the first file without a list of images if another has one.

    `retina-plus predict` numbers images itself only if it writes such a list.
    """
    for other in files:
        for file in files:
            common = file.images.keys() & other.values('image_id')
            if common and not other.images:
                number = min(common)
                return [
                    f'{other.path} has no *.images.json next to it: make sure '
                    f'that its image_id {number} is {file.images[number]}, as '
                    f'in {file.path}'
                ]
    return []


def equal_files(files: Sequence[ResultFile]) -> list[str]:
    """Note the first two files with the same detections."""
    for one, other in combinations(files, 2):
        if one.records == other.records:
            return [
                f'{one.path} and {other.path} have the same detections, which '
                'count as two detectors that agree'
            ]
    return []


def compare_scores(files: Sequence[ResultFile]) -> list[str]:
    """Note scores that are not probabilities or differ in scale.

    Raises:
        ValueError: Only some files have scores above 1.
    """
    if not files:
        return []
    best = sorted(
        (max(record['score'] for record in file.records), str(file.path))
        for file in files
    )
    (low, weak), (high, strong) = best[0], best[-1]
    ranges = f'scores reach {low:g} in {weak} and {high:g} in {strong}'
    if low <= 1 < high:
        raise ValueError(
            f'{ranges}: use one scale, for example divide percent by 100'
        )
    if high > 10 * low:
        return [f'{ranges}: the larger scores dominate the fused boxes']
    if high > 1:
        return [f'scores reach {high:g} in {strong}: not probabilities']
    return []

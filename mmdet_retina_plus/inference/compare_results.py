"""Whether result files are of the same images, classes and units."""

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
        files: All that are fused. One without detections fits any.
        strict: Whether files without an image or a category in common are
            refused, and not only noted.

    Returns:
        Notes on what may not be meant.

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
            f'{file.path} has no detections: leave it out, unless its '
            'detector saw the images and found nothing'
            for file in empty
            if files
        ),
        *compare_ids(files, images, 'images', strict),
        *compare_ids(files, categories, 'categories', strict),
        *equal_files(files),
        *compare_scores(files),
        *compare_corners(files),
        *compare_fractions(files),
        *compare_places(files, strict),
        *areas(files),
    ]


def check_names(files: Sequence[ResultFile]) -> None:
    """Refuse ids that mean different images or categories.

    `retina-plus predict` numbers those of each call from 1.

    Raises:
        ValueError: With the id and its two names.
    """
    for what in ('images', 'categories'):
        known: dict[Any, tuple[str, Path]] = {}
        for file in files:
            for number, name in getattr(file, what).items():
                first, place = known.setdefault(number, (name, file.path))
                # The folder of all images may have been another.
                if not f'/{first}'.endswith(f'/{name}') and not (
                    f'/{name}'.endswith(f'/{first}')
                ):
                    raise ValueError(
                        f'Number {number} of the {what} is {first} in {place} '
                        f'and {name} in {file.path}: predict both with one '
                        '--ann-file, whose ids they then have'
                    )


def check_types(files: Sequence[ResultFile], key: str) -> None:
    """Refuse numbers beside texts, which are never equal.

    Raises:
        ValueError: With a value of either type.
    """
    found: dict[bool, tuple[Any, Path]] = {}
    for file in files:
        for value in file.values(key):
            found.setdefault(is_number(value), (value, file.path))
    if len(found) == 2:
        (number, one), (text, other) = found[True], found[False]
        raise ValueError(
            f'{key} is the number {number!r} in {one} and the text {text!r} '
            f'in {other}, which are never equal: write all as numbers or all '
            'as texts'
        )


def compare_ids(
    files: Sequence[ResultFile],
    ids: Sequence[set],
    what: str,
    strict: bool,
) -> list[str]:
    """A note if files have other ids than the first.

    Args:
        files: With detections.
        ids: Of each file.
        what: Whose ids they are.
        strict: Whether files have to meet.

    Raises:
        ValueError: They do not.
    """
    if not ids or all(found == ids[0] for found in ids):
        return []
    met = [0]
    for _ in ids:  # A file may meet the first by way of others.
        known = set().union(*(ids[number] for number in met))
        met = [number for number, found in enumerate(ids) if found & known]
    apart = [number for number in range(len(ids)) if number not in met]
    if apart and strict:
        raise ValueError(
            f'{files[0].path} and {files[apart[0]].path} have no {what} in '
            f'common (ids {some(sorted(ids[0]))}; '
            f'{some(sorted(ids[apart[0]]))}): predict with one --ann-file, or '
            f'give --missing-weight 0 if other {what} are meant'
        )
    common = set.intersection(*ids)
    others = sorted(set().union(*ids) - common)
    counts = ', '.join(
        f'{len(found)} in {file.path}'
        for found, file in zip(ids, files, strict=True)
    )
    return [
        f'{what}: {counts}, {len(common)} in all of them, but not '
        f'{some(others)}; where a file has no detection, those of others lose '
        'score'
    ]


def equal_files(files: Sequence[ResultFile]) -> list[str]:
    """A note for the first two files that are of one detector."""
    for one, other in combinations(files, 2):
        if one.records == other.records:
            return [
                f'{one.path} and {other.path} hold the same detections, which '
                'count as two that agree'
            ]
    return []


def compare_scores(files: Sequence[ResultFile]) -> list[str]:
    """A note if scores are no probabilities, or of other sizes.

    Raises:
        ValueError: Some files have scores above 1, others have not.
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
            f'{ranges}: bring all to one scale, divide percent by 100'
        )
    if high > 10 * low:
        return [f'{ranges}: the larger ones decide where the boxes are']
    if high > 1:
        return [f'scores reach {high:g} in {strong}, so are no probabilities']
    return []

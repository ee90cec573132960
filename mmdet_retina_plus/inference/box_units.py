"""Whether boxes of result files are pixels, as x, y, width and height."""

from collections.abc import Sequence
from heapq import nlargest
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from .result_files import ResultFile

if TYPE_CHECKING:
    from torch import Tensor

FEW = 3
"""Boxes that have to overlap another file's before that is evidence."""
MANY = 10
"""Boxes from which a file alone shows how it writes boxes."""
SAMPLE = 200
"""Boxes of a file that are compared with those of another."""


def compare_corners(files: Sequence[ResultFile]) -> list[str]:
    """A note if boxes of a file may be x1, y1, x2, y2.

    Raises:
        ValueError: They overlap those of another file if read so.
    """
    suspected = [
        file
        for file in files
        if all(
            right > x and bottom > y
            for x, y, right, bottom in (box['bbox'] for box in file.records)
        )
    ]
    for file in suspected:
        for other in files:
            found = overlaps(file, other)
            if len(found) < FEW:
                continue
            as_sizes, as_corners, _ = found.mean(dim=0).tolist()
            if as_corners > max(0.5, as_sizes + 0.1):
                raise ValueError(
                    f'The boxes of {file.path} seem to be x1, y1, x2, y2: '
                    f'read so, they overlap those of {other.path} by '
                    f'{as_corners:.2f}, as x, y, width, height by '
                    f'{as_sizes:.2f}; write them as the latter'
                )
    return [
        f'no box of {file.path} contradicts x1, y1, x2, y2: make sure that '
        'they are x, y, width, height'
        for file in suspected
        if len(file.records) >= MANY
    ]


def compare_places(files: Sequence[ResultFile], strict: bool) -> list[str]:
    """Notes on files whose boxes are not the first file's.

    Args:
        files: With detections.
        strict: Whether other categories are refused.

    Raises:
        ValueError: Boxes lie where the first file's do, but hardly one has
            the same category.
    """
    notes = []
    for other in files[1:]:
        agree = overlaps(files[0], other) > 0.5
        met = agree[agree[:, 0]]
        if len(agree) >= MANY and len(met) < 0.05 * len(agree):
            notes.append(
                f'hardly a box of {files[0].path} is where {other.path} has '
                'one: make sure that both are of the same images, in pixels '
                'of the same size'
            )
        elif len(met) >= MANY and met[:, 2].sum() < 0.05 * len(met):
            message = (
                f'the boxes of {files[0].path} and {other.path} overlap, but '
                'in other categories: give both the category ids of one '
                'annotation file'
            )
            if strict:
                raise ValueError(
                    f'{message}, or --missing-weight 0 if that is meant'
                )
            notes.append(message)
    return notes


def overlaps(file: ResultFile, other: ResultFile) -> 'Tensor':
    """Best IoU of a file's best boxes with those of another.

    Returns:
        Shape (n, 3): the boxes of `file` read as x, y, width, height, read as
        x1, y1, x2, y2, and as the first with boxes of the same category only.
        Images without boxes of both are left out.
    """
    import torch

    from mmdet_retina_plus.kernels.boxes import coordinates, iou

    theirs: dict[Any, list[dict]] = {}
    for record in other.records if other is not file else ():
        theirs.setdefault(record['image_id'], []).append(record)
    ours = [item for item in file.records if item['image_id'] in theirs]
    best = torch.zeros(0, 3, dtype=torch.float64)
    for record in nlargest(SAMPLE, ours, key=itemgetter('score')):
        near = theirs[record['image_id']]
        both = best.new_tensor([record['bbox']] * 2)
        both[0, 2:] += both[0, :2]
        boxes = best.new_tensor([item['bbox'] for item in near])
        boxes[:, 2:] += boxes[:, :2]
        as_sizes, as_corners = iou(
            coordinates(both)[:, :, None], coordinates(boxes)[:, None]
        )
        same = best.new_tensor(
            [item['category_id'] == record['category_id'] for item in near]
        )
        values = (as_sizes, as_corners, as_sizes * same)
        row = torch.stack([value.max() for value in values])
        best = torch.cat([best, row[None]])
    return best


def compare_fractions(files: Sequence[ResultFile]) -> list[str]:
    """A note if boxes are fractions of the image.

    Raises:
        ValueError: Those of some files are, others are not.
    """
    largest = {
        file.path: max(max(record['bbox']) for record in file.records)
        for file in files
    }
    small = [path for path, number in largest.items() if number <= 1]
    others = [path for path in largest if path not in small]
    if small and others:
        raise ValueError(
            f'The boxes of {small[0]} are fractions of the image, none is '
            f'above 1, those of {others[0]} are pixels: write all in pixels'
        )
    if small:
        return ['the boxes are fractions of the image, none is above 1']
    return []


def areas(files: Sequence[ResultFile]) -> list[str]:
    """A note for each file with boxes that cannot overlap any."""
    notes = []
    for file in files:
        empty = sum(min(record['bbox'][2:]) == 0 for record in file.records)
        if empty:
            notes.append(
                f'{empty:,} of {len(file.records):,} boxes in {file.path} '
                'have no area: they are fused with no other'
            )
    return notes

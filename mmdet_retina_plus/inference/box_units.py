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
            as_sizes, as_corners = found.mean(dim=0).tolist()
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


def compare_places(files: Sequence[ResultFile]) -> list[str]:
    """Notes on files whose boxes lie elsewhere than those of the first."""
    notes = []
    for other in files[1:]:
        best = overlaps(files[0], other)
        if len(best) >= MANY and (best[:, 0] > 0.5).float().mean() < 0.05:
            notes.append(
                f'hardly a box of {files[0].path} is where {other.path} has '
                'one: make sure that both are of the same images, in pixels '
                'of the same size'
            )
    return notes


def overlaps(file: ResultFile, other: ResultFile) -> 'Tensor':
    """Best IoU of a file's best boxes with those of another.

    Returns:
        Shape (n, 2), the boxes of `file` read as x, y, width, height and as
        x1, y1, x2, y2; only in images with boxes of both.
    """
    import torch
    from mmdet.structures.bbox import bbox_overlaps

    theirs: dict[Any, list] = {}
    for record in other.records if other is not file else ():
        theirs.setdefault(record['image_id'], []).append(record['bbox'])
    ours = [item for item in file.records if item['image_id'] in theirs]
    best = torch.zeros(0, 2, dtype=torch.float64)
    for record in nlargest(SAMPLE, ours, key=itemgetter('score')):
        corners = best.new_tensor([record['bbox']] * 2)
        corners[0, 2:] += corners[0, :2]
        boxes = best.new_tensor(theirs[record['image_id']])
        boxes[:, 2:] += boxes[:, :2]
        best = torch.cat([best, bbox_overlaps(corners, boxes).amax(1)[None]])
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

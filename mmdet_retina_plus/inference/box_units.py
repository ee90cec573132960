"""Check that boxes of result files are x, y, width, height in pixels."""

from collections.abc import Sequence
from heapq import nlargest
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from .result_files import ResultFile

if TYPE_CHECKING:
    from torch import Tensor

FEW = 3
"""Overlapping boxes of two files that are needed as evidence."""
MANY = 10
"""Boxes that a file needs to show its box format without another file."""
SAMPLE = 200
"""Boxes of a file that are compared with another file."""


def compare_corners(files: Sequence[ResultFile]) -> list[str]:
    """Note files whose boxes may be x1, y1, x2, y2.

    Raises:
        ValueError: Boxes overlap those of another file only if read that way.
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
                    f'their IoU with those of {other.path} is '
                    f'{as_corners:.2f} if read that way, {as_sizes:.2f} as x, '
                    'y, width, height; write them as x, y, width, height'
                )
    return [
        f'the boxes of {file.path} could be x1, y1, x2, y2: make sure that '
        'they are x, y, width, height'
        for file in suspected
        if len(file.records) >= MANY
    ]


def compare_places(files: Sequence[ResultFile], strict: bool) -> list[str]:
    """Note files whose boxes do not match those of the first.

    Args:
        files: Files with detections.
        strict: Whether to refuse other categories.

    Raises:
        ValueError: Boxes overlap those of the first file, but hardly any has
            the same category.
    """
    notes = []
    for other in files[1:]:
        agree = overlaps(files[0], other) > 0.5
        met = agree[agree[:, 0]]
        if len(agree) >= MANY and len(met) < 0.05 * len(agree):
            notes.append(
                f'hardly any box of {files[0].path} overlaps one of '
                f'{other.path}: make sure that both are of the same images at '
                'the same size'
            )
        elif len(met) >= MANY and met[:, 2].sum() < 0.05 * len(met):
            message = (
                f'the boxes of {files[0].path} and {other.path} overlap, but '
                'have different categories: use the category ids of one '
                'annotation file in both'
            )
            if strict:
                raise ValueError(
                    f'{message}, or --missing-weight 0 if this is intended'
                )
            notes.append(message)
    return notes


def overlaps(file: ResultFile, other: ResultFile) -> 'Tensor':
    """Best IoU of a file's highest-scoring boxes with those of another file.

    Returns:
        Shape (n, 3): IoU of the boxes of `file` read as x, y, width, height;
        read as x1, y1, x2, y2; and read as the former, with boxes of the same
        category only. Images without boxes in both files are left out.
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
    """Note boxes that are fractions of the image.

    Raises:
        ValueError: Some files have fractions, others pixels.
    """
    largest = {
        file.path: max(max(record['bbox']) for record in file.records)
        for file in files
    }
    small = [path for path, number in largest.items() if number <= 1]
    others = [path for path in largest if path not in small]
    if small and others:
        raise ValueError(
            f'The boxes of {small[0]} are fractions of the image (none is '
            f'above 1), those of {others[0]} are pixels: write all in pixels'
        )
    if small:
        return ['the boxes are fractions of the image (none is above 1)']
    return []


def areas(files: Sequence[ResultFile]) -> list[str]:
    """Note files with boxes without area."""
    notes = []
    for file in files:
        empty = sum(min(record['bbox'][2:]) == 0 for record in file.records)
        if empty:
            notes.append(
                f'{empty:,} of {len(file.records):,} boxes in {file.path} '
                'have no area and are fused with no other box'
            )
    return notes

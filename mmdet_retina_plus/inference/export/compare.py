"""Check that two sets of detections agree up to rounding."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .detections import Found


class Tolerance(NamedTuple):
    """Allowed differences between a checkpoint and its file.

    Attributes:
        score: Difference of scores.
        box: Difference of coordinates in pixels.
        mask: Difference of mask probabilities.
        iou: Difference between an IoU and the NMS threshold that is treated as
            rounding.
    """

    score: float
    box: float
    mask: float
    iou: float


SINGLE = Tolerance(score=1e-5, box=0.01, mask=1e-3, iou=1e-4)
HALF = Tolerance(score=0.01, box=1.0, mask=0.1, iou=0.05)


class Difference(NamedTuple):
    """Largest differences of matched detections.

    Attributes:
        score: Difference of scores.
        box: Difference of coordinates in pixels.
        mask: Difference of mask probabilities.
        close_calls: Number of unmatched detections that rounding explains.
    """

    score: float = 0.0
    box: float = 0.0
    mask: float = 0.0
    close_calls: int = 0

    def join(self, other: 'Difference') -> 'Difference':
        """Larger of each difference, and the sum of close calls."""
        return Difference(
            max(self.score, other.score),
            max(self.box, other.box),
            max(self.mask, other.mask),
            self.close_calls + other.close_calls,
        )


def compare(
    checkpoint: Found,
    file: Found,
    tolerance: Tolerance,
    test_cfg: Any,
    candidates: Callable[[], Found] | None = None,
) -> Difference:
    """Compare the detections of a checkpoint and a file.

    Each detection must match one of the same label on the other side, in any
    order. It may be missing where rounding decides: at the score threshold, at
    the end of a full list, at the IoU threshold of NMS, if it suppresses or is
    suppressed by another missing one, or if NMS kept the other of two
    detections with equal scores.

    Args:
        checkpoint: Detections of the checkpoint.
        file: Detections of the file.
        tolerance: Allowed differences of a pair.
        test_cfg: Options of the box head, with the thresholds.
        candidates: Returns the checkpoint's detections before NMS, to
            distinguish ties from wrong boxes. None: no tie is accepted.

    Returns:
        The largest differences.

    Raises:
        ValueError: A detection is unmatched and not explained by rounding.
    """
    left = list(range(len(file.scores)))
    unmatched: list[tuple[Found, int]] = []
    total = Difference()
    for i in range(len(checkpoint.scores)):
        score, box = gaps(checkpoint, i, file, left)
        near = np.flatnonzero(
            (score <= tolerance.score) & (box <= tolerance.box)
        )
        if not len(near):
            unmatched.append((checkpoint, i))
            continue
        best = near[box[near].argmin()]
        j = left.pop(best)
        mask = mask_gap(checkpoint.masks, i, file.masks, j)
        if mask > tolerance.mask:
            raise ValueError(
                f'the mask of {describe(checkpoint, i)} differs by '
                f'{mask:.2g}, more than {tolerance.mask:g}'
            )
        total = total.join(
            Difference(float(score[best]), float(box[best]), mask)
        )
    ties: list[tuple[Found, int]] = []
    if candidates and unmatched and left:
        ties = ties_of(
            unmatched, file, left, candidates(), tolerance, test_cfg
        )
    unmatched += [(file, j) for j in left]
    check_unmatched(unmatched, ties, checkpoint, file, tolerance, test_cfg)
    return total._replace(close_calls=len(unmatched))


def ties_of(
    unmatched: list[tuple[Found, int]],
    file: Found,
    left: list[int],
    candidates: Found,
    tolerance: Tolerance,
    test_cfg: Any,
) -> list[tuple[Found, int]]:
    """Find unmatched detections that are ties in NMS.

    Args:
        unmatched: Unmatched detections of the checkpoint.
        file: Detections of the file.
        left: Indices of the unmatched detections of the file.
        candidates: The checkpoint's detections before NMS.
        tolerance: Differences up to which scores and boxes count as equal.
        test_cfg: Options of the box head.
    """
    iou_thr = test_cfg.nms.iou_threshold - tolerance.iou
    everything = list(range(len(candidates.scores)))
    ties: list[tuple[Found, int]] = []
    for j in left:
        score, box = gaps(file, j, candidates, everything)
        if not ((score <= tolerance.score) & (box <= tolerance.box)).any():
            continue
        for item in unmatched:
            side, i = item
            gap = abs(side.scores[i] - file.scores[j])
            if (
                gap <= tolerance.score
                and suppresses(side, i, file, j, iou_thr)
                and not any(same(item, tie) for tie in ties)
            ):
                ties += [item, (file, j)]
                break
    return ties


def mask_gap(
    one: np.ndarray | None, i: int, other: np.ndarray | None, j: int
) -> float:
    """Largest difference of two masks; 0 if a detection has none."""
    if one is None or other is None or i >= len(one) or j >= len(other):
        return 0.0
    return float(np.abs(one[i] - other[j]).max())


def gaps(
    one: Found, index: int, other: Found, candidates: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Differences of score and box to candidates; inf for other labels."""
    score = np.abs(other.scores[candidates] - one.scores[index])
    box = np.abs(other.boxes[candidates] - one.boxes[index]).max(
        axis=1, initial=0
    )
    same = other.labels[candidates] == one.labels[index]
    return np.where(same, score, np.inf), box


def check_unmatched(
    unmatched: list[tuple[Found, int]],
    ties: list[tuple[Found, int]],
    checkpoint: Found,
    file: Found,
    tolerance: Tolerance,
    test_cfg: Any,
) -> None:
    """Refuse unmatched detections that rounding does not explain.

    Raises:
        ValueError: Names the first of them.
    """
    most, iou_thr = test_cfg.max_per_img, test_cfg.nms.iou_threshold
    last = [
        side.scores[-1] if len(side.scores) >= most else 0.0
        for side in (checkpoint, file)
    ]
    limit = max(test_cfg.get('score_thr', 0), *last) + tolerance.score
    both = np.concatenate([checkpoint.boxes, file.boxes])
    labels = np.concatenate([checkpoint.labels, file.labels])
    # A detection that NMS kept on one side only explains the ones that it
    # suppresses; these explain the ones that they suppress, and so on.
    explained = list(ties)
    left = [
        item for item in unmatched if not any(same(item, tie) for tie in ties)
    ]
    while True:
        more = [
            (side, index)
            for side, index in left
            if side.scores[index] <= limit
            or at_threshold(side, index, both, labels, iou_thr, tolerance.iou)
            or any(
                suppresses(other, j, side, index, iou_thr - tolerance.iou)
                for other, j in explained
                if other is not side
            )
        ]
        if not more:
            break
        explained += more
        left = [item for item in left if not any(same(item, x) for x in more)]
    for side, index in left:
        name = 'checkpoint' if side is checkpoint else 'file'
        raise ValueError(
            f'only the {name} has {describe(side, index)} (tolerance: scores '
            f'{tolerance.score:g}, boxes {tolerance.box:g} px)'
        )


def same(one: tuple[Found, int], other: tuple[Found, int]) -> bool:
    return one[0] is other[0] and one[1] == other[1]


def at_threshold(
    side: Found,
    index: int,
    boxes: np.ndarray,
    labels: np.ndarray,
    iou_thr: float,
    margin: float,
) -> bool:
    """Whether a box of the same label has an IoU at the threshold of NMS."""
    near = boxes[labels == side.labels[index]]
    gap = np.abs(overlaps(side.boxes[index], near) - iou_thr)
    return bool((gap <= margin).any())


def suppresses(
    one: Found, i: int, other: Found, j: int, iou_thr: float
) -> bool:
    """Whether NMS would drop the weaker of two detections."""
    iou = overlaps(one.boxes[i], other.boxes[j : j + 1])[0]
    return bool(one.labels[i] == other.labels[j] and iou > iou_thr)


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of a box (4,) with others (n, 4)."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    area = (box[2:] - box[:2]).prod()
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    return shared / np.maximum(area + areas - shared, 1e-9)


def describe(found: Found, index: int) -> str:
    box = ', '.join(f'{value:.2f}' for value in found.boxes[index])
    return (
        f'the detection of score {found.scores[index]:.5f}, label '
        f'{found.labels[index]}, box {box}'
    )

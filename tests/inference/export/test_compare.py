"""What counts as equal but for rounding."""

import numpy as np
import pytest
from mmengine.config import ConfigDict

from mmdet_retina_plus.inference.export.compare import SINGLE, compare
from mmdet_retina_plus.inference.export.detections import Found

CFG = ConfigDict(score_thr=0.05, max_per_img=100, nms=dict(iou_threshold=0.5))
SQUARE = [0, 0, 10, 10]


def found(*detections) -> Found:
    """Detections given by box and score, all of label 0."""
    boxes, scores = zip(*detections, strict=True)
    return Found(
        np.array(boxes, np.float32),
        np.array(scores, np.float32),
        np.zeros(len(boxes), int),
    )


def test_equal_scores_have_no_order():
    far = [50, 50, 60, 60]
    one = found((SQUARE, 0.5), (far, 0.5))
    other = found((far, 0.5), (SQUARE, 0.5))
    assert compare(one, other, SINGLE, CFG).close_calls == 0


CHANGED = {
    'score': found((SQUARE, 0.5001)),
    'box': found(([0, 0, 10, 10.1], 0.5)),
    'label': found((SQUARE, 0.5))._replace(labels=np.array([1])),
}


@pytest.mark.parametrize('case', CHANGED)
def test_any_change_is_refused(case):
    with pytest.raises(ValueError, match='only the checkpoint has'):
        compare(found((SQUARE, 0.5)), CHANGED[case], SINGLE, CFG)


def test_one_side_may_lack_what_lies_at_a_threshold():
    # IoU with the square 1 / 2: 5 / 10.
    half = [0, 0, 10, 5]
    weak = [50, 50, 60, 60]
    expected = found((SQUARE, 0.9), (half, 0.6), (weak, 0.050001))
    lacking = found((SQUARE, 0.9))
    assert compare(expected, lacking, SINGLE, CFG).close_calls == 2


def test_an_empty_side_is_no_match():
    none = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    assert compare(none, none, SINGLE, CFG).close_calls == 0
    with pytest.raises(ValueError, match='only the file has'):
        compare(none, found((SQUARE, 0.5)), SINGLE, CFG)


def test_masks_are_compared():
    one = found((SQUARE, 0.5))._replace(masks=np.zeros((1, 28, 28)))
    other = one._replace(masks=np.full((1, 28, 28), 0.01))
    with pytest.raises(ValueError, match='mask of the detection'):
        compare(one, other, SINGLE, CFG)


def test_nms_may_keep_either_of_two_equal_scores():
    # IoU 5 / 6.
    near = [0, 0, 10, 12]
    one, other = found((SQUARE, 0.9)), found((near, 0.900003))
    both = found((SQUARE, 0.9), (near, 0.9))
    assert compare(one, other, SINGLE, CFG, lambda: both).close_calls == 2
    # A box that the checkpoint does not have before NMS is no tie.
    with pytest.raises(ValueError, match='only the checkpoint has'):
        compare(one, other, SINGLE, CFG, lambda: one)

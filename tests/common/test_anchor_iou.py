"""The fit of boxes and anchors, against mmdet's anchor grid."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules import AnchorGenerator
from mmdet.structures.bbox import bbox_overlaps

from mmdet_retina_plus.common.anchor_iou import best_anchor_iou

GENERATORS = {
    'retinanet': AnchorGenerator(
        strides=[8, 16, 32, 64, 128],
        ratios=[0.5, 1.0, 2.0],
        octave_base_scale=4,
        scales_per_octave=3,
    ),
    'one per place': AnchorGenerator(
        strides=[8, 16, 32], ratios=[1.0], octave_base_scale=8,
        scales_per_octave=1,
    ),
    'off centre': AnchorGenerator(
        strides=[(8, 16), (16, 32)], ratios=[0.3, 1.0], scales=[2, 5],
        center_offset=0.5,
    ),
}  # fmt: skip


def base_anchors(generator):
    return [anchors.numpy() for anchors in generator.base_anchors]


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(list(GENERATORS)),
    width=st.integers(20, 300),
    height=st.integers(20, 300),
    seed=st.integers(0, 2**32),
)
def test_best_anchor_iou_is_that_of_all_anchors(name, width, height, seed):
    generator = GENERATORS[name]
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-5, 1.05, (2, 50, 2)) * (width, height)
    low, high = corners.min(axis=0), corners.max(axis=0)
    boxes = np.concatenate([low, np.maximum(high, low + 1)], axis=1)
    grids = [
        (int(np.ceil(height / y)), int(np.ceil(width / x)))
        for x, y in generator.strides
    ]
    anchors = torch.cat(generator.grid_priors(grids, device='cpu'))
    ious = best_anchor_iou(
        boxes,
        np.tile([width, height], (50, 1)),
        base_anchors(generator),
        generator.strides,
    )
    expected = bbox_overlaps(torch.tensor(boxes), anchors.double())
    np.testing.assert_allclose(
        ious, expected.max(dim=1).values, rtol=1e-5, atol=1e-7
    )

"""Masks of all of COCO's kinds, and those that are refused."""

import numpy as np
import pytest
from pycocotools import mask as mask_util

from mmdet_retina_plus.analysis.evaluation.masks import (
    MaskError,
    run_lengths,
)
from mmdet_retina_plus.common.run_lengths import pixels_in

POLYGON = [[3, 2, 12, 2, 12, 9, 3, 9]]


@pytest.mark.parametrize('seed', range(5))
def test_every_mask_runs_over_all_pixels(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 400, 2)
    pixels = rng.random(shape) < [0.001, 0.5, 0.999, 0, 1][seed]
    mask = mask_util.encode(np.asfortranarray(pixels, np.uint8))
    counts = mask['counts']
    totals = pixels_in([counts, b'', counts, counts])
    assert totals.tolist() == [pixels.size, -1, pixels.size, pixels.size]


def test_polygons_and_both_kinds_of_run_lengths_are_one_mask():
    (mask,) = run_lengths([POLYGON], 20, 30)
    text = dict(mask, counts=mask['counts'].decode())
    pixels = mask_util.decode(mask).ravel(order='F')
    changes = np.flatnonzero(np.diff(pixels, prepend=0))
    runs = np.diff([0, *changes, len(pixels)]).tolist()
    same = [text, dict(size=[20, 30], counts=runs)]
    assert run_lengths(same, 20, 30) == [mask, mask]
    assert mask_util.area(mask) == 63


@pytest.mark.parametrize(
    ('segmentation', 'message'),
    [
        (dict(size=[20, 30], counts='c26'), '89 pixels.*600'),
        (dict(size=[20, 30], counts='zzzz'), 'pixels'),
        (dict(size=[20, 30], counts=''), '-1 pixels'),
        (dict(size=[20, 30], counts=[100, 20]), '120 pixels'),
        (dict(size=[30, 20], counts=[600]), r'size \[30, 20\]'),
        (dict(counts=[600]), 'no valid segmentation'),
        ([[1, 2, 3]], 'no valid segmentation'),
        ('text', 'no valid segmentation'),
        (5, 'no valid segmentation'),
    ],
)
def test_what_pycocotools_cannot_compare_is_refused(segmentation, message):
    with pytest.raises(MaskError, match=message) as caught:
        run_lengths([POLYGON, segmentation], 20, 30)
    assert caught.value.index == 1

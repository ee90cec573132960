"""Run lengths of a window's mask are those of the image's mask."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmdet_retina_plus.inference.run_lengths import (
    decode,
    empty,
    encode_window,
)


@pytest.mark.parametrize('corner', [(0, 0), (3, 2), (5, 4), (0, 4)])
@pytest.mark.parametrize('density', [0.3, 1.0])
def test_run_lengths_are_pycocotools(corner, density):
    window = np.random.default_rng(0).random((6, 7)) < density
    image = np.zeros((10, 12), bool)
    x, y = corner
    image[y : y + 6, x : x + 7] = window
    theirs = coco_mask.encode(np.asfortranarray(image.astype(np.uint8)))
    ours = encode_window(window, corner, (10, 12))
    assert ours == dict(size=[10, 12], counts=theirs['counts'].decode())
    np.testing.assert_array_equal(decode(ours), image)


def test_a_window_as_tall_as_its_image_joins_runs():
    window = np.ones((10, 3), bool)
    image = np.zeros((10, 12), bool)
    image[:, 4:7] = True
    np.testing.assert_array_equal(
        decode(encode_window(window, (4, 0), (10, 12))), image
    )
    theirs = coco_mask.encode(np.asfortranarray(image.astype(np.uint8)))
    ours = encode_window(window, (4, 0), (10, 12))
    assert ours['counts'] == theirs['counts'].decode()


def test_a_mask_without_a_pixel_is_none():
    assert encode_window(np.zeros((2, 3), bool), (0, 0), (4, 5)) is None
    assert not decode(empty((4, 5))).any()

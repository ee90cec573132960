"""Sizes and boxes behind resizing steps, against mmdet's transforms."""

import numpy as np
import pytest
from mmdet.datasets.transforms import Resize

from mmdet_retina_plus.common.network_boxes import network_boxes, resized


@pytest.mark.parametrize(
    'step',
    [
        {'scale': (1333, 800), 'keep_ratio': True},
        {'scale': (100, 37), 'keep_ratio': True},
        {'scale': (123, 77)},
        {'scale': 99, 'keep_ratio': True},
        {'scale_factor': 1.7},
    ],
)
@pytest.mark.parametrize('shape', [(50, 80), (333, 217), (64, 64)])
def test_resized_is_what_the_transform_does(step, shape):
    out = Resize(**step)({'img': np.zeros((*shape, 3), np.uint8)})
    sizes = np.array([shape[::-1]], float)
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'Resize', **step}]
    height, width = out['img_shape']
    np.testing.assert_array_equal(resized(sizes, pipeline), [[width, height]])


@pytest.mark.parametrize(
    ('step', 'size'),
    [
        ({'type': 'RandomResize', 'scale': [(80, 40), (120, 60)]}, (100, 50)),
        (
            {
                'type': 'mmdet.RandomResize',
                'scale': (100, 50),
                'ratio_range': (0.1, 2.0),
            },
            (105, 52),
        ),
        (
            {'type': 'RandomChoiceResize', 'scales': [(9, 9), (8, 8), (7, 7)]},
            (8, 8),
        ),
        ({'type': 'RandomFlip'}, (200, 100)),
    ],
)
def test_a_random_scale_counts_with_its_middle(step, size):
    sizes = resized(np.array([[200.0, 100.0]]), [step])
    np.testing.assert_array_equal(sizes, [size])


def test_boxes_are_scaled_and_clipped_and_sizes_padded():
    boxes = np.array([[10.0, 20, 30, 60], [150, 80, 220, 120]])
    pipeline = [{'type': 'Resize', 'scale': (100, 100), 'keep_ratio': True}]
    sizes = np.array([[200.0, 100], [200, 100]])
    scaled, padded = network_boxes(boxes, sizes, pipeline, 32)
    np.testing.assert_array_equal(scaled, [[5, 10, 15, 30], [75, 40, 100, 50]])
    np.testing.assert_array_equal(padded, [[128, 64]] * 2)

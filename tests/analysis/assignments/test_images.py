"""Pipelines without chance, and pixels to draw."""

import numpy as np
import pytest

from mmdet_retina_plus.analysis.assignments.images import (
    pixels_of,
    still_pipeline,
)

LOAD = dict(type='LoadImageFromFile')
PACK = dict(type='mmdet.PackDetInputs')


@pytest.mark.parametrize(
    'step',
    [
        dict(type='RandomFlip', prob=0.5),
        dict(type='mmdet.PhotoMetricDistortion'),
        dict(type='RandomCenterCropPad', test_mode=True),
        dict(type='MinIoURandomCrop'),
        dict(type='Mosaic'),
    ],
)
def test_random_steps_are_left_out_and_named(step):
    kept, left_out = still_pipeline([LOAD, step, PACK])
    assert kept == [LOAD, PACK]
    assert left_out == [step['type'].rpartition('.')[2]]


@pytest.mark.parametrize(
    ('step', 'scale', 'keep_ratio'),
    [
        (
            dict(type='RandomResize', scale=[(100, 60), (200, 120)]),
            (150, 90),
            True,
        ),
        (
            dict(
                type='RandomChoiceResize',
                scales=[(90, 30), (90, 10), (90, 20)],
                keep_ratio=True,
            ),
            (90, 20),
            True,
        ),
        (
            dict(
                type='RandomResize',
                scale=(100, 50),
                ratio_range=(0.5, 2.5),
                keep_ratio=False,
            ),
            (150, 75),
            False,
        ),
    ],
)
def test_a_random_size_becomes_its_middle_one(step, scale, keep_ratio):
    (resize,), _ = still_pipeline([step])
    assert resize == dict(type='Resize', scale=scale, keep_ratio=keep_ratio)


def test_other_steps_stay_as_they_are():
    steps = [LOAD, dict(type='Resize', scale=(9, 9)), dict(type='Own'), PACK]
    assert still_pipeline(steps) == (steps, [])


def test_three_channels_are_bgr_and_others_grey():
    image = np.zeros((3, 2, 5), np.uint8)
    image[0] = 200
    assert pixels_of(image)[0, 0].tolist() == [0, 0, 200]
    deep = np.full((7, 2, 5), 300.0)
    deep[0, 0, 0] = 1300
    shown = pixels_of(deep)
    assert shown.shape == (2, 5, 3)
    assert shown[0, 0].tolist() == [255] * 3
    assert shown[1, 1].tolist() == [0] * 3

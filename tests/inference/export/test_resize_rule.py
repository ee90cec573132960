"""The rule in a file makes the sizes that the pipeline makes."""

import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.config import Config

from mmdet_retina_plus.inference.export.resize_rule import (
    apply_rule,
    read_rule,
    rule_of,
)

RESIZES = {
    'kept ratio': dict(scale=(133, 80), keep_ratio=True),
    'any ratio': dict(scale=(64, 48)),
    'factor': dict(scale_factor=1.3),
}


@pytest.mark.parametrize('case', RESIZES)
@pytest.mark.parametrize('shape', [(37, 101), (101, 37), (50, 50)])
def test_the_rule_makes_the_image_of_the_pipeline(case, shape):
    import mmdet.datasets.transforms  # noqa: F401  Registers them.

    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    step = dict(type='mmdet.Resize', **RESIZES[case])
    theirs = Compose([step])(dict(img=image, img_shape=shape))['img']
    np.testing.assert_array_equal(apply_rule(rule_of(step), image), theirs)


REFUSED = {
    'loader': [dict(type='LoadNeighbourSlices')],
    'grey': [dict(type='LoadImageFromFile', color_type='grayscale')],
    'step': [dict(type='LoadImageFromFile'), dict(type='Pad', size=(9, 9))],
    'interpolation': [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(9, 9), interpolation='area'),
    ],
}
NAMES = dict(loader='LoadNeighbourSlices', grey='grayscale', step='Pad')


@pytest.mark.parametrize('case', REFUSED)
def test_pipelines_that_do_more_are_refused_by_name(case):
    cfg = Config(
        dict(test_dataloader=dict(dataset=dict(pipeline=REFUSED[case])))
    )
    with pytest.raises(ValueError, match=NAMES.get(case, case)):
        read_rule(cfg)

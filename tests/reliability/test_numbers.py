"""Extreme objects, logits and precisions leave no NaN and crash nothing."""

import pytest
from mmdet.registry import MODELS

from tests.helpers.assigned_heads import SAPD
from tests.helpers.extreme_numbers import (
    PRECISIONS,
    prediction_problems,
    saturated,
    scenes,
    step_problems,
)
from tests.helpers.models import detector_config, roi_head_config
from tests.helpers.shipped_configs import build_detector, load

BATCHES = scenes(many=200)


@pytest.fixture(scope='module', params=['anchors', 'points'])
def model(request):
    """A RetinaMask with losses of the package, and SAPD, both narrow."""
    config = detector_config(roi_head=roi_head_config())
    config.bbox_head.loss_cls.type = 'FusedFocalLoss'
    config.bbox_head.loss_bbox.type = 'SelfAdjustingSmoothL1Loss'
    if request.param == 'points':
        del config.roi_head
        config.bbox_head = dict(SAPD)
    model = MODELS.build(config)
    model.init_weights()
    return model.train()


@pytest.mark.parametrize('scene', BATCHES)
def test_a_step_is_finite(model, scene):
    assert step_problems(model, BATCHES[scene]) == []


@pytest.mark.parametrize('precision', PRECISIONS)
def test_logits_of_ten_thousand_are_finite(model, precision):
    batches = scenes(precision, many=1)
    with saturated(model) as layers:
        assert layers >= 2
        for scene in ('no object', 'an empty image'):
            assert step_problems(model, batches[scene], precision) == []
        samples = batches['an empty image']
        assert prediction_problems(model, samples, precision) == []


def test_a_small_image_alone_is_mixed_by_asff():
    """Its coarsest level has one cell."""
    model = build_detector(load('lab/method_retinanet-asff'))
    assert step_problems(model, BATCHES['one object']) == []
    assert prediction_problems(model, BATCHES['one object']) == []

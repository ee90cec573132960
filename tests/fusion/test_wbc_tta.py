"""What a detector says of an image's views, made one by consensus."""

import numpy as np
import pytest
import torch
from mmdet.models import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_flip
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import nn
from torch.testing import assert_close

from mmdet_retina_plus.fusion import WBCTTAModel
from tests.fusion.tta_views import PLAIN, batch_of, flip, results_of
from tests.helpers.models import detector_config
from tests.helpers.samples import instances

SHAPE = (100, 200)
"""Height and width of the image that `Repeater` does not look at."""
EXACT = dict(rtol=0, atol=0)


class Repeater(nn.Module):
    """Predicts what its input says."""

    def test_step(self, data):
        for sample, answer in zip(
            data['data_samples'], data['inputs'], strict=True
        ):
            sample.pred_instances = answer
        return data['data_samples']


def found(boxes=(), scores=(), labels=()):
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        scores=torch.tensor(scores),
        labels=torch.tensor(labels).long(),
    )


def merged(*views, directions=None, **tta_cfg):
    """Results where each view, flipped as directions say, found something."""
    samples = [
        [
            DetDataSample(
                metainfo=dict(
                    ori_shape=SHAPE,
                    img_shape=SHAPE,
                    scale_factor=(1.0, 1.0),
                    flip=direction is not None,
                    flip_direction=direction,
                )
            )
        ]
        for direction in directions or [None] * len(views)
    ]
    model = WBCTTAModel(module=Repeater(), tta_cfg=ConfigDict(tta_cfg))
    data = dict(inputs=[[view] for view in views], data_samples=samples)
    (results,) = results_of(model, data)
    return results


APART = found(
    [[10, 10, 30, 40], [100, 20, 150, 90], [12, 10, 30, 40]],
    [0.9, 0.5, 0.2],
    [0, 0, 1],
)
"""No two boxes of a class overlap."""


def assert_same(results, expected):
    for key in ('bboxes', 'scores', 'labels'):
        assert_close(results[key], expected[key])


def test_one_view_is_what_the_detector_found():
    results = merged(APART)
    for key in ('bboxes', 'scores', 'labels'):
        assert_close(results[key], APART[key], **EXACT)


def test_equal_views_are_one():
    assert_same(merged(APART, APART), APART)


def test_what_one_view_of_four_found_has_a_quarter_of_its_score():
    nothing = found()
    results = merged(nothing, APART, nothing, nothing)
    assert_close(results.bboxes, APART.bboxes)
    assert_close(results.scores, APART.scores / 4)


def test_missing_views_may_count_less():
    results = merged(found(), APART, missing_weight=0.0)
    assert_same(results, APART)


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_boxes_of_flipped_views_come_back(direction):
    flipped = APART.clone()
    flipped.bboxes = bbox_flip(flipped.bboxes, SHAPE, direction)
    results = merged(APART, flipped, directions=[None, direction])
    assert_same(results, APART)


def test_two_views_meet_in_the_middle():
    views = [
        found([[10, 10, 30, 30]], [0.8], [0]),
        found([[12, 10, 32, 30]], [0.8], [0]),
    ]
    # The second weighs as much as it overlaps the first.
    overlap = 18 / 22
    x = 10 + 2 * overlap / (1 + overlap)
    expected = found([[x, 10, x + 20, 30]], [0.8], [0])
    assert_same(merged(*views), expected)
    assert len(merged(*views, iou_thr=0.9)) == 2


def test_the_best_boxes_stay():
    assert_same(merged(APART, max_per_img=2), APART[:2])


def test_presets_have_names():
    weak = found([[10, 10, 30, 30]], [0.009], [0])
    assert len(merged(weak, preset='mdt')) == 0
    assert len(merged(weak, preset='mdt', score_floor=0.001)) == 1
    assert len(merged(weak, preset='nndetection')) == 1
    assert len(merged(weak)) == 1


def test_views_that_find_nothing_give_nothing():
    results = merged(found(), found())
    assert results.bboxes.shape == (0, 4)
    assert results.scores.shape == results.labels.shape == (0,)


@pytest.mark.parametrize(
    ('tta_cfg', 'way_out'),
    [
        (dict(nms=dict(type='nms')), 'no nms: .*preset, max_per_img, iou_thr'),
        (dict(preset='papers'), "'papers': use one of paper, mdt"),
        (dict(max_per_img=-1), 'max_per_img must be 1 or more'),
        (dict(iou_thr=50), 'iou_thr must be from 0 to 1'),
    ],
)
def test_bad_options_are_refused_at_once(tta_cfg, way_out):
    with pytest.raises(ValueError, match=way_out):
        WBCTTAModel(module=Repeater(), tta_cfg=tta_cfg)


def test_a_pipeline_without_views_says_how_to_make_them():
    model = WBCTTAModel(module=Repeater())
    data = dict(inputs=[found()], data_samples=[DetDataSample()])
    with pytest.raises(ValueError, match='TestTimeAug'):
        model.test_step(data)


def test_masks_are_refused_rather_than_lost():
    with_masks = instances([((4, 4, 40, 60), 0)])
    with_masks.scores = torch.ones(1)
    with pytest.raises(ValueError, match='MaskTTAModel'):
        merged(with_masks)


@pytest.fixture(params=['RetinaPlus', 'RetinaNet'])
def detector(request):
    """Ours and mmdet's, narrow, with random weights, that find something."""
    config = detector_config()
    config.type = request.param
    config.data_preprocessor = dict(
        type='mmdet.DetDataPreprocessor',
        mean=[127.5] * 3,
        std=[50.0] * 3,
        pad_size_divisor=32,
    )
    if request.param == 'RetinaNet':
        config.bbox_head.type = 'RetinaHead'
    torch.manual_seed(0)
    detector = MODELS.build(config)
    detector.init_weights()
    nn.init.normal_(detector.bbox_head.retina_cls.weight, std=0.03)
    nn.init.constant_(detector.bbox_head.retina_cls.bias, -1.0)
    return detector.eval()


def noise():
    return np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)


SCALES = ((120, 90), (240, 180))
FLIPS = (PLAIN, flip('horizontal'))


def test_a_mirrored_image_has_mirrored_results(detector):
    """Since its views are the same, in another order."""
    model = WBCTTAModel(module=detector, tta_cfg=dict(iou_thr=0.5)).eval()
    images = noise(), noise()[:, ::-1].copy()
    batch = batch_of(*images, scales=SCALES, flips=FLIPS)
    plain, mirrored = results_of(model, batch)
    assert len(plain) == 100
    back = bbox_flip(mirrored.bboxes, (90, 120))
    assert_close(mirrored.scores, plain.scores)
    assert_close(back, plain.bboxes, rtol=1e-3, atol=1e-2)


def test_it_takes_det_tta_models_place_in_a_config(detector):
    """Where nothing is merged and nothing missing, results are the same."""
    batch = batch_of(noise(), scales=SCALES, flips=FLIPS)
    alone = dict(iou_thr=1.0, missing_weight=0.0)
    views = dict(type='WBCTTAModel', module=detector, tta_cfg=alone)
    ours = MODELS.build(ConfigDict(views)).eval()
    tta_cfg = dict(nms=dict(type='nms', iou_threshold=1.0), max_per_img=100)
    stock = DetTTAModel(module=detector, tta_cfg=ConfigDict(tta_cfg)).eval()
    (results,), (expected,) = results_of(ours, batch), results_of(stock, batch)
    assert set(results.keys()) == set(expected.keys())
    assert len(results) == 100
    assert_same(results, expected)

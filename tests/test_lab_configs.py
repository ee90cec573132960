"""Every strategy of the lab is built and stepped, and differs by itself."""

import copy
import json
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from mmdet.models.task_modules.prior_generators import SSDAnchorGenerator
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

import mmdet_retina_plus
from tests.helpers.samples import BATCHES, data_sample
from tests.helpers.shipped_configs import (
    build_detector,
    check_step,
    differences,
    load,
)

FOLDER = Path(mmdet_retina_plus.config('lab/assigner_max-iou')).parent
ASSIGNERS = sorted(path.stem for path in FOLDER.glob('assigner_*.py'))
PAGE = Path(__file__).parents[1] / 'docs' / 'strategies.md'
BLOCKS = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
STRATEGY = ('train_cfg.assigner', 'train_cfg.sampler', 'bbox_head.mining')
CLASSIFIER = ('bbox_head.loss_cls',)
SINGLE_ANCHOR = (
    'bbox_head.anchor_generator',
    'bbox_head.reg_decoded_bbox',
    'bbox_head.loss_bbox',
)
POINTS = ('bbox_head.bbox_coder', 'bbox_head.init_cfg')
SAMPLING = {
    'assigner_all-negatives',
    'assigner_cross-entropy',
    'assigner_iou-balanced',
    'assigner_negative-ratio',
    'assigner_ohem',
    'assigner_random-sampler',
    'assigner_shem',
}


@cache
def shipped(name: str) -> Config:
    """A config of the lab on its own data, to be read only."""
    return load(f'lab/{name}')


@pytest.fixture(scope='module', params=ASSIGNERS)
def model(request):
    return build_detector(copy.deepcopy(shipped(request.param)))


@pytest.mark.parametrize('batch', BATCHES)
def test_a_step_has_finite_losses_and_every_gradient(model, batch):
    check_step(model, BATCHES[batch])


def test_it_predicts(model):
    model.eval()
    nn.init.zeros_(model.bbox_head.retina_cls.bias)
    model.bbox_head.test_cfg.update(max_per_img=3, score_thr=0.0)
    with torch.no_grad():
        (result,) = model.predict(torch.randn(1, 3, 64, 64), [data_sample()])
    assert result.pred_instances.bboxes.shape == (3, 4)


@pytest.mark.parametrize('name', ASSIGNERS)
def test_only_the_strategy_differs(name):
    ours, base = shipped(name), shipped('assigner_max-iou')
    may_differ = STRATEGY
    if name in SAMPLING:
        may_differ += CLASSIFIER
    if '_a1' in name:
        may_differ += SINGLE_ANCHOR
    if name.endswith('-point'):
        may_differ += POINTS
    for key in differences(ours.model, base.model):
        assert key.startswith(may_differ), key
    for key in {**ours, **base}.keys() - {'model', 'point_regression'}:
        assert ours.get(key) == base.get(key), key


@pytest.mark.parametrize('name', sorted(SAMPLING | {'method_libra-retinanet'}))
def test_sampling_names_its_loss_and_its_divisor(name):
    text = (FOLDER / f'{name}.py').read_text()
    assert 'Classification loss: ' in text
    assert 'ivide' in text or 'Divisor' in text


@pytest.mark.parametrize('name', [*ASSIGNERS, 'method_libra-retinanet'])
def test_a_config_is_a_delta_that_says_what_it_is(name):
    text = (FOLDER / f'{name}.py').read_text()
    assert text.startswith('# ')
    assert f'mim train mmdet configs/lab/{name}.py' in text
    assert '_base_ =' in text
    hooks = shipped(name).custom_hooks
    assert dict(type='CheckInvalidLossHook', interval=1) in hooks


@pytest.mark.parametrize('data', ['shapes', 'pennfudan', 'coco'])
def test_one_line_chooses_data_and_schedule(data, monkeypatch):
    plain = shipped('assigner_point-range')
    monkeypatch.setenv('LAB_DATA', f'../_base_/lab_{data}.py')
    config = load('lab/assigner_point-range')
    assert (config.model == plain.model) == (data == 'shapes')
    assert config.model.bbox_head.num_classes == config.num_classes
    assert config.model.bbox_head.in_channels == config.lab_width
    config.model.backbone.init_cfg = None
    MODELS.build(config.model)
    assert config.train_dataloader.dataset.type == 'CocoDataset'
    assert config.param_scheduler


@pytest.mark.parametrize('preset', ['tiny', 'crowded'])
def test_a_preset_differs_by_its_data_only(preset, monkeypatch):
    plain = shipped('assigner_atss').to_dict()
    monkeypatch.setenv('LAB_SHAPES', f'lab-{preset}')
    other = load('lab/assigner_atss').to_dict()
    assert other != plain
    text = json.dumps(other).replace(f'data/lab-{preset}/', 'data/lab/')
    assert json.loads(text) == json.loads(json.dumps(plain))


def test_the_pages_own_data_are_one_file(tmp_path, monkeypatch):
    mine = tmp_path / 'my_data.py'
    mine.write_text(BLOCKS[0])
    monkeypatch.setenv('LAB_DATA', str(mine))
    config = load('lab/assigner_atss')
    assert config.model.bbox_head.num_classes == 2
    for name in ('train', 'val', 'test'):
        dataset = config[f'{name}_dataloader'].dataset
        assert dataset.data_root == 'my/data/'
        assert dataset.metainfo.classes == ('cat', 'dog')


def test_the_pages_yolov3_takes_a_step(tmp_path):
    file = tmp_path / 'yolov3.py'
    file.write_text(BLOCKS[1])
    detector = build_detector(Config.fromfile(file))
    assert detector.bbox_head.mining
    check_step(detector, BATCHES['one-empty'])


@pytest.mark.parametrize('name', [*ASSIGNERS, 'method_libra-retinanet'])
def test_the_page_names_every_strategy(name):
    assert f'`{name.removesuffix("-point")}`' in PAGE.read_text()


@pytest.mark.parametrize('strategy', ['max-iou', 'point-range', 'atss'])
def test_box_and_point_differ_by_the_regression_only(strategy):
    box, point = (
        shipped(f'assigner_{strategy}_a1{suffix}') for suffix in ('', '-point')
    )
    for key in differences(box.model, point.model):
        assert key.startswith(POINTS), key


def test_ssds_boxes_and_thresholds():
    generator = SSDAnchorGenerator(
        strides=[8, 16, 32, 64, 100, 300],
        ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
        input_size=300,
        basesize_ratio_range=(0.2, 0.9),
        scale_major=False,
    )
    assert generator.base_sizes == [30, 60, 111, 162, 213, 264]
    widths = [
        float(anchors[0, 2] - anchors[0, 0])
        for anchors in generator.base_anchors
    ]
    assert widths == [30, 60, 111, 162, 213, 264]
    assert [len(anchors) for anchors in generator.base_anchors] == [
        *(4, 6, 6, 6, 4, 4)
    ]
    train_cfg = shipped('assigner_negative-ratio').model.train_cfg
    assert train_cfg.assigner.pos_iou_thr == 0.5
    assert train_cfg.assigner.neg_iou_thr == 0.5
    assert train_cfg.assigner.gt_max_assign_all is False


@pytest.mark.parametrize(
    'name', ['retinanet_r50_fpn_fl', 'lab/assigner_max-iou']
)
def test_retinanet_takes_a_thousand_per_level(name):
    test_cfg = load(name).model.test_cfg
    assert test_cfg.nms_pre == 1000
    assert test_cfg.score_thr == 0.05
    assert test_cfg.nms == dict(type='nms', iou_threshold=0.5)


def test_the_rpns_thresholds():
    train_cfg = shipped('assigner_random-sampler').model.train_cfg
    assigner, sampler = train_cfg.assigner, train_cfg.sampler
    assert (assigner.pos_iou_thr, assigner.neg_iou_thr) == (0.7, 0.3)
    assert assigner.min_pos_iou == 0.3
    assert (sampler.num, sampler.pos_fraction) == (256, 0.5)

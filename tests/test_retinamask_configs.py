"""RetinaMask's configs say what the specification does."""

import numpy as np
import pytest
import torch
from mmdet.models.backbones import ResNeXt
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from pycocotools.mask import frPyObjects
from torch import nn

from tests.helpers.shipped_configs import differences, load, shrink

ELEVEN = [640, 672, 704, 736, 768, 800, 840, 880, 920, 960, 1000]
SCHEDULES: dict[str, tuple[int, list[int], list[int]]] = {
    'retinamask_r50_fpn_1x': (12, [8, 11], [800]),
    'retinamask_r50_fpn_1.5x': (18, [12, 16], [800]),
    'retinamask_r50_fpn': (24, [16, 22], [640, 800, 1000]),
    'retinamask_r101_fpn': (24, [16, 22], [640, 800, 1000]),
    'retinamask_r101_fpn_gn-head': (24, [16, 22], [640, 800, 1000]),
    'retinamask_x101-32x8d_fpn_gn-head': (24, [16, 22], ELEVEN),
}
"""Epochs, milestones and shorter sides of the authors' recipes."""
MMDET = 'retinamask_r50_fpn_1x_mmdet'


MASKS = {
    'train_pipeline.1.with_mask',
    'train_dataloader.dataset.pipeline.1.with_mask',
    'test_pipeline.2.with_mask',
    'val_dataloader.dataset.pipeline.2.with_mask',
    'test_dataloader.dataset.pipeline.2.with_mask',
    'retinamask',  # the fragment itself
    'model.roi_head',
    'model.bbox_head.loss_bbox.type',
    'model.bbox_head.loss_bbox.beta',
    'model.bbox_head.loss_bbox.loss_weight',
    *(f'model.bbox_head.bbox_coder.target_stds.{i}' for i in range(4)),
    'val_evaluator.metric',
    'test_evaluator.metric',
    'tta_model.type',
}


def test_the_root_config_is_retinanets_but_for_retinamask():
    found = differences(
        load('retinamask_r50_fpn_1x').to_dict(),
        load('retinanet_r50-caffe_fpn_fl').to_dict(),
    )
    assert set(found) == {
        *MASKS,
        'model.neck.add_extra_convs',
        'model.neck.relu_before_extra_convs',
        'model.train_cfg.assigner.best_match',
        'model.test_cfg.nms.iou_threshold',
        'tta_model.tta_cfg.nms.iou_threshold',
        'optim_wrapper.paramwise_cfg',
        'param_scheduler.0.start_factor',
    }


def test_the_variant_of_mmdets_habits_adds_masks_and_the_loss_alone():
    found = differences(
        load(MMDET).to_dict(), load('retinanet_r50_fpn_fl').to_dict()
    )
    assert set(found) == MASKS


@pytest.mark.parametrize('name', SCHEDULES)
def test_schedules_are_the_authors(name):
    epochs, milestones, sides = SCHEDULES[name]
    config = load(name)
    warm_up, decay = config.param_scheduler
    assert config.train_cfg.max_epochs == decay.end == epochs
    assert decay.milestones == milestones
    assert (warm_up.end, warm_up.start_factor) == (500, 1 / 3)
    assert config.optim_wrapper.optimizer.lr == 0.01
    assert config.auto_scale_lr.base_batch_size == 16
    resize = config.train_dataloader.dataset.pipeline[2]
    scales = resize.get('scales') or [resize.scale]
    assert scales == [(1333, side) for side in sides]
    for loader in (config.val_dataloader, config.test_dataloader):
        assert loader.dataset.pipeline[1].scale == (1333, 800)


def record() -> dict:
    """What the data set and the reader say about an image with two objects."""
    return dict(
        img=np.zeros((60, 80, 3), np.uint8),
        img_shape=(60, 80),
        ori_shape=(60, 80),
        height=60,
        width=80,
        instances=[
            dict(
                bbox=[10, 10, 40, 50],
                bbox_label=1,
                ignore_flag=0,
                mask=[[10, 10, 40, 10, 40, 50, 10, 50]],
            ),
            dict(  # a crowd
                bbox=[40, 10, 60, 30],
                bbox_label=1,
                ignore_flag=1,
                mask=dict(size=[60, 80], counts=[2400, 30, 2370]),
            ),
        ],
    )


@pytest.mark.parametrize('encoding', ['polygons', 'run lengths'])
@pytest.mark.parametrize('name', [*SCHEDULES, MMDET])
def test_training_images_come_with_masks_that_can_be_cropped(name, encoding):
    result = record()
    if encoding == 'run lengths':
        instance = result['instances'][0]
        [mask] = frPyObjects(instance['mask'], 60, 80)
        instance['mask'] = dict(mask, counts=mask['counts'].decode())
    pipeline = load(name).train_dataloader.dataset.pipeline
    # RandomChoiceResize looks for mmdet's Resize where a run does.
    with DefaultScope.overwrite_default_scope('mmdet'):
        for transform in pipeline[1:]:
            result = TRANSFORMS.build(transform)(result)
    sample: DetDataSample = result['data_samples']
    sides = SCHEDULES[name][2] if name in SCHEDULES else [800]
    assert min(result['inputs'].shape[1:]) in sides
    masks = sample.gt_instances.masks
    assert len(sample.gt_instances) == 1
    boxes = sample.gt_instances.bboxes.numpy()
    cropped = masks.crop_and_resize(boxes, (28, 28), np.arange(1))
    assert cropped.to_ndarray().mean() > 0.9


def build(name: str) -> nn.Module:
    """The detector's modules without values."""
    config = load(name)
    with torch.device('meta'):
        return MODELS.build(config.model).train()


@pytest.mark.parametrize('name', [*SCHEDULES, MMDET])
def test_tta_merges_masks_and_suppresses_as_the_model_does(name):
    config = load(name)
    assert config.tta_model.tta_cfg.nms == config.model.test_cfg.nms
    assert config.tta_model.tta_cfg.max_per_img == 100
    with torch.device('meta'):
        tta = MODELS.build(dict(config.tta_model, module=config.model))
    assert type(tta).__name__ == 'MaskTTAModel'


@pytest.mark.parametrize('name', SCHEDULES)
def test_all_batch_norm_is_frozen(name):
    layers = [
        module
        for module in build(name).modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    assert len(layers) > 50
    for layer in layers:
        assert not layer.training
        assert not any(value.requires_grad for value in layer.parameters())


@pytest.mark.parametrize('name', SCHEDULES)
def test_group_norm_is_in_towers_and_fpn_but_not_in_p6_p7_nor_the_masks(name):
    layers = {
        path: module
        for path, module in build(name).named_modules()
        if isinstance(module, nn.GroupNorm)
    }
    towers = [f'bbox_head.{tower}_convs' for tower in ('cls', 'reg')]
    fpn = [f'neck.{convs}_convs' for convs in ('lateral', 'fpn')]
    expected = {f'{tower}.{i}.gn' for tower in towers for i in range(4)}
    expected |= {f'{convs}.{i}.gn' for convs in fpn for i in range(3)}
    assert set(layers) == (expected if name.endswith('gn-head') else set())
    for layer in layers.values():
        assert layer.num_groups == 32
        assert layer.weight.requires_grad


def test_the_resnext_has_its_stride_in_the_3x3_convolution():
    backbone = build('retinamask_x101-32x8d_fpn_gn-head').backbone
    assert isinstance(backbone, ResNeXt)
    block = backbone.layer2[0]
    assert block.conv1.stride == (1, 1)
    assert block.conv2.stride == (2, 2)
    assert (block.conv2.groups, block.conv2.out_channels) == (32, 512)


def test_biases_learn_twice_as_fast_and_do_not_decay():
    """Those of GroupNorm too, as by the authors' code."""
    config = load('retinamask_r101_fpn_gn-head')
    shrink(config)
    detector = MODELS.build(config.model)
    optimizer = build_optim_wrapper(detector, config.optim_wrapper).optimizer
    settings = {
        id(group['params'][0]): (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
    }
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            expected = (0.02, 0) if name.endswith('.bias') else (0.01, 1e-4)
            assert settings[id(parameter)] == expected, name

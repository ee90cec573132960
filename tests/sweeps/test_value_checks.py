"""Values are checked against the config before anything starts."""

from pathlib import Path

import pytest

from mmdet_retina_plus.common.config_tree import dotted_items
from mmdet_retina_plus.sweeps import value_checks
from mmdet_retina_plus.sweeps.spec import Sweep
from mmdet_retina_plus.sweeps.value_checks import (
    apply_point,
    check_sweep,
    merge,
)
from tests.helpers.shipped_configs import load

LOSS = 'model.bbox_head.loss_cls.'


def check(scene, cfg):
    return check_sweep(scene, {'config.py': cfg})


def sweep(*points, prefix=LOSS):
    return Sweep('scene', Path('config.py'), list(points), prefix)


def test_an_int_becomes_the_float_that_the_config_or_the_class_has(cfg):
    (point,) = check(sweep(dict(gamma=0, alpha=1)), cfg)
    # Gamma is not a key of this config, but an argument of the loss.
    assert [type(value) for value in point.values()] == [float, float]


def test_checking_leaves_the_config_as_it_is(cfg):
    before = cfg.pretty_text
    check(sweep(dict(gamma=5.0, alpha=None)), cfg)
    assert cfg.pretty_text == before


@pytest.mark.parametrize(
    'point', [dict(gamma=-1.0), dict(type='SmoothL1Loss', gamma=2.0)]
)
def test_a_model_that_cannot_be_built_is_found_before_the_start(cfg, point):
    with pytest.raises(ValueError, match=r'cannot be built|did you mean'):
        check(sweep(point), cfg)


def test_arguments_are_those_of_the_type_that_the_point_sets(cfg):
    (point,) = check(
        sweep({'beta': 1, 'type': 'FocalLossStar', 'gamma': 4}), cfg
    )
    assert point == dict(beta=1.0, type='FocalLossStar', gamma=4.0)


def test_a_part_that_is_not_there_begins_with_its_type(cfg):
    points = {'mining.num': 64, 'mining.type': 'DenseOHEM'}
    (point,) = check(sweep(points, prefix='model.bbox_head.'), cfg)
    assert point == points
    with pytest.raises(ValueError, match='cannot be built'):
        check(sweep({'model.bbox_head.mining.num': 64}, prefix=''), cfg)


USUAL = {
    'optim_wrapper.type': 'AmpOptimWrapper',
    'optim_wrapper.clip_grad.max_norm': 35,
    'optim_wrapper.clip_grad.norm_type': 2,
    'optim_wrapper.paramwise_cfg.norm_decay_mult': 0,
    'train_dataloader.batch_size': 4,
    'train_dataloader.pin_memory': True,
    'train_dataloader.dataset.metainfo.classes': ['a', 'b'],
    'auto_scale_lr.enable': True,
    'default_hooks.checkpoint.interval': 5,
    'default_hooks.early_stopping.type': 'EarlyStoppingHook',
    'load_from': 'x.pth',
    'find_unused_parameters': True,
    'sync_bn': 'torch',
    'model.backbone.frozen_stages': 0,
    'model.bbox_head.loss_bbox': dict(type='SmoothL1Loss', beta=0.1),
    'model.test_cfg.nms.type': 'soft_nms',
    'model.data_preprocessor.mean': [1.0, 2.0, 3.0],
    'randomness.deterministic': True,
    'env_cfg.cudnn_benchmark': True,
    'visualizer.vis_backends.0.type': 'TensorboardVisBackend',
    'val_evaluator.classwise': True,
    'train_dataloader.dataset.pipeline.3': dict(
        type='Albu', transforms=[dict(type='VerticalFlip', p=0.5)]
    ),
    'my_flag': 2,
}


@pytest.mark.parametrize('name', ['shapes', 'coco'])
def test_what_mmengine_takes_from_a_command_line_is_taken(name, cfg):
    cfg = cfg if name == 'shapes' else load('retinanet_r50_fpn_fl')
    cfg.my_flag = 1
    _, changed = merge(USUAL, cfg)
    settings = dict(dotted_items(changed.to_dict()))
    for key, value in USUAL.items():
        merged = settings[key]
        # A part keeps what the value does not name.
        assert merged == (
            {**merged, **value} if isinstance(value, dict) else value
        )


def test_what_is_free_in_a_part_is_free_in_a_dict_for_it(cfg):
    cfg.optim_wrapper.clip_grad = dict(max_norm=35)
    key, value = 'optim_wrapper', dict(clip_grad=dict(norm_type=2))
    _, changed = merge({key: value}, cfg)
    assert changed.optim_wrapper.clip_grad == dict(max_norm=35, norm_type=2)


@pytest.mark.parametrize(
    'key',
    ['default_hooks.checkpoint.intervall', 'optim_wrapper.clip_gard.max_norm'],
)
def test_a_typo_beside_what_is_free_is_found(cfg, key):
    with pytest.raises(ValueError, match='did you mean'):
        merge({key: 5}, cfg)


def test_a_fraction_of_what_is_no_count_is_taken(cfg):
    cfg.optim_wrapper.clip_grad = dict(max_norm=35, norm_type=2)
    fitting, _ = merge({'optim_wrapper.clip_grad.max_norm': 0.1}, cfg)
    assert list(fitting.values()) == [0.1]


@pytest.mark.parametrize(
    ('key', 'copy'),
    [
        (
            'train_pipeline.2.scale',
            'train_dataloader.dataset.pipeline.2.scale',
        ),
        ('vis_backends.0.type', 'visualizer.vis_backends.0.type'),
        ('data_root', 'train_dataloader.dataset.data_root, '),
    ],
)
def test_a_name_that_helps_to_write_a_config_is_told_by_its_copies(key, copy):
    """Those of mmdet's own configs are marked with a scope, the copies not."""
    cfg = load('retinanet_r50_fpn_fl')
    with pytest.raises(ValueError, match='nothing reads') as caught:
        merge({key: 'x'}, cfg)
    assert copy in str(caught.value)


def test_a_part_may_be_replaced_as_a_whole(cfg):
    loop = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=3)
    points = sweep(dict(train_cfg=loop), prefix='')
    fitting, changed = apply_point(points, points.points[0], cfg)
    assert fitting == dict(train_cfg=loop)
    assert 'max_iters' not in changed.train_cfg


OVERLAPS = [
    {'loss_cls': dict(alpha=0.5), 'loss_cls.gamma': 3.0},
    {'anchor_generator.ratios.0': 0.3},
]


@pytest.mark.parametrize('point', OVERLAPS)
def test_what_mmengine_would_merge_in_its_own_way_is_refused(cfg, point):
    points = sweep(point, prefix='model.bbox_head.')
    with pytest.raises(ValueError, match=r'set one|set the list'):
        apply_point(points, point, cfg)


def test_a_point_that_names_its_config_is_held_to_that(cfg):
    other = cfg.copy()
    other.merge_from_dict({LOSS + 'type': 'FocalLossStar'})
    del other.model.bbox_head.loss_cls.alpha
    points = sweep(
        dict(config='config.py', gamma=1), dict(config='other.py', beta=2)
    )
    checked = check_sweep(points, {'config.py': cfg, 'other.py': other})
    assert checked == points.points
    assert [type(point.get('beta', 1.0)) for point in checked] == [float] * 2
    with pytest.raises(ValueError, match='config=config, beta=1'):
        check(sweep(dict(config='config.py', beta=1)), cfg)


LR = 'optim_wrapper.optimizer.lr'


@pytest.mark.parametrize('point', [dict(config='config.py'), {LR: 0.1}])
def test_a_config_whose_model_cannot_be_built_is_named(cfg, point):
    cfg.model.bbox_head.loss_cls.gamma = -1.0
    with pytest.raises(ValueError, match='the model cannot be built'):
        check(sweep(point, prefix=''), cfg)


def test_a_model_that_points_share_is_built_once(cfg, monkeypatch):
    built = []
    monkeypatch.setattr(value_checks, 'check_model_builds', built.append)
    check(sweep({LR: 0.1}, {LR: 0.2}, prefix=''), cfg)
    assert len(built) == 1

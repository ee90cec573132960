"""Faults that once passed, or got advice that makes them worse."""

import json
from pathlib import Path

import pytest

from mmdet_retina_plus.doctor import run_parts
from mmdet_retina_plus.doctor.annotations import shift_of
from mmdet_retina_plus.doctor.consistency import check_num_classes
from mmdet_retina_plus.doctor.loss_settings import check_box_losses
from mmdet_retina_plus.doctor.split import Split
from tests.helpers.case_files import Case, coco_set

TRAIN = 'train_dataloader.dataset'


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


@pytest.mark.parametrize(
    ('seen', 'there', 'shift'),
    [
        ([1, 2, 4], {1, 2, 3, 5}, 0),
        ([1, 2, 4], {0, 1, 2, 3}, 0),
        ([0, 1, 2], {1, 2, 3}, 1),
        ([0, 2], {1, 2, 3}, 1),
        ([2, 3], {1, 2}, -1),
    ],
)
def test_a_gap_in_a_list_of_categories_is_no_shift(seen, there, shift):
    assert shift_of('category', seen, there) == shift


STARTS = {
    'val_cfg.type': ('ValLop', "type='ValLoop'"),
    'test_cfg.fp17': (True, 'fp16=…'),
    'env_cfg.mp_cfg.mp_start_method': ('frok', "mp_start_method='fork'"),
    'log_level': ('INFOO', "log_level='INFO'"),
    'tta_model.type': ('DetTTAModl', "type='DetTTAModel'"),
    'tta_pipeline': (
        [{'type': 'LoadImageFromFil'}],
        "type='LoadImageFromFile'",
    ),
    'custom_hooks': (
        [{'type': 'CheckInvalidLossHook', 'priority': 'HIHG'}],
        "custom_hooks[0].priority='HIGH'",
    ),
    'default_hooks.param_scheduler': (None, "type='ParamSchedulerHook'"),
    'default_hooks.checkpoint': (None, "type='CheckpointHook'"),
}


def nested(key, value):
    """A config that is right but for one value."""
    cfg = {'param_scheduler': [{}], 'train_cfg': {}}
    parent = cfg
    *above, last = key.split('.')
    for name in above:
        parent = parent.setdefault(name, {})
    parent[last] = value
    return cfg


@pytest.mark.parametrize('key', STARTS)
def test_a_typo_that_a_run_meets_as_it_starts(key):
    value, fix = STARTS[key]
    cfg = nested(key, value)
    (finding,) = [
        x
        for check in run_parts.CHECKS
        if check is not run_parts.check_triples
        for x in check(cfg)
    ]
    assert fix in finding.fix


def test_loops_and_levels_that_are_right():
    cfg = {
        'val_cfg': {'type': 'ValLoop'},
        'test_cfg': {},
        'log_level': 'WARNING',
        'env_cfg': {'mp_cfg': {'mp_start_method': 'spawn'}},
        'default_hooks': {'timer': None},
    }
    checks = (run_parts.check_loops, run_parts.check_process)
    assert [x for check in checks for x in check(cfg)] == []


CASCADE = {
    'model': {
        'roi_head': {
            'bbox_head': [
                {
                    'type': 'Shared2FCBBoxHead',
                    'num_classes': 2,
                    'loss_bbox': {'type': 'L1Loss'},
                },
                {
                    'type': 'ConvFCBBoxHead',
                    'num_classes': 80,
                    'loss_bbox': {'type': 'GIoULoss'},
                },
            ]
        },
        'panoptic_head': {'num_things_classes': 80},
    }
}
SECOND = 'model.roi_head.bbox_head.1'


def test_each_head_counts_the_classes_of_the_data():
    split = Split('train', coco_set(), Path(), ('cat', 'dog'))
    fixes = [x.fix for x in check_num_classes(CASCADE, [split])]
    assert fixes == [
        f'{SECOND}.num_classes=2',
        'model.panoptic_head.num_things_classes=2',
    ]


def test_a_head_of_a_cascade_that_gives_deltas_to_an_iou_loss():
    (finding,) = check_box_losses(CASCADE)
    assert finding.fix == f'{SECOND}.reg_decoded_bbox=True'

"""What a file cannot hold is refused by name."""

import pytest
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn

from mmdet_retina_plus.inference.export.support import (
    check_box_head,
    check_exportable,
    check_limits,
    check_test_cfg,
)
from tests.inference.export.conftest import small_detector

TEST_CFG = dict(
    nms_pre=1000,
    max_per_img=100,
    score_thr=0.05,
    nms=dict(type='nms', iou_threshold=0.5),
)
OPTIONS = {
    'soft-NMS': (dict(nms=dict(type='soft_nms')), 'soft_nms'),
    'option of NMS': (dict(nms=dict(type='nms', iou_thr=0.5)), 'iou_thr'),
    'no limit': (dict(nms_pre=-1), 'nms_pre'),
    'no end': (dict(max_per_img=-1), 'max_per_img'),
    'size': (dict(min_bbox_size=3), 'min_bbox_size'),
}


@pytest.mark.parametrize('case', OPTIONS)
def test_options_without_a_counterpart_are_refused(case):
    change, name = OPTIONS[case]
    with pytest.raises(ValueError, match=f'Cannot export.*{name}'):
        check_test_cfg(ConfigDict(TEST_CFG | change))


@pytest.mark.parametrize(
    'change',
    [dict(nms=None), dict(nms=dict(type='soft_nms')), dict(max_per_img=-1)],
    ids=str,
)
def test_a_raw_file_needs_what_its_comparison_needs(change):
    check_limits(ConfigDict(TEST_CFG | dict(nms_pre=-1)))
    (name,) = change
    with pytest.raises(ValueError, match=f'Cannot .*test_cfg.{name}'):
        check_limits(ConfigDict(TEST_CFG | change))


def test_a_head_with_steps_of_its_own_is_refused():
    head = MODELS.build(
        dict(
            type='GFLHead',
            num_classes=3,
            in_channels=8,
            feat_channels=32,
            stacked_convs=1,
            loss_cls=dict(type='QualityFocalLoss'),
            anchor_generator=dict(
                type='AnchorGenerator',
                octave_base_scale=8,
                scales_per_octave=1,
                ratios=[1.0],
                strides=[8],
            ),
        )
    )
    with pytest.raises(ValueError, match='GFLHead has its own _predict'):
        check_box_head(head)


def test_parts_are_refused_by_name():
    prepare = dict(type='mmdet.DetDataPreprocessor')
    model = MODELS.build(
        dict(small_detector('mask'), data_preprocessor=prepare)
    )
    check_exportable(model)
    model.roi_head.mask_head = MODELS.build(
        dict(type='CoarseMaskHead', in_channels=8, conv_out_channels=8)
    )
    with pytest.raises(ValueError, match=r'CoarseMaskHead.*roi_head=None'):
        check_exportable(model)
    check_exportable(model, raw=True)
    model.data_preprocessor = MODELS.build(
        dict(type='DetDataPreprocessor', mean=[0.0], std=[1.0])
    )
    with pytest.raises(ValueError, match=r'DetDataPreprocessor.*RGB'):
        check_exportable(model, raw=True)
    with pytest.raises(ValueError, match=r'Linear.*not a single-stage'):
        check_exportable(nn.Linear(1, 1))

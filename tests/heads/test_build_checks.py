"""A head refuses losses and anchors that cannot work, when it is built."""

import pytest
from mmdet.registry import MODELS

from tests.helpers.models import build_head, detector_config, roi_head_config

IOU_LOSSES = ['IoU', 'BoundedIoU', 'GIoU', 'DIoU', 'CIoU', 'EIoU', 'SIoU']
ANCHORS = dict(
    type='AnchorGenerator',
    octave_base_scale=4,
    scales_per_octave=3,
    ratios=[0.5, 1.0, 2.0],
    strides=[8, 16, 32, 64, 128],
)


def focal(alpha):
    return dict(type='FusedFocalLoss', alpha=alpha)


def cross_entropy(class_weight, use_sigmoid=False):
    return dict(
        type='CrossEntropyLoss',
        use_sigmoid=use_sigmoid,
        class_weight=class_weight,
    )


@pytest.mark.parametrize('name', IOU_LOSSES)
def test_an_iou_loss_needs_decoded_boxes(name):
    """On deltas it is negative without bound."""
    loss = dict(type=f'{name}Loss')
    with pytest.raises(ValueError, match='reg_decoded_bbox=True'):
        build_head(loss_bbox=loss)
    build_head(loss_bbox=loss, reg_decoded_bbox=True)


@pytest.mark.parametrize('name', ['L1Loss', 'SelfAdjustingSmoothL1Loss'])
def test_losses_of_numbers_take_deltas(name):
    build_head(loss_bbox=dict(type=name))


@pytest.mark.parametrize(
    ('loss', 'fits'),
    [
        (focal([0.25] * 3), True),
        (focal((0.25,) * 2), False),
        (focal([0.25]), False),
        (focal([0.25] * 4), False),
        (focal(0.25), True),
        (focal(None), True),
        (dict(type='FocalLossStar', alpha=[0.5] * 2), False),
        (cross_entropy([1.0] * 4), True),
        (cross_entropy([1.0] * 3), False),
        (cross_entropy([1.0] * 3, use_sigmoid=True), True),
        (cross_entropy([1.0] * 4, use_sigmoid=True), False),
        (cross_entropy(None), True),
    ],
)
def test_a_list_per_class_has_a_number_for_each_output(loss, fits):
    if fits:
        build_head(loss_cls=loss)
        return
    with pytest.raises(ValueError, match=r'loss_cls has .*: give [34] number'):
        build_head(loss_cls=loss)


@pytest.mark.parametrize(('class_specific', 'channels'), [(0, 2), (1, 4)])
def test_a_pixel_loss_has_a_weight_for_each_channel(class_specific, channels):
    def build(length):
        loss = dict(cross_entropy([1.0] * length), ignore_index=255)
        MODELS.build(
            dict(
                type='UNetSemanticHead',
                num_classes=3,
                in_channels=8,
                class_specific=bool(class_specific),
                loss_seg=loss,
            )
        )

    build(channels)
    with pytest.raises(ValueError, match=f'loss_seg .* give {channels} num'):
        build(3)


def test_class_weights_of_a_mask_loss_are_refused():
    """mmdet would weigh columns of pixels by them: here one for each."""
    loss = dict(type='CrossEntropyLoss', use_mask=True)
    slot = {'mask_head.loss_mask': dict(loss, class_weight=[1.0] * 28)}
    with pytest.raises(ValueError, match='loss_mask has class_weight'):
        MODELS.build(roi_head_config(**slot))
    MODELS.build(roi_head_config(**{'mask_head.loss_mask': loss}))


@pytest.mark.parametrize(
    'changes',
    [
        dict(ratios=[[0.5, 1.0, 2.0]] * 5),
        dict(ratios=[1.0, 1.0]),
        dict(scales=[4, 8, 8], octave_base_scale=None, scales_per_octave=None),
    ],
)
def test_equal_anchors_of_a_location_are_refused(changes):
    with pytest.raises(ValueError, match=r'anchors of a location are \d+ dif'):
        build_head(anchor_generator=ANCHORS | changes)
    assert build_head(anchor_generator=ANCHORS).num_base_priors == 9


def test_a_detector_that_cannot_work_is_not_built():
    config = detector_config()
    config.bbox_head.loss_bbox = dict(type='GIoULoss')
    with pytest.raises(ValueError, match='reg_decoded_bbox=True'):
        MODELS.build(config)


def test_an_assigners_strides_are_those_of_the_priors():
    """Another pyramid would silently have a wrong radius."""
    finer = [4, 8, 16, 32, 64]

    def build(**options):
        assigner = dict(_delete_=True, type='PointRangeAssigner', **options)
        build_head(
            **{
                'anchor_generator': dict(ANCHORS, strides=finer),
                'train_cfg.assigner': assigner,
            }
        )

    build()
    build(center_sample_radius=1.5, strides=finer)
    with pytest.raises(ValueError, match=r'priors \[4, 8, 16, 32, 64\]'):
        build(center_sample_radius=1.5)


def test_an_assigner_of_points_is_refused():
    assigner = dict(_delete_=True, type='PointAssigner')
    with pytest.raises(ValueError, match='use PointRangeAssigner'):
        build_head(**{'train_cfg.assigner': assigner})

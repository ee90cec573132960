"""What a step asks of a GPU's values, each of which stops its queue."""

import pytest
import torch
from mmdet.registry import MODELS

from mmdet_retina_plus.heads.retina_plus_head import check_ground_truth
from mmdet_retina_plus.losses import FusedFocalLoss
from tests.heads.device_reads import device_reads
from tests.helpers.models import build_head
from tests.helpers.samples import HEAD_OBJECTS, data_sample, instances, pyramid

MAX_IOU = dict(
    type='StreamingMaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4
)
ATSS = dict(type='StreamingATSSAssigner')
POINTS = dict(type='PointRangeAssigner', center_sample_radius=1.5)
BEST_PRIOR = dict(type='BestPriorAssigner')
FOCAL = dict(type='FocalLoss', use_sigmoid=True)
SOFTMAX = dict(type='CrossEntropyLoss', use_sigmoid=False)
SHEM = dict(type='StochasticHardMining')
RATIO = dict(type='NegativeRatioMining')
IGNORE = dict(type='PredictedIoUIgnore', class_aware=True)
ADJUSTING = dict(type='SelfAdjustingSmoothL1Loss')
ONCE = dict(check_ground_truth=1)
SQUARED_IOU = dict(type='IoULoss', mode='square')
SUM = dict(type='CrossEntropyLoss', use_sigmoid=True, reduction='sum')
YOLO = dict(
    type='YOLOV3PlusHead',
    num_classes=3,
    in_channels=[8] * 3,
    out_channels=[8] * 3,
    anchor_generator=dict(
        type='YOLOAnchorGenerator',
        base_sizes=[[(9 * s, 9 * s)] for s in (32, 16, 8)],
        strides=[32, 16, 8],
    ),
    loss_cls=SUM,
    loss_conf=SUM,
    loss_xy=SUM,
    loss_wh=dict(type='MSELoss', reduction='sum'),
    mining=dict(type='PredictedIoUIgnore'),
    train_cfg=dict(assigner=BEST_PRIOR),
)


@pytest.mark.parametrize(
    ('assigner', 'loss_cls', 'changes', 'expected'),
    [
        (MAX_IOU, FOCAL, {}, ONCE),
        (MAX_IOU, FOCAL, dict(sync_avg_factor=True), ONCE),
        (MAX_IOU, FOCAL, dict(loss_bbox=ADJUSTING), ONCE),
        # The sizes of all images' levels at once.
        (ATSS, FOCAL, {}, dict(ONCE, count_inside=1)),
        (POINTS, FOCAL, {}, dict(ONCE, count_inside=1)),
        # Shapes and widths of the levels, for each of two images.
        (BEST_PRIOR, FOCAL, {}, dict(ONCE, count_inside=1, _read_counts=2)),
        (MAX_IOU, FOCAL, dict(mining=RATIO), ONCE),
        (MAX_IOU, FOCAL, dict(mining=IGNORE), ONCE),
        # Where the positives are, not what their labels are worth.
        (
            MAX_IOU,
            dict(FOCAL, type='FusedFocalLoss'),
            {},
            dict(ONCE, positives=3),
        ),
        # Numbers of both kinds of anchors, for each of two images.
        (MAX_IOU, SOFTMAX, dict(mining=SHEM), dict(ONCE, __call__=2)),
    ],
    ids=[
        *('max-iou', 'sync', 'box-loss', 'atss', 'points', 'best-prior'),
        *('ratio', 'ignore', 'fused', 'mining'),
    ],
)
def test_a_step_reads_the_ground_truth_once(
    assigner, loss_cls, changes, expected
):
    head = build_head(
        loss_cls=dict(loss_cls, _delete_=True),
        **{'train_cfg.assigner': dict(assigner, _delete_=True)},
        **changes,
    )
    samples = [data_sample(HEAD_OBJECTS), data_sample(HEAD_OBJECTS[:1])]
    features = pyramid()
    with device_reads() as reads:
        head.loss(features, samples)
    assert reads == expected


@pytest.mark.parametrize('images', [1, 3])
@pytest.mark.parametrize(
    ('head', 'expected'),
    [
        (YOLO, {}),
        # Where the positives are, for their boxes' loss.
        (dict(YOLO, loss_bbox=SQUARED_IOU), dict(positives=1)),
        # For the priors that the config names, and for all.
        (
            dict(YOLO, type='GuidedYOLOV3Head', loss_bbox=SQUARED_IOU),
            dict(positives=2),
        ),
    ],
    ids=['yolov3', 'box-loss', 'guided'],
)
def test_a_step_of_yolo_reads_as_often_whatever_the_batch(
    head, expected, images
):
    head = MODELS.build(head)
    samples = [data_sample(HEAD_OBJECTS) for _ in range(images)]
    for sample in samples:
        sample.gt_instances.mix_weights = torch.tensor([0.25, 0.6])
    features = [torch.randn(images, 8, 64 // s, 64 // s) for s in (32, 16, 8)]
    with device_reads() as reads:
        head.loss(features, samples)
    assert reads == expected


def test_labels_and_boxes_of_all_images_are_read_at_once():
    with device_reads() as reads:
        check_ground_truth([instances(HEAD_OBJECTS)] * 8, num_classes=3)
    assert reads == ONCE


def test_a_loss_refuses_unknown_labels_without_a_read():
    """On a GPU by an assertion of the device, on a CPU by an error."""
    loss, logits = FusedFocalLoss(), torch.randn(4, 3)
    unknown = torch.tensor([0, -1, 7, 2])
    with device_reads() as reads, pytest.raises(RuntimeError, match='nonzero'):
        loss(logits, unknown)
    assert not reads
    with pytest.raises(ValueError, match='background last'):
        loss(logits, unknown)

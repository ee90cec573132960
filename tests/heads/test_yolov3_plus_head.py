"""YOLOv3's rules under mmdet's head."""

import pytest
import torch
from mmdet.models.dense_heads import YOLOV3Head
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from torch.testing import assert_close

from tests.helpers.models import with_changes
from tests.helpers.samples import HEAD_OBJECTS, batches, data_sample, instances

STRIDES = (32, 16, 8)
SUM = dict(reduction='sum')
CONFIG = dict(
    type='YOLOV3PlusHead',
    num_classes=3,
    in_channels=[8, 8, 8],
    out_channels=[8, 8, 8],
    loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, **SUM),
    loss_conf=dict(type='CrossEntropyLoss', use_sigmoid=True, **SUM),
    loss_xy=dict(type='CrossEntropyLoss', use_sigmoid=True, **SUM),
    loss_wh=dict(type='MSELoss', **SUM),
    mining=dict(type='PredictedIoUIgnore'),
    train_cfg=dict(assigner=dict(type='BestPriorAssigner')),
)
GRID = dict(type='GridAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5)


def build(**changes) -> YOLOV3Head:
    head = MODELS.build(with_changes(CONFIG, changes))
    head.init_weights()
    return head


def features(batch: int = 1) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(batch, 8, 64 // s, 64 // s) for s in STRIDES)


def confidence_calls(head: YOLOV3Head, x, samples):
    """Logits, targets and weights of the objectness, level by level."""
    calls = []
    head.loss_conf.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append((*args, kwargs['weight'])),
        with_kwargs=True,
    )
    head.loss(x, samples)
    return [torch.cat(parts, dim=1) for parts in zip(*calls, strict=True)]


def test_one_positive_an_object_and_no_ignore_band():
    head, sample = build(mining=None), data_sample(HEAD_OBJECTS)
    _, target, weight = confidence_calls(head, features(), [sample])
    assert target.sum() == len(HEAD_OBJECTS)
    assert (weight == 1).all()


def test_good_predictions_in_a_wrong_place_are_not_called_background():
    """The predictions are the priors."""
    thr = 0.3
    head = build(**{'mining.iou_thr': thr})
    for conv in head.convs_pred:
        conv.weight.data.zero_()
        conv.bias.data.zero_()
    sample = data_sample(HEAD_OBJECTS)
    _, target, weight = confidence_calls(head, features(), [sample])
    priors = head.prior_generator.grid_priors(
        [(64 // s, 64 // s) for s in STRIDES], device='cpu'
    )
    best = bbox_overlaps(sample.gt_instances.bboxes, torch.cat(priors)).amax(0)
    positive = target[0] == 1
    assert torch.equal(weight[0] == 0, (best > thr) & ~positive)
    assert (weight == 0).any()
    assert (best > thr)[positive].any()


def test_the_ignored_follow_the_predictions():
    head = build(**{'mining.iou_thr': 0.3})
    x, samples = features(), [data_sample(HEAD_OBJECTS)]
    counts = []
    for log_size in (-4.0, 0.0, -4.0):
        for conv in head.convs_pred:
            conv.weight.data.zero_()
            conv.bias.data.fill_(log_size)
        weight = confidence_calls(head, x, samples)[2]
        counts.append(int((weight == 0).sum()))
    assert counts[0] == counts[2] == 0 < counts[1]


def test_without_policies_and_with_mmdets_assigner_it_is_mmdets_head():
    changes = dict(
        mining=None, train_cfg=dict(assigner=dict(GRID, _delete_=True))
    )
    ours = build(**changes)
    config = with_changes(CONFIG, changes)
    config.pop('mining')
    theirs = MODELS.build(ConfigDict(config, type='YOLOV3Head'))
    theirs.load_state_dict(ours.state_dict())
    x, samples = features(2), [data_sample(HEAD_OBJECTS), data_sample()]
    expected = theirs.loss(x, samples)
    for name, values in ours.loss(x, samples).items():
        assert_close(values, expected[name])


@pytest.mark.parametrize('corner', [(63, 63), (64, 64), (60, 66), (-2, 64)])
@pytest.mark.parametrize('assigner', [CONFIG['train_cfg']['assigner'], GRID])
def test_centres_at_the_border_belong_to_the_last_cells(corner, assigner):
    x, y = corner
    objects = [((x - 8, y - 8, x + 8, y + 8), 1)]
    head = build(train_cfg=dict(assigner=dict(assigner, _delete_=True)))
    target = confidence_calls(head, features(), [data_sample(objects)])[1]
    # 16 pixels fit the priors of stride 8 best.
    start = 3 * (4 + 16)
    positive = target[0].nonzero()[:, 0]
    cells = {int(index) for index in (positive - start) // 3}
    assert cells == {8 * min(max(y // 8, 0), 7) + min(max(x // 8, 0), 7)}


@pytest.mark.parametrize('batch', batches(HEAD_OBJECTS).values(), ids=str)
def test_a_step_reaches_every_parameter(batch):
    head = build()
    losses = head.loss(features(2), [data_sample(image) for image in batch])
    sum(sum(values) for values in losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_ratio_chooses_among_the_objectness():
    head = build(mining=dict(_delete_=True, type='NegativeRatioMining'))
    logits, target, weight = confidence_calls(
        head, features(), [data_sample(HEAD_OBJECTS)]
    )
    kept = (weight > 0) & (target == 0)
    assert kept.sum() == 3 * len(HEAD_OBJECTS)
    left_out = (weight == 0) & (target == 0)
    assert logits[kept].min() >= logits[left_out].max()


def test_a_policy_that_divides_by_the_selected_is_refused():
    with pytest.raises(ValueError, match="normalizer='positives'"):
        build(mining=dict(_delete_=True, type='DenseOHEM'))


def test_mixed_objects_weigh_their_objectness_and_nothing_else():
    """ASFF's baseline: lambda of mixup."""
    head, x = build(), features()
    plain, mixed = data_sample(HEAD_OBJECTS), data_sample(HEAD_OBJECTS)
    mixed.gt_instances.mix_weights = torch.tensor([0.25, 0.6])
    _, target, before = confidence_calls(head, x, [plain])
    weight = confidence_calls(head, x, [mixed])[2]
    positive = target == 1
    assert sorted(weight[positive].tolist()) == pytest.approx([0.25, 0.6])
    assert_close(weight[~positive], before[~positive])
    losses, expected = head.loss(x, [mixed]), head.loss(x, [plain])
    for name in ('loss_cls', 'loss_xy', 'loss_wh'):
        assert_close(losses[name], expected[name])
    assert sum(losses['loss_conf']) < sum(expected['loss_conf'])


def test_regions_to_ignore_train_no_objectness():
    assigner = dict(type='BestPriorAssigner', ignore_iof_thr=0.5)
    head = build(mining=None, train_cfg=dict(assigner=assigner))
    sample = data_sample(HEAD_OBJECTS)
    sample.ignored_instances = instances([((0, 0, 64, 24), 0)])
    _, target, weight = confidence_calls(head, features(), [sample])
    priors = head.prior_generator.grid_priors(
        [(64 // s, 64 // s) for s in STRIDES], device='cpu'
    )
    inside = bbox_overlaps(
        torch.cat(priors), sample.ignored_instances.bboxes, mode='iof'
    )[:, 0]
    positive = target[0] == 1
    assert torch.equal(weight[0] == 0, (inside > 0.5) & ~positive)
    assert (weight == 0).any() and positive.sum() == len(HEAD_OBJECTS)


def test_predicted_sizes_that_overflow_train_on_and_are_boxes():
    """A logarithm of 100 is beyond single precision."""
    head = build(loss_bbox=dict(type='IoULoss', mode='square'))
    for conv in head.convs_pred:
        conv.weight.data.zero_()
        conv.bias.data.fill_(100.0)
    losses = head.loss(features(), [data_sample(HEAD_OBJECTS)])
    assert losses['loss_bbox'].isfinite()
    head.test_cfg = ConfigDict(
        nms_pre=9,
        conf_thr=0.1,
        score_thr=0.1,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=9,
    )
    (found,) = head.predict(features(), [data_sample()])
    assert len(found) and found.bboxes.isfinite().all()


def test_the_box_loss_is_of_the_positives_boxes():
    """1 - IoU^2 of two priors that are the predictions."""
    square = dict(type='IoULoss', mode='square')
    head = build(loss_bbox=square)
    for conv in head.convs_pred:
        conv.weight.data.zero_()
        conv.bias.data.zero_()
    # Centres in the middle of cells of stride 8, (16, 30) fits best.
    objects = [((12, 5, 28, 35), 0), ((36, 33, 52, 71), 1)]
    losses = head.loss(features(2), [data_sample(), data_sample(objects)])
    iou = 30 / 38
    assert_close(losses['loss_bbox'].item(), 1 - iou**2, rtol=1e-5, atol=0)


def test_without_objects_the_box_loss_is_zero():
    head = build(loss_bbox=dict(type='IoULoss', mode='square'))
    assert head.loss(features(), [data_sample()])['loss_bbox'] == 0

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures.bbox import bbox_overlaps
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from torch import Tensor
from torch.testing import assert_close

from benchmarks.harness import peak_bytes
from mmdet_retina_plus.mining import PredictedIoUIgnore
from tests.heads.device_reads import device_reads
from tests.helpers.assigning import (
    Launches,
    anchor_levels,
    as_on_gpu,
    random_boxes,
    tiles,
)
from tests.helpers.models import build_head
from tests.helpers.samples import HEAD_OBJECTS, data_sample, instances, pyramid

BACKGROUND = 3


def objects(count: int, seed: int = 0) -> InstanceData:
    boxes = random_boxes(count, seed)
    return InstanceData(
        bboxes=boxes, labels=torch.arange(count) * 7 % BACKGROUND
    )


def mine(
    policy: PredictedIoUIgnore,
    boxes: Tensor,
    truth: InstanceData,
    labels: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    if labels is None:
        labels = torch.full((len(boxes),), BACKGROUND)
    if weights is None:
        weights = torch.ones(len(boxes))
    scores = torch.zeros(len(boxes), BACKGROUND)
    return policy(scores, boxes, labels, weights, truth)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 9),
    size=st.integers(0, 60),
    thr=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    per_class=st.booleans(),
    on_gpu=st.booleans(),
)
def test_negatives_that_overlap_an_object_by_more_are_ignored(
    seed, count, size, thr, per_class, on_gpu
):
    torch.manual_seed(seed)
    truth = objects(count, seed)
    boxes = random_boxes(size, seed + 1)
    # Some predictions are good ones.
    near = torch.randint(max(count, 1), (size,))
    if count:
        good = truth.bboxes[near] + 4 * torch.rand(size, 4)
        boxes = good.where(torch.rand(size, 1) < 0.5, boxes)
    labels = torch.randint(4, (size,))
    weights = torch.rand(size) * (torch.rand(size) < 0.8)
    with as_on_gpu() if on_gpu else nullcontext(), tiles(GPU_TILE=1):
        mined = mine(
            PredictedIoUIgnore(thr, class_aware=per_class),
            boxes,
            truth,
            labels,
            weights,
        )
    hits = bbox_overlaps(truth.bboxes, boxes) > thr
    negative = labels == BACKGROUND
    if per_class:
        of_class = truth.labels[:, None] == torch.arange(BACKGROUND)
        hit = (hits[:, :, None] & of_class[:, None]).any(dim=0)
        expected = weights[:, None] * ~(hit & negative[:, None])
    else:
        expected = weights * ~(hits.any(dim=0) & negative)
    assert_close(mined, expected, rtol=0, atol=0)


@pytest.mark.parametrize(('thr', 'weight'), [(0.5, 1), (0.499, 0)])
def test_at_the_threshold_it_stays_a_negative(thr, weight):
    truth = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 8, 8]]), labels=torch.tensor([0])
    )
    mined = mine(
        PredictedIoUIgnore(thr), torch.tensor([[0.0, 0, 8, 4]]), truth
    )
    assert mined.tolist() == [weight]


def test_predictions_are_looked_at_in_every_step():
    """Some boxes that stay at their anchors are near an object."""
    head = build_head(mining=dict(type='PredictedIoUIgnore', iou_thr=0.3))
    features, sample = pyramid(1), data_sample(HEAD_OBJECTS)
    head.retina_reg.weight.data.zero_()
    anchors = head.loss(features, [sample])
    head.retina_reg.bias.data.fill_(-3.0)
    elsewhere = head.loss(features, [sample])
    head.retina_reg.bias.data.zero_()
    again = head.loss(features, [sample])
    assert anchors['num_ignored'] > elsewhere['num_ignored'] > 0
    assert anchors['num_ignored'] == again['num_ignored']
    assert anchors['num_positive'] == elsewhere['num_positive']


def test_the_divisor_stays_the_number_of_positives():
    plain = build_head()
    head = build_head(mining=dict(type='PredictedIoUIgnore', iou_thr=1.0))
    head.load_state_dict(plain.state_dict())
    features, samples = pyramid(1), [data_sample(HEAD_OBJECTS)]
    assert_close(
        head.loss(features, samples)['loss_cls'],
        plain.loss(features, samples)['loss_cls'],
    )


@pytest.fixture
def counter():
    """The iteration as a runner tells it."""
    hub = MessageHub.get_current_instance()
    yield lambda value: hub.update_info('iter', value)
    hub.runtime_info.pop('iter', None)


def test_it_warms_up_by_the_runners_count_after_a_resume_too(counter):
    truth = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 8, 8]]), labels=torch.tensor([0])
    )
    weights = []
    for iteration in (0, 9, 10, 500):
        counter(iteration)
        # Built anew, as by a training that resumes.
        policy = PredictedIoUIgnore(warmup_iters=10)
        weights.append(mine(policy, truth.bboxes, truth).item())
    assert weights == [1, 1, 0, 0]


def test_without_a_runner_there_is_no_warm_up():
    truth = objects(1)
    policy = PredictedIoUIgnore(warmup_iters=10)
    assert mine(policy, truth.bboxes, truth).item() == 0


@pytest.mark.parametrize('batch', [HEAD_OBJECTS, ()], ids=['some', 'none'])
def test_by_class_only_the_objects_class_loses_its_gradient(batch):
    silent, labels = [], []
    for mining in (
        None,
        dict(type='PredictedIoUIgnore', iou_thr=0.3, class_aware=True),
    ):
        head = build_head(mining=mining)
        # Predictions are the anchors.
        head.retina_reg.weight.data.zero_()
        call = []
        head.loss_cls.register_forward_pre_hook(
            lambda module, args, call=call: call.extend(args)
        )
        losses = head.loss(pyramid(1), [data_sample(batch)])
        call[0].retain_grad()
        losses['loss_cls'].backward()
        silent.append(call[0].grad == 0)
        labels.append(call[1])
    truth = instances(batch)
    hits = bbox_overlaps(truth.bboxes, torch.cat(anchor_levels(64, 64))) > 0.3
    expected = silent[0].clone()
    for hit, label in zip(hits, truth.labels, strict=True):
        expected[hit & (labels[0] == BACKGROUND), label] = True
    assert torch.equal(silent[1], expected)
    assert (silent[1] != silent[0]).any() == bool(batch)
    # Anchors that still train some class are not counted as ignored.
    assert losses['num_ignored'] == silent[0].all(dim=1).sum()


def test_memory_does_not_hold_a_matrix():
    boxes, truth = random_boxes(20_000), objects(400)
    for per_class in (False, True):
        policy = PredictedIoUIgnore(class_aware=per_class)
        with tiles(GPU_TILE=1):
            peak = peak_bytes(
                lambda p=policy: mine(p, boxes, truth), boxes.device
            )
        assert peak < 0.2 * 4 * 400 * 20_000


@pytest.mark.parametrize('per_class', [False, True])
def test_launches_come_per_block_of_objects(per_class):
    boxes = random_boxes(50)

    def launches(count: int) -> int:
        policy = PredictedIoUIgnore(class_aware=per_class)
        with as_on_gpu(), tiles(GPU_TILE=1), Launches() as mode:
            mine(policy, boxes, objects(count))
        return mode.count

    one, two, four = map(launches, (8, 16, 32))
    assert launches(2) == one
    assert four - two == 2 * (two - one)


@pytest.mark.parametrize('per_class', [False, True])
def test_nothing_waits_for_a_gpu(per_class):
    with device_reads() as reads:
        mine(
            PredictedIoUIgnore(class_aware=per_class),
            random_boxes(50),
            objects(9),
        )
    assert not reads


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(iou_thr=1.1), 'iou_thr is 1.1'),
        (dict(warmup_iters=-1), 'warmup_iters -1'),
        (dict(class_aware=True, use_sigmoid=False), 'class_aware=False'),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PredictedIoUIgnore(**options)


def test_weights_by_class_come_last():
    policies = [
        dict(type='PredictedIoUIgnore', class_aware=True),
        dict(type='NegativeRatioMining'),
    ]
    with pytest.raises(ValueError, match='make it the last of `mining`'):
        build_head(mining=policies)
    build_head(mining=policies[::-1])

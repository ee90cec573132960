"""Guided anchors on YOLOv3, from the formulas of ASFF's baseline."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn
from torch.testing import assert_close

from mmdet_retina_plus.heads.guided_yolov3_head import (
    choose_free,
    with_labels,
)
from mmdet_retina_plus.kernels.boxes import shape_iou
from tests.helpers.processes import in_two_processes
from tests.helpers.samples import HEAD_OBJECTS, batches, data_sample, instances

STRIDES = (32, 16, 8)
PRIORS = [
    [(116, 90), (156, 198), (373, 326)],
    [(30, 61), (62, 45), (59, 119)],
    [(10, 13), (16, 30), (33, 23)],
]
SUM = dict(type='CrossEntropyLoss', use_sigmoid=True, reduction='sum')
OBJECT = ((20.0, 24, 40, 44), 1)
"""A square of 20 pixels: (16, 30) has the best shape among the priors, and
its cell of stride 8 is in row 4 and column 3."""
CELL = 4 * 8 + 3
START = 4 * (4 + 16)
"""Index of the first prior of stride 8; a cell has four priors."""


def build(**changes) -> nn.Module:
    config = dict(
        type='GuidedYOLOV3Head',
        num_classes=3,
        in_channels=[8, 8, 8],
        out_channels=[8, 8, 8],
        anchor_generator=dict(
            type='YOLOAnchorGenerator', base_sizes=PRIORS, strides=STRIDES
        ),
        loss_cls=SUM,
        loss_conf=SUM,
        loss_xy=SUM,
        loss_wh=dict(type='L1Loss', reduction='sum'),
        loss_bbox=dict(type='IoULoss', mode='square'),
        mining=dict(type='PredictedIoUIgnore'),
        train_cfg=dict(assigner=dict(type='BestPriorAssigner')),
    )
    head = MODELS.build({**config, **changes})
    head.init_weights()
    return head


def silent(**changes) -> nn.Module:
    """A head whose maps are zero, so that it predicts the priors."""
    head = build(**changes)
    for conv in (*head.convs_pred, *head.convs_guide):
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
    return head


def guide(head: nn.Module, level: int, prior: int, w: float, h: float) -> None:
    """Let a prior of a level have this shape in all cells."""
    sizes = head.prior_generator.base_sizes[level][prior]
    for axis, (size, side) in enumerate(zip(sizes, (w, h), strict=True)):
        bias = head.convs_guide[level].bias
        bias.data[2 * prior + axis] = math.log(side / size)


def features(batch: int = 1) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(batch, 8, 64 // s, 64 // s) for s in STRIDES)


def positives(head: nn.Module, sample) -> list[int]:
    targets = []
    head.loss_conf.register_forward_pre_hook(
        lambda module, args: targets.append(args[1])
    )
    head.loss(features(), [sample])
    return torch.cat(targets, dim=1)[0].nonzero()[:, 0].tolist()


def test_every_location_has_a_free_prior_of_four_strides_at_the_end():
    head = build()
    assert head.num_base_priors == 4
    for sizes, given, stride in zip(
        head.prior_generator.base_sizes, PRIORS, STRIDES, strict=True
    ):
        assert sizes == [*given, (4 * stride, 4 * stride)]


def test_an_object_belongs_to_the_prior_of_best_shape_not_to_the_free_one():
    """The free one of 32 x 32 is no better, though square."""
    assert positives(silent(), data_sample([OBJECT])) == [START + 4 * CELL + 1]


@pytest.mark.parametrize(('side', 'prior'), [(21, 3), (33, 1)])
def test_the_free_prior_has_it_where_its_predicted_shape_fits_better(
    side, prior
):
    head = silent()
    guide(head, level=2, prior=3, w=side, h=side)
    expected = [START + 4 * CELL + prior]
    assert positives(head, data_sample([OBJECT])) == expected


def test_the_predicted_shape_of_the_prior_itself_does_not_count():
    head = silent()
    guide(head, level=2, prior=1, w=20, h=20)
    guide(head, level=2, prior=3, w=21, h=21)
    assert positives(head, data_sample([OBJECT])) == [START + 4 * CELL + 3]


def test_both_shapes_pay_one_minus_the_squared_iou():
    head = silent()
    guide(head, level=2, prior=3, w=25, h=20)
    loss = head.loss(features(), [data_sample([OBJECT])])['loss_anchor']
    prior = 16 * 20 / (16 * 30 + 20 * 20 - 16 * 20)
    free = 20 * 20 / (25 * 20)
    assert_close(loss.item(), 2 - prior**2 - free**2, rtol=1e-5, atol=0)


def test_a_prior_that_predicts_the_object_has_no_loss_of_its_shape():
    head = silent()
    guide(head, level=2, prior=3, w=20, h=20)
    # The object's centre lies in the middle of its cell.
    losses = head.loss(features(), [data_sample([((18, 26, 38, 46), 1)])])
    assert_close(sum(losses['loss_wh']).item(), 0.0, rtol=0, atol=1e-5)
    assert_close(losses['loss_bbox'].item(), 0.0, rtol=0, atol=1e-5)


def test_offsets_of_boxes_are_relative_to_the_predicted_shapes():
    head = silent()
    guide(head, level=1, prior=0, w=40, h=30)
    bias = head.convs_pred[1].bias.data.view(4, -1)
    bias[0, 2:4] = torch.tensor([0.1, -0.2])
    boxes, _ = head._predictions(head._split(head(features())[0])[0])
    sizes = (boxes[0, :, 2:] - boxes[0, :, :2])[4 * 4]
    expected = [40 * math.exp(0.1), 30 * math.exp(-0.2)]
    assert_close(sizes, torch.tensor(expected))


def test_of_objects_that_choose_one_free_prior_the_last_has_it():
    places = torch.tensor([[1, 2, 0], [0, 0, 3], [0, -1, 0]])
    place, prior = torch.tensor([[0, 0], [0, 1], [1, 2]]).t()
    # Those of the first two locations are in a region to ignore.
    free = torch.tensor([-1, -1, 0])
    better = torch.tensor([True, True, False])
    result = choose_free(places, free, place, prior, better)
    assert result.tolist() == [[0, 0, 0, 2], [0, 0, 3, -1], [0, -1, 0, 0]]


def test_labels_are_those_of_the_objects():
    gt_inds = torch.tensor([0, 2, -1, 1])
    result = with_labels(gt_inds, torch.tensor([5, 6]))
    assert result.labels.tolist() == [-1, 6, -1, 5]


def test_a_free_prior_is_ignored_by_its_own_box():
    assigner = dict(type='BestPriorAssigner', ignore_iof_thr=0.9)
    head = silent(mining=None, train_cfg=dict(assigner=assigner))
    sample = data_sample([OBJECT])
    sample.ignored_instances = instances([((16, 16, 64, 64), 0)])
    weights = []
    head.loss_conf.register_forward_pre_hook(
        lambda module, args, kwargs: weights.append(kwargs['weight']),
        with_kwargs=True,
    )
    head.loss(features(), [sample])
    # Squares about 36 and 44 lie in the region, an eighth of those about 28
    # and 52 does not.
    expected = torch.ones(8, 8)
    expected[4:6, 4:6] = 0
    assert torch.equal(weights[2].view(8, 8, 4)[..., -1], expected)


def test_predicted_shapes_that_overflow_train_on():
    head = silent()
    for conv in head.convs_guide:
        conv.bias.data.fill_(100.0)
    assert total(head, features(), [[OBJECT]]).isfinite()


def test_shapes_are_compared_about_one_centre():
    first = torch.tensor([[10.0, 10], [10, 20]])
    second = torch.tensor([[10.0, 10], [20, 10]])
    assert_close(shape_iou(first.t(), second.t()), torch.tensor([1, 1 / 3]))


def test_classes_do_not_train_the_shapes_through_the_adaption():
    head = build()
    sum(head.loss(features(), [data_sample([OBJECT])])['loss_cls']).backward()
    assert not any(conv.weight.grad.any() for conv in head.convs_guide)
    # The object's level.
    assert head.convs_bridge[2].conv.weight.grad.any()


@pytest.mark.parametrize('batch', batches(HEAD_OBJECTS).values(), ids=str)
def test_a_step_reaches_every_parameter(batch):
    head = build()
    total(head, features(2), batch).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_mixed_precision_only_rounds():
    head, x = build(), features(2)
    expected = total(head, x, [HEAD_OBJECTS, ()])
    with torch.autocast('cpu', torch.bfloat16):
        loss = total(head, x, [HEAD_OBJECTS, ()])
    loss.backward()
    assert_close(loss, expected, rtol=0.02, atol=0)


def total(head: nn.Module, x, batch) -> torch.Tensor:
    losses = head.loss(x, [data_sample(image) for image in batch])
    return sum(
        sum(value) if isinstance(value, list) else value
        for value in losses.values()
    )


def test_two_processes_have_the_gradient_of_one_with_both_images(tmp_path):
    """The losses are sums, so that those of processes add up."""
    gradients = in_two_processes(tmp_path, gradient_of)
    expected = gradient_of(0, both=True)
    for name, value in expected.items():
        added = gradients[0][name] + gradients[1][name]
        assert_close(added, value, rtol=1e-4, atol=1e-5, msg=name)


def gradient_of(rank: int, both: bool = False) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    # Statistics of a batch would differ.
    head = build(norm_cfg=dict(type='GN', num_groups=2))
    x = features(2)
    images = [HEAD_OBJECTS, ()]
    if not both:
        x = tuple(level[rank : rank + 1] for level in x)
        images = images[rank : rank + 1]
    total(head, x, images).backward()
    return {
        name: parameter.grad for name, parameter in head.named_parameters()
    }

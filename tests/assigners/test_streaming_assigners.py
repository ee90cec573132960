"""What all assigners promise."""

from contextlib import nullcontext

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from benchmarks.harness import peak_bytes
from tests.helpers.assigning import (
    STRIDES,
    Launches,
    anchor_levels,
    as_on_gpu,
    assert_same,
    assign,
    objects,
    random_boxes,
    tiles,
)
from tests.helpers.models import build_head
from tests.helpers.samples import HEAD_OBJECTS, data_sample, pyramid

CONFIGS = {
    'max_iou': dict(
        type='StreamingMaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4
    ),
    'atss': dict(type='StreamingATSSAssigner', min_positives=1),
    'points': dict(type='PointRangeAssigner'),
    'centres': dict(type='PointRangeAssigner', center_sample_radius=1.5),
    'best prior': dict(type='BestPriorAssigner'),
}

config = pytest.mark.parametrize('config', CONFIGS.values(), ids=list(CONFIGS))
on_gpu = pytest.mark.parametrize('on_gpu', [False, True], ids=['cpu', 'gpu'])


def assign_levels(
    config: dict, levels: list[Tensor], boxes: Tensor, **options
):
    assigner = TASK_UTILS.build({**config, 'ignore_iof_thr': 0.5, **options})
    regions = random_boxes(2, seed=1).to(boxes.device)
    sizes = [len(level) for level in levels]
    return assign(
        assigner,
        torch.cat(levels),
        boxes,
        regions,
        num_level_priors=sizes,
    )


def train_once(head) -> dict[str, Tensor]:
    losses = head.loss(pyramid(), [data_sample(HEAD_OBJECTS), data_sample()])
    return {
        name: sum(value) if isinstance(value, list) else value
        for name, value in losses.items()
        if name.startswith('loss')
    }


@config
@pytest.mark.parametrize('head', ['RetinaHead', 'RetinaPlusHead'])
def test_one_line_of_a_config_swaps_them(head: str, config: dict) -> None:
    assigner = dict(_delete_=True, **config)
    losses = train_once(
        build_head(type=head, train_cfg=dict(assigner=assigner))
    )
    assert all(value.isfinite() for value in losses.values())
    assert losses['loss_bbox'] > 0
    sum(losses.values()).backward()


@config
def test_heads_that_give_levels_second_are_understood(config: dict) -> None:
    head = MODELS.build(
        dict(
            type='ATSSHead',
            num_classes=3,
            in_channels=8,
            feat_channels=8,
            stacked_convs=1,
            norm_cfg=None,
            anchor_generator=dict(
                type='AnchorGenerator',
                ratios=[1.0],
                octave_base_scale=8,
                scales_per_octave=1,
                strides=list(STRIDES),
            ),
            loss_cls=dict(type='FocalLoss', use_sigmoid=True),
            loss_bbox=dict(type='GIoULoss'),
            loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True),
            train_cfg=ConfigDict(
                assigner=config, allowed_border=-1, pos_weight=-1
            ),
        )
    )
    head.init_weights()
    losses = train_once(head)
    assert all(value.isfinite() for value in losses.values())
    assert losses['loss_bbox'] > 0


def test_the_order_of_arguments_does_not_matter() -> None:
    levels, boxes = anchor_levels(), random_boxes(5)
    priors = InstanceData(priors=torch.cat(levels))
    regions = InstanceData(bboxes=random_boxes(2, seed=1))
    sizes = [len(level) for level in levels]
    assigner = TASK_UTILS.build(dict(CONFIGS['atss'], ignore_iof_thr=0.5))
    ours = assigner.assign(priors, objects(boxes), regions, sizes)
    assert_same(assigner.assign(priors, sizes, objects(boxes), regions), ours)


@config
@on_gpu
def test_memory_does_not_hold_the_matrix(config: dict, on_gpu: bool) -> None:
    levels, boxes = anchor_levels(300, 400), random_boxes(400, 0, 300, 400)
    matrix = 4 * len(boxes) * sum(len(level) for level in levels)
    with as_on_gpu() if on_gpu else nullcontext(), tiles(GPU_TILE=1):
        peak = peak_bytes(
            lambda: assign_levels(config, levels, boxes), boxes.device
        )
    assert peak < 0.2 * matrix


@pytest.mark.parametrize('name', sorted(CONFIGS.keys() - {'best prior'}))
def test_no_value_is_looked_at_on_a_gpu(name: str) -> None:
    """Tensors of the meta device have none, so that any look fails."""
    config = CONFIGS[name]
    levels = [level.to('meta') for level in anchor_levels(96, 128)]
    boxes = random_boxes(20, 0, 96, 128).to('meta')
    with as_on_gpu():
        result = assign_levels(config, levels, boxes)
    assert result.gt_inds.is_meta


@config
def test_launches_come_per_block_of_objects(config: dict) -> None:
    levels = anchor_levels(96, 128)

    def launches(count: int) -> int:
        boxes = random_boxes(count, 0, 96, 128)
        with as_on_gpu(), tiles(GPU_TILE=1), Launches() as mode:
            assign_levels(config, levels, boxes)
        return mode.count

    one_block, two_blocks, four_blocks = map(launches, (8, 16, 32))
    assert launches(2) == launches(5) == one_block
    assert launches(11) == two_blocks
    assert four_blocks - two_blocks == 2 * (two_blocks - one_block)


@config
@on_gpu
def test_nothing_from_nothing(config: dict, on_gpu: bool) -> None:
    levels, none = anchor_levels(64, 64), torch.zeros(0, 4)
    priors = torch.cat(levels)
    assigner = TASK_UTILS.build(config)
    for boxes in (none, random_boxes(3)):
        for some in (none, priors):
            result = assign(assigner, some, boxes)
            assert result.num_gts == len(boxes)
            assert len(result.gt_inds) == len(some)
            assert len(result.max_overlaps) == len(some)
            assert len(result.labels) == len(some)
            if not len(boxes):
                assert not result.gt_inds.any()
                assert not result.max_overlaps.any()
                assert (result.labels == -1).all()


@config
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_boxes_that_are_not_finite_are_refused(
    config: dict, value: float
) -> None:
    levels, boxes = anchor_levels(), random_boxes(3)
    boxes[1, 2] = value
    with pytest.raises(ValueError, match='Ground truths must be finite'):
        assign_levels(config, levels, boxes)
    levels[0][5, 1] = value
    with pytest.raises(ValueError, match='Priors must be finite'):
        assign_levels(config, levels, random_boxes(3))


@config
def test_on_a_gpu_boxes_that_are_not_finite_overlap_nothing(
    config: dict,
) -> None:
    levels, boxes = anchor_levels(), random_boxes(3)
    broken = boxes.clone()
    broken[1, 2] = torch.nan
    with as_on_gpu():
        result = assign_levels(config, levels, broken)
        expected = assign_levels(config, levels, boxes[[0, 2]])
    order = torch.tensor([-1, 0, 1, 3])
    assert torch.equal(result.gt_inds, order[expected.gt_inds + 1])
    assert torch.equal(result.max_overlaps, expected.max_overlaps)


@config
@on_gpu
def test_inputs_stay_as_they_are(config: dict, on_gpu: bool) -> None:
    levels, boxes = anchor_levels(), random_boxes(5)
    copies = [level.clone() for level in levels], boxes.clone()
    with as_on_gpu() if on_gpu else nullcontext():
        assign_levels(config, levels, boxes)
    assert torch.equal(torch.cat(levels), torch.cat(copies[0]))
    assert torch.equal(boxes, copies[1])

"""Small heads, detectors and batches, shared by the tests."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData

import mmdet_retina_plus  # noqa: F401  registers our modules

STRIDES = (8, 16, 32, 64, 128)
Objects = Sequence[tuple[Sequence[float], int]]
"""Boxes x1, y1, x2, y2 in pixels, each with its label."""


def instances(objects: Objects = ()) -> InstanceData:
    boxes = [box for box, _ in objects]
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([label for _, label in objects]).long(),
    )


def data_sample(
    objects: Objects = (), shape: tuple[int, int] = (64, 64)
) -> DetDataSample:
    """A sample as the data preprocessor leaves it."""
    sample = DetDataSample(
        metainfo=dict(
            img_shape=shape,
            pad_shape=shape,
            ori_shape=shape,
            batch_input_shape=shape,
            scale_factor=(1.0, 1.0),
        )
    )
    sample.gt_instances = instances(objects)
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
    return sample


def head_config(**changes) -> ConfigDict:
    """A narrow RetinaPlusHead for 3 classes with mmdet's own parts."""
    config = Config(
        dict(
            type='RetinaPlusHead',
            num_classes=3,
            in_channels=8,
            feat_channels=8,
            stacked_convs=1,
            loss_cls=dict(type='FocalLoss', use_sigmoid=True),
            loss_bbox=dict(type='L1Loss'),
            train_cfg=dict(
                assigner=dict(
                    type='MaxIoUAssigner',
                    pos_iou_thr=0.5,
                    neg_iou_thr=0.4,
                    min_pos_iou=0,
                ),
                allowed_border=-1,
                pos_weight=-1,
                debug=False,
            ),
            test_cfg=dict(
                nms_pre=1000,
                min_bbox_size=0,
                score_thr=0.05,
                nms=dict(type='nms', iou_threshold=0.5),
                max_per_img=100,
            ),
        )
    )
    config.merge_from_dict(changes)
    return config._cfg_dict


def build_head(**changes):
    head = MODELS.build(head_config(**changes))
    head.init_weights()
    return head


def pyramid(
    batch: int = 2, channels: int = 8, shape: tuple[int, int] = (64, 64)
) -> tuple[torch.Tensor, ...]:
    """Random features of the five levels P3 to P7, (N, C, H, W)."""
    return tuple(
        torch.randn(batch, channels, *(-(-side // stride) for side in shape))
        for stride in STRIDES
    )


def loss_in_one_of_two_processes(rank: int, folder: Path) -> None:
    """Save a head's loss_cls, alone and with a divisor of both processes.

    Process 0 sees two objects, process 1 an empty image.
    """
    # Spinning threads of two processes on few cores take turns for ages.
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2
    )
    torch.manual_seed(0)
    head = build_head()
    objects = [((4, 4, 40, 36), 0), ((20, 24, 60, 60), 2)]
    features = pyramid(1)
    sample = data_sample(() if rank else objects)
    alone = head.loss(features, [sample])
    head.sync_avg_factor = True
    together = head.loss(features, [sample])
    torch.save(
        [
            alone['num_positive'].clamp(min=1),
            alone['loss_cls'].detach(),
            together['loss_cls'].detach(),
        ],
        folder / f'{rank}.pth',
    )
    torch.distributed.destroy_process_group()

"""Small heads, detectors and batches, shared by the tests."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData, PixelData
from torch import nn

import mmdet_retina_plus
from mmdet_retina_plus.hooks import LossStatisticsHook
from mmdet_retina_plus.transforms.paint_instances import paint_instances

STRIDES = (8, 16, 32, 64, 128)
Objects = Sequence[tuple[Sequence[float], int]]
"""Boxes x1, y1, x2, y2 in pixels, each with its label."""
OBJECTS: Objects = [((4, 4, 40, 60), 0), ((30, 12, 62, 45), 0)]
HEAD_OBJECTS: Objects = [((4, 4, 40, 36), 0), ((20, 24, 60, 60), 2)]
"""Of the classes of `head_config`, in an image of 64 x 64 pixels."""


def batches(objects: Objects) -> dict[str, tuple[Objects, Objects]]:
    """Batches of two images, with objects and without."""
    return {
        'objects': (objects, objects[:1]),
        'one-empty': (objects, ()),
        'all-empty': ((), ()),
    }


BATCHES = batches(OBJECTS)


def instances(
    objects: Objects = (), shape: tuple[int, int] = (64, 64)
) -> InstanceData:
    """Objects that fill their boxes, in an image of `shape` (H, W)."""
    boxes = [box for box, _ in objects]
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([label for _, label in objects]).long(),
        masks=BitmapMasks([filled(box, shape) for box in boxes], *shape),
    )


def filled(box: Sequence[float], shape: tuple[int, int]) -> np.ndarray:
    """Pixels of an image whose centre lies in a box, uint8 of `shape`."""
    x1, y1, x2, y2 = box
    y, x = np.ogrid[0.5 : shape[0], 0.5 : shape[1]]
    return ((x1 <= x) & (x < x2) & (y1 <= y) & (y < y2)).astype(np.uint8)


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
    truth = sample.gt_instances = instances(objects, shape)
    seg_map = paint_instances(
        truth.masks,
        truth.labels.numpy() + 1,
        np.zeros(len(objects), bool),
        truth.bboxes.numpy(),
    )
    sample.gt_sem_seg = PixelData(sem_seg=torch.from_numpy(seg_map)[None])
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


def detector_config(**slots) -> ConfigDict:
    """A narrow RetinaPlus around `head_config`, levels P3 to P7."""
    head = head_config()
    return ConfigDict(
        type='RetinaPlus',
        backbone=dict(type='ResNet', depth=18, base_channels=8),
        neck=dict(
            type='FPN',
            in_channels=[8, 16, 32, 64],
            out_channels=8,
            start_level=1,
            add_extra_convs='on_input',
            num_outs=5,
        ),
        train_cfg=head.pop('train_cfg'),
        test_cfg=head.pop('test_cfg'),
        bbox_head=head,
        **slots,
    )


def load(name: str) -> Config:
    """A shipped config."""
    return Config.fromfile(mmdet_retina_plus.config(name))


def differences(ours: Any, theirs: Any, prefix: str = '') -> Iterator[str]:
    """Dotted keys of what differs, as short as they tell."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        # mmengine notes a scope where a base's variable is used, or not.
        for key in {**ours, **theirs}.keys() - {'_scope_'}:
            yield from differences(
                ours.get(key), theirs.get(key), f'{prefix}.{key}'
            )
    elif isinstance(ours, list) and isinstance(theirs, list):
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(*pair, f'{prefix}.{index}')
    elif ours != theirs:
        yield prefix.removeprefix('.')


def shrink(config: Config) -> None:
    """Put a ResNet-18 in place of a larger one, for quick steps."""
    config.model.backbone.depth = 18
    config.model.neck.in_channels = [64, 128, 256, 512]


def build_detector(config: Config) -> BaseDetector:
    """A config's detector, initialised without a download."""
    config.model.backbone.init_cfg = None
    detector = MODELS.build(config.model)
    detector.init_weights()
    return detector.train()


def check_step(detector: BaseDetector, batch: Sequence[Objects]) -> None:
    """A step on images of 64 x 64 pixels reaches every parameter."""
    detector.zero_grad()
    images = torch.randn(len(batch), 3, 64, 64)
    losses = detector.loss(images, [data_sample(image) for image in batch])
    total, _ = detector.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def pyramid(
    batch: int = 2, channels: int = 8, shape: tuple[int, int] = (64, 64)
) -> tuple[torch.Tensor, ...]:
    """Random features of the five levels P3 to P7, (N, C, H, W)."""
    return tuple(
        torch.randn(batch, channels, *(-(-side // stride) for side in shape))
        for stride in STRIDES
    )


@contextmanager
def one_of_two_processes(rank: int, folder: Path) -> Iterator[None]:
    """Meet the other one in a folder, on CPUs."""
    # Spinning threads of two processes on few cores take turns for ages.
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2
    )
    yield
    torch.distributed.destroy_process_group()


def loss_in_one_of_two_processes(rank: int, folder: Path) -> None:
    """Save a head's loss_cls, alone and with a divisor of both processes.

    Process 0 sees two objects, process 1 an empty image.
    """
    with one_of_two_processes(rank, folder):
        torch.manual_seed(0)
        head = build_head()
        features = pyramid(1)
        sample = data_sample(() if rank else HEAD_OBJECTS)
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


def begin_statistics(
    head: nn.Module,
) -> tuple[LossStatisticsHook, SimpleNamespace]:
    """A hook that looks at every iteration, and the run that it is in."""
    hook = LossStatisticsHook(interval=1)
    run = SimpleNamespace(
        model=SimpleNamespace(bbox_head=head),
        hooks=[],
        iter=0,
        message_hub=MessageHub('statistics'),
    )
    hook.before_train(run)
    return hook, run


def logged_values(run: SimpleNamespace) -> dict[str, float]:
    return {
        name.removeprefix('train/'): buffer.current()
        for name, buffer in run.message_hub.log_scalars.items()
    }


def logged_statistics(
    head: nn.Module, step: Callable, batch: Sequence[Objects]
) -> dict[str, float]:
    """What LossStatisticsHook logs of a step, without a Runner."""
    hook, run = begin_statistics(head)
    hook.before_train_iter(run, 0)
    step()
    hook.after_train_iter(run, 0, dict(data_samples=batch))
    return logged_values(run)


def log_in_one_of_two_processes(rank: int, folder: Path) -> None:
    """Save the statistics of a head's step, each on one of two images.

    Process 0 sees two objects, process 1 an empty image.
    """
    with one_of_two_processes(rank, folder):
        torch.manual_seed(0)
        head = build_head()
        torch.manual_seed(1)
        features = [level[rank : rank + 1] for level in pyramid(2)]
        objects = () if rank else HEAD_OBJECTS
        log = logged_statistics(
            head,
            lambda: head.loss(features, [data_sample(objects)]),
            [objects],
        )
        torch.save(log, folder / f'{rank}.pth')


def steps_in_one_of_two_processes(rank: int, folder: Path) -> None:
    """Save the gradients of a detector's second step with pixel supervision.

    Process 0 sees two objects, process 1 an image without objects of which no
    pixel has a label. A parameter that the first step left out would stop the
    second.
    """
    with one_of_two_processes(rank, folder):
        torch.manual_seed(0)
        detector = build_detector(load('retinaunet_r18_fpn_shapes'))
        parallel = nn.parallel.DistributedDataParallel(Losses(detector))
        sample = data_sample(() if rank else OBJECTS)
        if rank:
            sample.gt_sem_seg.sem_seg.fill_(255)
        for _ in range(2):
            detector.zero_grad()
            parallel(torch.randn(1, 3, 64, 64), [sample]).backward()
        torch.save(
            [weight.grad for weight in detector.parameters()],
            folder / f'{rank}.pth',
        )


class Losses(nn.Module):
    """Sum of a detector's losses, for DistributedDataParallel."""

    def __init__(self, detector: BaseDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: torch.Tensor, samples: list) -> torch.Tensor:
        return self.detector.parse_losses(self.detector.loss(images, samples))[
            0
        ]

"""Objects in small images, ground truth and features of them."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData

from mmdet_retina_plus.transforms.paint_instances import paint_instances

STRIDES = (8, 16, 32, 64, 128)
Objects = Sequence[tuple[Sequence[float], int]]
"""Boxes x1, y1, x2, y2 in pixels, each with its label."""
OBJECTS: Objects = [((4, 4, 40, 60), 0), ((30, 12, 62, 45), 0)]
HEAD_OBJECTS: Objects = [((4, 4, 40, 36), 0), ((20, 24, 60, 60), 2)]
"""Objects of classes of `head_config`, in an image of 64 x 64 pixels."""


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


def pyramid(
    batch: int = 2, channels: int = 8, shape: tuple[int, int] = (64, 64)
) -> tuple[torch.Tensor, ...]:
    """Random features of the five levels P3 to P7, (N, C, H, W)."""
    return tuple(
        torch.randn(batch, channels, *(-(-side // stride) for side in shape))
        for stride in STRIDES
    )

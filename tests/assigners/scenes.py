"""Anchors, objects and results for the assigners' tests."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from mmdet_retina_plus.assigners import overlap_matching as streaming
from tests.helpers.samples import STRIDES


def anchor_levels(
    height: int = 256, width: int = 256, per_place: int = 9, **changes
) -> list[Tensor]:
    """Anchors of P3 to P7 as RetinaNet has them, one tensor per level."""
    shapes = dict(ratios=[0.5, 1.0, 2.0], scales_per_octave=3)
    if per_place == 1:
        shapes = dict(ratios=[1.0], scales_per_octave=1)
    generator = AnchorGenerator(
        **{'strides': STRIDES, 'octave_base_scale': 4, **shapes, **changes}
    )
    grids = [
        (math.ceil(height / down), math.ceil(width / across))
        for across, down in generator.strides
    ]
    return generator.grid_priors(grids, device='cpu')


def random_boxes(
    count: int,
    seed: int = 0,
    height: int = 256,
    width: int = 256,
    integers: bool = False,
) -> Tensor:
    """Boxes around places in the image, some of them across its border."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 4, generator=generator)
    centre = noise[:, :2] * torch.tensor([width, height])
    size = 4 * (width / 4) ** noise[:, 2:]
    boxes = torch.cat([centre - size / 2, centre + size / 2], dim=1)
    return boxes.round() if integers else boxes


def objects(boxes: Tensor) -> InstanceData:
    labels = (torch.arange(len(boxes), device=boxes.device) * 7 + 3) % 11
    return InstanceData(bboxes=boxes, labels=labels)


def assign(
    assigner,
    priors: Tensor,
    boxes: Tensor,
    regions: Tensor | None = None,
    **options,
) -> AssignResult:
    # By name, since mmdet's ATSSAssigner has another order.
    return assigner.assign(
        pred_instances=InstanceData(priors=priors),
        gt_instances=objects(boxes),
        gt_instances_ignore=(
            None if regions is None else InstanceData(bboxes=regions)
        ),
        **options,
    )


def ignored_priors(priors: Tensor, regions: Tensor, thr: float) -> Tensor:
    if thr <= 0 or not len(regions):
        return torch.zeros(len(priors), dtype=torch.bool)
    return bbox_overlaps(priors, regions, mode='iof').amax(dim=1) > thr


def assert_same(result: AssignResult, expected: AssignResult) -> None:
    """Equal to the bit."""
    assert result.num_gts == expected.num_gts
    for name in ('gt_inds', 'max_overlaps', 'labels'):
        assert_close(
            getattr(result, name), getattr(expected, name), rtol=0, atol=0
        )


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """Take the path that never looks at values, on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, 'may_wait', lambda device: False)
        yield


@contextmanager
def tiles(**sizes: int) -> Iterator[None]:
    """With other sizes of tiles, e.g. ``CPU_TILE=512``."""
    with pytest.MonkeyPatch.context() as patch:
        for name, size in sizes.items():
            patch.setattr(streaming, name, size)
        yield


class Launches(TorchDispatchMode):
    """Counts operations."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))

"""Anchors and objects to assign, and results that are compared."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from mmdet_retina_plus.kernels import devices, overlap_matching
from tests.helpers.samples import STRIDES


def anchor_levels(
    height: int = 256, width: int = 256, per_location: int = 9, **changes
) -> list[Tensor]:
    """Anchors of P3 to P7 as RetinaNet has them, one tensor per level."""
    shapes = dict(ratios=[0.5, 1.0, 2.0], scales_per_octave=3)
    if per_location == 1:
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
    """Assert that two results are bit-identical."""
    assert result.num_gts == expected.num_gts
    for name in ('gt_inds', 'max_overlaps', 'labels'):
        assert_close(
            getattr(result, name), getattr(expected, name), rtol=0, atol=0
        )


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """Take the path that never looks at values, on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, 'may_wait', lambda device: False)
        yield


@contextmanager
def tiles(**sizes: int) -> Iterator[None]:
    """With other sizes of tiles, e.g. ``CPU_TILE=512``."""
    with pytest.MonkeyPatch.context() as patch:
        for name, size in sizes.items():
            patch.setattr(overlap_matching, name, size)
        yield


class Launches(TorchDispatchMode):
    """Counts operations, and elements of the largest result."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.largest = max(self.largest, result.numel())
        return result


NOWHERE = torch.tensor([[-9000.0, -8000, -7000, -6000], [40, 40, 40, 90]])
"""Outside of all anchors, and without area."""


OPTIONS = st.fixed_dictionaries(
    dict(
        pos_iou_thr=st.sampled_from([0.3, 0.5, 0.7]),
        neg_iou_thr=st.sampled_from([0.3, 0.4, (0.1, 0.4), (0.0, 0.5)]),
        min_pos_iou=st.sampled_from([0.0, 0.05, 0.3]),
        gt_max_assign_all=st.booleans(),
        match_low_quality=st.booleans(),
        ignore_iof_thr=st.sampled_from([-1, 0.2, 0.5]),
        ignore_wrt_candidates=st.booleans(),
    )
)


SCENES = st.fixed_dictionaries(
    dict(
        seed=st.integers(0, 10_000),
        count=st.integers(1, 12),
        integers=st.booleans(),
        repeated=st.booleans(),
        shuffled=st.booleans(),
        double=st.booleans(),
    )
)


def scene(
    seed: int,
    count: int,
    integers: bool,
    repeated: bool,
    shuffled: bool,
    double: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Priors, boxes that overlap some, and up to two regions to ignore."""
    priors = torch.cat(anchor_levels(96, 128))
    boxes = random_boxes(count, seed, 96, 128, integers)
    boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2] + 1)
    if integers:
        priors = priors.round()
    if repeated:
        boxes = torch.cat([boxes, boxes[: count // 2 + 1]])
    if shuffled:
        generator = torch.Generator().manual_seed(seed)
        priors = priors[torch.randperm(len(priors), generator=generator)]
    regions = random_boxes(seed % 3, seed + 1, 96, 128, integers)
    if double:
        return priors.double(), boxes.double(), regions.double()
    return priors, boxes, regions

import pytest
import torch
from mmdet.models.task_modules.prior_generators import YOLOAnchorGenerator
from torch import Tensor

from mmdet_retina_plus.assigners.prior_levels import (
    grids,
    level_sizes,
    priors_per_location,
)
from tests.helpers.assigning import anchor_levels

RETINANET = dict()
ATSS = dict(ratios=[1.0], octave_base_scale=8, scales_per_octave=1)
RETINA_UNET = dict(strides=[4, 8, 16, 32], octave_base_scale=1)
CENTRED = dict(center_offset=0.5)
RPN = dict(
    strides=[4, 8, 16, 32, 64],
    octave_base_scale=None,
    scales_per_octave=None,
    scales=[8],
)
OBLONG = dict(strides=[(8, 4), (16, 8), (32, 16)])
IMAGES = [(64, 64), (100, 333), (401, 667), (667, 401), (256, 40), (9, 70)]


@pytest.mark.parametrize('image', IMAGES, ids=str)
@pytest.mark.parametrize(
    'changes',
    [RETINANET, ATSS, RETINA_UNET, CENTRED, RPN, OBLONG],
    ids=['retinanet', 'atss', 'retina_unet', 'centred', 'rpn', 'oblong'],
)
def test_levels_are_read_off_their_anchors(
    image: tuple[int, int], changes: dict
) -> None:
    levels = anchor_levels(*image, **changes)
    sizes = [len(level) for level in levels]
    assert level_sizes(torch.cat(levels)) == sizes
    per_location = len(changes.get('ratios', [0.5, 1, 2])) * (
        changes.get('scales_per_octave', 3) or 1
    )
    counts = priors_per_location(torch.cat(levels), sizes)
    assert counts == [per_location] * len(levels)


def test_half_precision_anchors_are_read_as_well() -> None:
    levels = anchor_levels(320, 480)
    sizes = [len(level) for level in levels]
    assert level_sizes(torch.cat(levels).half()) == sizes


def test_one_prior_is_one_level() -> None:
    assert level_sizes(torch.tensor([[0.0, 0, 8, 8]])) == [1]


def clipped(priors: Tensor) -> Tensor:
    return priors.clamp(min=0, max=128)


def filtered(priors: Tensor) -> Tensor:
    inside = (priors >= 0).all(dim=1) & (priors <= 128).all(dim=1)
    return priors[inside]


@pytest.mark.parametrize(
    'priors',
    [
        clipped(torch.cat(anchor_levels(128, 128))),
        clipped(torch.cat(anchor_levels(128, 128, per_location=1))),
        filtered(torch.cat(anchor_levels(128, 128))),
        torch.cat(anchor_levels(128, 128)[::-1]),
        torch.cat(anchor_levels(8, 8)),
        torch.cat(anchor_levels(128, 128, base_sizes=[8] * 5)),
        torch.cat(
            YOLOAnchorGenerator(
                strides=[16, 8], base_sizes=[[(40, 30)], [(20, 20)]]
            ).grid_priors([(8, 8), (16, 16)], device='cpu')
        ),
    ],
    ids=[
        'clipped',
        'clipped, one per place',
        'filtered',
        'coarse to fine',
        'one place everywhere',
        'same sizes on all levels',
        'yolo',
    ],
)
def test_what_is_no_pyramid_is_refused_with_the_way_out(
    priors: Tensor,
) -> None:
    with pytest.raises(ValueError, match='Pass `num_level_priors`'):
        level_sizes(priors)


def test_a_grid_whose_size_is_told_is_the_one_read_off() -> None:
    levels = anchor_levels(64, 96)
    sizes = [len(level) for level in levels]
    shapes = [(-(-64 // s), -(-96 // s)) for s in (8, 16, 32, 64, 128)]
    read = grids(torch.cat(levels), sizes)
    told = grids(torch.cat(levels), sizes, shapes)
    for expected, found in zip(read, told, strict=True):
        assert expected.start == found.start
        for name in ('shapes', 'xs', 'ys'):
            assert torch.equal(getattr(expected, name), getattr(found, name))
    with pytest.raises(ValueError, match='not a grid'):
        grids(torch.cat(levels), sizes, [(7, 12), *shapes[1:]])


def test_uneven_places_cannot_be_counted() -> None:
    priors = torch.cat(anchor_levels(64, 64))
    with pytest.raises(ValueError, match='the same number at each'):
        priors_per_location(priors[:-1], [len(priors) - 1])

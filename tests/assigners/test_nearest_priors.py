from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_retina_plus.assigners.nearest_priors import Level, pack, unpack
from mmdet_retina_plus.kernels.boxes import FAR, LAST
from tests.helpers.assigning import as_on_gpu

on_gpu = pytest.mark.parametrize('on_gpu', [False, True], ids=['cpu', 'gpu'])


def test_packed_values_sort_by_value_then_order() -> None:
    values = torch.tensor([0.0, 1e-40, 0.5, 0.5, 3e7, torch.inf])
    order = torch.tensor([7, 0, 1, LAST, 2, 0])
    keys = pack(values, order)
    assert (keys.diff() > 0).all()
    assert all(
        torch.equal(a, b)
        for a, b in zip(unpack(keys), (values, order), strict=True)
    )


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 600),
    spread=st.sampled_from([3, 40, 1000]),
    share=st.sampled_from([0.0, 0.1, 0.95]),
    integers=st.booleans(),
    ordered=st.booleans(),
    on_gpu=st.booleans(),
    data=st.data(),
)
def test_nearest_are_the_first_of_a_stable_sort(
    seed: int,
    count: int,
    spread: int,
    share: float,
    integers: bool,
    ordered: bool,
    on_gpu: bool,
    data: st.DataObject,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(2, count, generator=generator) * spread
    points = (torch.rand(2, 3, generator=generator) * 3 - 1) * spread
    if ordered:
        # Along a row, where few chunks are near.
        centres = centres[:, centres[0].argsort()]
        centres[1] = 0
    if integers:
        centres, points = centres.round(), points.round()
    ignored = torch.rand(count, generator=generator) < share
    k = data.draw(st.integers(1, count))
    distance = (centres[:, :, None] - points[:, None]).square().sum(0).sqrt()
    distance[ignored] = FAR
    expected = distance.sort(dim=0, stable=True).indices[:k] + 5
    with as_on_gpu() if on_gpu else nullcontext():
        level = Level(centres, ignored, start=5)
        assert torch.equal(level.nearest(points, k), expected)


@on_gpu
def test_of_equally_distant_priors_the_first_are_nearest(
    on_gpu: bool,
) -> None:
    # Nine anchors at each of the four corners around the point.
    corners = torch.tensor([[0.0, 16, 0, 16], [0, 0, 16, 16]])
    centres = corners.repeat_interleave(9, dim=1)
    with as_on_gpu() if on_gpu else nullcontext():
        level = Level(centres, torch.zeros(36, dtype=torch.bool), start=0)
        nearest = level.nearest(torch.tensor([[8.0], [8.0]]), 11)
    assert nearest.squeeze(1).tolist() == list(range(11))

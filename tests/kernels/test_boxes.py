import pytest
import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from mmdet_retina_plus.kernels.boxes import (
    centres_of,
    coordinates,
    iou,
    share_of_first,
    share_of_second,
)


def boxes_of_any_kind(count: int, seed: int) -> Tensor:
    """Some inverted, some without area, some twice."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 4, generator=generator) * 100
    boxes[::2, 2:] += boxes[::2, :2]
    boxes[::5] = boxes[::5].round()
    boxes[1::7, 2] = boxes[1::7, 0]
    return torch.cat([boxes, boxes[:3]])


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ('overlap', 'mode', 'swapped'),
    [
        (iou, 'iou', False),
        (share_of_first, 'iof', False),
        (share_of_second, 'iof', True),
    ],
)
def test_overlaps_equal_mmdets_bit_for_bit(overlap, mode, swapped, dtype):
    first, second = (boxes_of_any_kind(60, seed).to(dtype) for seed in (0, 1))
    result = overlap(
        coordinates(first)[:, :, None], coordinates(second)[:, None]
    )
    if swapped:
        expected = bbox_overlaps(second, first, mode).t()
    else:
        expected = bbox_overlaps(first, second, mode)
    assert result.gt(0).any()
    assert torch.equal(result, expected)


def test_the_least_union_is_what_tiny_boxes_are_divided_by():
    box = coordinates(torch.tensor([[0.0, 0, 1e-4, 1e-4]]))
    assert iou(box, box).item() == pytest.approx(1e-8 / 1e-6)
    assert iou(box, box, min_union=1e-30).item() == 1


def test_a_box_without_area_overlaps_nothing_and_not_itself():
    line = coordinates(torch.tensor([[3.0, 3, 3, 9]]))
    assert iou(line, line, min_union=1e-30).item() == 0


def test_an_offset_reaches_further_right_and_down():
    boxes = torch.tensor([[1.0, 2, 3, 5, 0.9]])
    assert coordinates(boxes, 1).flatten().tolist() == [1, 2, 4, 6, 12]


def test_centres_lie_half_way_between_the_corners():
    boxes = torch.tensor([[1.0, 2, 3, 5], [0, 0, 8, 4]])
    expected = [[2.0, 4], [3.5, 2]]
    assert centres_of(coordinates(boxes)).tolist() == expected

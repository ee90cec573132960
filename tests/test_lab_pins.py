"""What the methods of the lab owe to their papers, on worked examples."""

import math

import pytest
import torch
from mmdet.models.utils import gaussian_radius
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import nn
from torch.testing import assert_close

from tests.helpers.samples import instances
from tests.helpers.shipped_configs import load

BOX = (8.0, 8, 56, 40)
"""With its centre at (32, 24)."""
SIZES = [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]
"""P3 to P7 of 64 x 64 pixels."""
PAPER_RANGES = ((-1, 64), (64, 128), (128, 256), (256, 512), (512, 1e8))


def build(method: str, **changes) -> nn.Module:
    """The head of a method of the lab."""
    model = load(f'lab/method_{method}').model
    return MODELS.build(
        dict(
            model.bbox_head,
            train_cfg=model.get('train_cfg'),
            test_cfg=model.test_cfg,
            **changes,
        )
    )


def fcos_targets(boxes, **changes):
    """Points, labels and distances in strides of P3, of an image."""
    head = build('fcos', regress_ranges=PAPER_RANGES, **changes)
    points = head.prior_generator.grid_priors(SIZES, device='cpu')
    truth = instances([(box, label) for label, box in enumerate(boxes)])
    labels, targets = head.get_targets(points, [truth])
    return head, points[0], labels[0], targets[0]


def test_fcos_takes_points_within_one_and_a_half_strides_of_the_centre():
    _, points, labels, _ = fcos_targets([BOX])
    positive = points[labels == 0].tolist()
    assert positive == [[28, 20], [36, 20], [28, 28], [36, 28]]


def test_fcos_without_centre_sampling_takes_the_whole_box():
    _, points, labels, _ = fcos_targets([BOX], center_sampling=False)
    x, y = points.t()
    inside = (x > 8) & (x < 56) & (y > 8) & (y < 40)
    assert torch.equal(labels == 0, inside)
    assert inside.sum() == 24


def test_fcos_has_no_band_to_ignore_and_the_smaller_box_wins():
    small = (24.0, 16, 40, 32)
    _, points, labels, _ = fcos_targets([BOX, small], center_sampling=False)
    x, y = points.t()
    inside = (x > 24) & (x < 40) & (y > 16) & (y < 32)
    assert torch.equal(labels == 1, inside)
    assert set(labels.tolist()) == {0, 1, 4}


def test_fcos_gives_a_box_to_the_level_of_its_longest_distance():
    head = build('fcos', regress_ranges=PAPER_RANGES, center_sampling=False)
    sizes = [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
    points = head.prior_generator.grid_priors(sizes, device='cpu')
    truth = instances([((0, 0, 200, 200), 0)])
    labels, _ = head.get_targets(points, [truth])
    # From a point of the box the farthest side is at least 100 away.
    found = [int((level == 0).sum()) for level in labels]
    assert found[0] == found[3] == found[4] == 0
    x, y = points[1].t()
    distance = torch.stack([x, y, 200 - x, 200 - y]).amax(0)
    inside = (x < 200) & (y < 200)
    assert found[1] == int((inside & (distance <= 128)).sum())
    assert found[2] > 0


def test_fcos_centreness_is_one_in_the_centre_and_falls_to_the_border():
    head, _, labels, targets = fcos_targets([BOX])
    positive = labels == 0
    # In strides; of the point (28, 20): 20, 12, 28, 20 pixels.
    assert_close(targets[positive][0] * 8, torch.tensor([20.0, 12, 28, 20]))
    centreness = head.centerness_target(targets[positive])
    assert_close(centreness[0].item(), math.sqrt(20 / 28 * 12 / 20))
    middle = head.centerness_target(torch.tensor([[24.0, 16, 24, 16]]))
    assert middle.item() == 1


@pytest.mark.parametrize('method', ['fcos', 'atss'])
def test_giou_of_boxes_apart_exceeds_one(method):
    loss = build(method).loss_bbox
    boxes = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[2.0, 0, 3, 1]])
    # IoU 0; a third of the enclosing box is empty.
    value = loss(*boxes) / loss.loss_weight
    assert_close(value.item(), 1 + 1 / 3, rtol=1e-5, atol=0)


def worst_iou(height: float, width: float, radius: float) -> float:
    """Least IoU with a box whose corners lie within the radius, per axis."""
    area = height * width
    smaller = max(height - 2 * radius, 0) * max(width - 2 * radius, 0) / area
    larger = area / ((height + 2 * radius) * (width + 2 * radius))
    shared = max(height - radius, 0) * max(width - radius, 0)
    return min(smaller, larger, shared / (2 * area - shared))


@pytest.mark.parametrize('overlap', [0.3, 0.7])
@pytest.mark.parametrize('size', [(10, 10), (4, 40), (33, 17), (100, 60)])
def test_centernets_radius_is_the_largest_that_keeps_the_overlap(
    size, overlap
):
    radius = float(gaussian_radius(torch.tensor(size).float(), overlap))
    assert worst_iou(*size, radius) == pytest.approx(overlap, rel=1e-3)


@pytest.mark.parametrize(
    ('box', 'centre', 'radius'),
    [((8, 8, 56, 40), (6, 8), 2), ((0, 0, 63, 63), (7, 7), 3)],
)
def test_centernet_has_one_positive_in_a_gaussian_of_that_radius(
    box, centre, radius
):
    """Boxes of 12 x 8 and 15.75 x 15.75 cells, overlap .3."""
    head = build('centernet')
    truth = instances([(box, 2)])
    targets, number = head.get_targets(
        [truth.bboxes], [truth.labels], (1, 4, 16, 16), (64, 64)
    )
    heat = targets['center_heatmap_target']
    assert number == 1
    assert (heat == 1).nonzero().tolist() == [[0, 2, *centre]]
    row = heat[0, 2, centre[0]]
    assert int((row > 0).sum()) == 2 * radius + 1
    assert not heat[0, [0, 1, 3]].any()
    size = box[2] - box[0], box[3] - box[1]
    wh = targets['wh_target'][0][:, centre[0], centre[1]]
    assert wh.tolist() == [side / 4 for side in size]


def test_guided_locations_are_positive_in_a_fifth_and_ignored_up_to_half():
    head = build('ga-retinanet')
    # Cells 1 to 6 of P3, to which sqrt(40 * 40) pixels belong.
    truth = instances([((8, 8, 48, 48), 0)])
    targets, weights, _ = head.ga_loc_targets([truth], SIZES)
    target, weight = targets[0][0, 0], weights[0][0, 0]
    positive = target > 0
    ignored = (weight == 0) & ~positive
    assert positive.nonzero().tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]
    rows, columns = (positive | ignored).nonzero().unbind(1)
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (2, 5)
    train_cfg = load('lab/method_ga-retinanet').model.train_cfg
    assert (train_cfg.center_ratio, train_cfg.ignore_ratio) == (0.2, 0.5)


def test_a_guided_shape_has_the_best_iou_of_the_nine_anchors_there():
    """For an object twice as wide as high, which no square fits."""
    head = build('ga-retinanet')
    squares = head.square_anchor_generator.grid_priors(SIZES, device='cpu')[0]
    approxs = head.approx_anchor_generator.grid_priors(SIZES, device='cpu')[0]
    approxs = approxs.view(len(squares), 9, 4)
    sides = approxs[27, :, 2:] - approxs[27, :, :2]
    widest = int(sides[:, 0].argmax())
    assert_close(sides[widest, 0], 2 * sides[widest, 1])
    wide = approxs[27, widest]
    assert bbox_overlaps(squares[27:28], wide[None]) < 0.5
    result = head.ga_assigner.assign(
        InstanceData(priors=squares, approxs=approxs),
        instances([(wide.tolist(), 0)]),
    )
    assert result.gt_inds[27] == 1
    assert_close(result.max_overlaps[27].item(), 1.0)


def test_ssds_six_levels_have_its_boxes_scaled_to_the_images():
    config = load('lab/method_ssd')
    generator = build('ssd').prior_generator
    sizes = [300 / config.lab_size * size for size in generator.base_sizes]
    assert sizes == pytest.approx([30, 60, 111, 162, 213, 264])
    assert generator.num_base_priors == [4, 6, 6, 6, 4, 4]
    assigner = config.model.train_cfg.assigner
    assert (assigner.pos_iou_thr, assigner.neg_iou_thr) == (0.5, 0.5)
    assert assigner.gt_max_assign_all is False
    assert config.model.train_cfg.neg_pos_ratio == 3


def test_faster_rcnns_thresholds():
    train_cfg = load('lab/method_faster-rcnn').model.train_cfg
    keys = ('pos_iou_thr', 'neg_iou_thr', 'min_pos_iou')
    for stage, expected in (
        (train_cfg.rpn, (0.7, 0.3, 0.3)),
        (train_cfg.rcnn, (0.5, 0.5, 0.5)),
    ):
        assert tuple(stage.assigner[key] for key in keys) == expected

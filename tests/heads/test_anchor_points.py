import pytest
import torch
from mmdet.models.task_modules.prior_generators import MlvlPointGenerator
from torch import Tensor
from torch.testing import assert_close

from mmdet_retina_plus.heads.anchor_points import (
    centrality,
    find_positive_points,
    side_distances,
)
from tests.helpers.assigning import Launches, random_boxes
from tests.helpers.samples import STRIDES

SIZES = [(32, 40), (16, 20), (8, 10), (4, 5), (2, 3)]
"""P3 to P7 of an image of 256 x 320 pixels."""
ORACLE = torch.tensor([[20.0, 12, 84, 60]], dtype=torch.float64)
"""The box of specs B3.2: its shrunk box is (45.6, 31.2, 58.4, 40.8)."""


def positives(boxes: Tensor, images=None, sizes=SIZES, strides=STRIDES, **kw):
    if images is None:
        images = torch.zeros(len(boxes), dtype=torch.long)
    num_images = int(images.max()) + 1 if len(images) else 1
    return find_positive_points(
        boxes, images, num_images, sizes, strides, **kw
    )


def grid(sizes=SIZES, strides=STRIDES) -> Tensor:
    points = MlvlPointGenerator(strides).grid_priors(sizes, device='cpu')
    return torch.cat(points)


def oracle_points(**options) -> Tensor:
    found = positives(ORACLE, sizes=[(32, 32)], strides=[4], **options)
    return grid([(32, 32)], [4]).double()[found.points]


def by_loop(boxes: Tensor, images: Tensor, whole_cells: bool) -> set:
    """The definition, object by object and cell by cell."""
    claims: dict = {}
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).tolist()
    for gt, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        image, offset = int(images[gt]), 0
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        w, h = 0.1 * (x2 - x1), 0.1 * (y2 - y1)
        for level, ((rows, columns), stride) in enumerate(
            zip(SIZES, STRIDES, strict=True)
        ):

            def inside(centre, half, count, stride=stride):
                low, high = centre - half, centre + half
                if whole_cells:
                    cells = [
                        i
                        for i in range(count)
                        if i * stride < high and (i + 1) * stride > low
                    ]
                else:
                    cells = [
                        i
                        for i in range(count)
                        if low <= (i + 0.5) * stride <= high
                    ]
                own = min(max(int(centre // stride), 0), count - 1)
                return cells or [own]

            for i in inside(y, h, rows):
                for j in inside(x, w, columns):
                    cell = (image, offset + i * columns + j)
                    best = claims.get(cell)
                    if best is None or areas[gt] < areas[best[1]]:
                        claims[cell] = (level, gt)
            offset += rows * columns
    total = sum(rows * columns for rows, columns in SIZES)
    return {
        (image * total + point, level, gt)
        for (image, point), (level, gt) in claims.items()
    }


def test_the_oracle_box_has_eight_points_that_lie_in_its_shrunk_box():
    points = oracle_points()
    assert sorted(map(tuple, points.tolist())) == [
        (x, y) for x in (46, 50, 54, 58) for y in (34, 38)
    ]


def test_with_whole_cells_it_has_all_that_its_shrunk_box_touches():
    points = oracle_points(whole_cells=True)
    assert len(points) == 16
    assert points[:, 1].unique().tolist() == [30, 34, 38, 42]


@pytest.mark.parametrize(
    ('point', 'distances', 'targets', 'weight', 'centreness'),
    [
        (
            (46, 34),
            (26, 22, 38, 26),
            (1.625, 1.375, 2.375, 1.625),
            0.578947368,
            0.760885910,
        ),
        (
            (50, 34),
            (30, 22, 34, 26),
            (1.875, 1.375, 2.125, 1.625),
            0.746606335,
            0.864063849,
        ),
    ],
)
def test_the_oracles_distances_and_weights(
    point, distances, targets, weight, centreness
):
    points = torch.tensor([point], dtype=torch.float64)
    found = side_distances(points, ORACLE)
    assert found.tolist() == [list(distances)]
    assert (found / (4 * 4)).tolist() == [list(targets)]
    assert_close(centrality(found).item(), weight, rtol=1e-8, atol=0)
    assert_close(
        centrality(found, eta=0.5).item(), centreness, rtol=1e-8, atol=0
    )


def test_weights_are_symmetric_about_the_centre():
    points = oracle_points()
    mirrored = torch.tensor([104.0, 72.0]).double() - points
    assert_close(
        centrality(side_distances(points, ORACLE)),
        centrality(side_distances(mirrored, ORACLE)),
    )
    centre = torch.tensor([[52.0, 36.0]]).double()
    assert centrality(side_distances(centre, ORACLE)).item() == 1


def test_points_on_the_border_outside_and_of_empty_boxes_weigh_nothing():
    boxes = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 8], [4, 4, 4, 4]])
    points = torch.tensor([[8.0, 4], [-4, 4], [4, 4]])
    assert centrality(side_distances(points, boxes)).tolist() == [0, 0, 0]


@pytest.mark.parametrize('whole_cells', [False, True])
@pytest.mark.parametrize('seed', range(6))
def test_random_scenes_equal_a_loop_over_objects_and_cells(seed, whole_cells):
    boxes = random_boxes(25, seed, 256, 320, integers=seed % 2 == 0)
    # Equal boxes, those without area, and one of another image.
    boxes = torch.cat([boxes, boxes[:3], boxes[:1, [0, 1, 0, 1]]])
    images = torch.arange(len(boxes)) % 3
    found = positives(boxes, images, whole_cells=whole_cells)
    triples = torch.stack(
        [found.points, found.levels, found.gts], dim=1
    ).tolist()
    assert {tuple(row) for row in triples} == by_loop(
        boxes, images, whole_cells
    )
    assert len(found.points.unique()) == len(found.points)


@pytest.mark.parametrize(
    'box',
    [
        (3.0, 3, 5, 5),
        (100, 7.9, 220, 8.1),
        (-50, -50, 10, 10),
        (318, 254, 330, 300),
    ],
)
def test_every_object_has_a_cell_on_every_level(box):
    found = positives(torch.tensor([box]))
    assert found.levels.unique().tolist() == [0, 1, 2, 3, 4]


def test_a_cell_goes_to_the_smaller_object_on_each_level_by_itself():
    large, small = (16.0, 16, 176, 176), (88.0, 88, 104, 104)
    found = positives(torch.tensor([large, small]))
    finest = found.gts[found.levels == 0]
    assert finest.bincount().tolist() == [15, 1]
    # Both have their one cell of the coarsest level in common.
    assert found.gts[found.levels == 4].tolist() == [1]


def test_of_equal_objects_the_first_has_the_points():
    box = (16.0, 16, 176, 176)
    assert not positives(torch.tensor([box, box])).gts.any()


def test_images_do_not_share_points():
    boxes = torch.tensor([(16.0, 16, 176, 176)]).repeat(2, 1)
    found = positives(boxes, torch.tensor([0, 1]))
    total = sum(rows * columns for rows, columns in SIZES)
    first, second = found.points[found.gts == 0], found.points[found.gts == 1]
    assert_close(second, first + total)


def test_without_objects_there_is_no_point():
    found = positives(torch.zeros(0, 4))
    assert [len(values) for values in found] == [0, 0, 0]


def test_many_objects_take_as_many_operations_and_no_matrix():
    counts = []
    for number in (2, 2000):
        boxes = random_boxes(number, 0, 256, 320)
        with Launches() as launches:
            found = positives(boxes)
        counts.append(launches.count)
    assert counts[0] == counts[1]
    num_points = sum(rows * columns for rows, columns in SIZES)
    assert launches.largest < 2000 * num_points / 50
    assert len(found.points) > 500

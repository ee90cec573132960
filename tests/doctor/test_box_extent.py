"""The format of boxes from their distribution, on generated sets."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmdet_retina_plus.doctor.annotations import check_boxes
from mmdet_retina_plus.doctor.box_extent import check_extent, check_scraps
from mmdet_retina_plus.doctor.split import Split

SIDE = 256


def boxes_of(number=120, largest=60, low=0.0, high=1.0):
    """Random boxes (left, top, width, height) inside their images."""
    draw = np.random.default_rng(0)
    extent = draw.uniform(6, largest, (number, 2))
    room = (high - low) * SIDE - extent
    return np.hstack([low * SIDE + draw.random((number, 2)) * room, extent])


def split_of(boxes):
    images = [
        {'id': n, 'file_name': f'{n}.png', 'width': SIDE, 'height': SIDE}
        for n in range(40)
    ]
    annotations = [
        {
            'id': n + 1,
            'image_id': n % 40,
            'category_id': 1,
            'bbox': box,
            'area': box[2] * box[3],
            'iscrowd': 0,
        }
        for n, box in enumerate(boxes.tolist())
    ]
    coco = {
        'images': images,
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'cat'}],
    }
    # As parsed from a file.
    return Split('train', json.loads(json.dumps(coco)), Path(), ('cat',))


def findings(boxes):
    return check_extent(split_of(boxes))


def centres(boxes):
    return np.hstack([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]])


def corners(boxes):
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


FAULTS = {
    'centres': (centres(boxes_of()), 'error', 'x - width / 2'),
    'centres that leave no image': (
        centres(boxes_of(600, 20, high=0.97)),
        'warning',
        'x - width / 2',
    ),
    'corners': (corners(boxes_of()), 'error', 'x2 - x1'),
    'boxes of images of half the side': (
        boxes_of() / 2,
        'warning',
        'by about 2 and 2',
    ),
    'boxes of images of twice the side': (
        boxes_of() * 2,
        'error',
        'divide the four numbers of bbox by about 2',
    ),
}


def test_boxes_that_leave_images_are_one_finding_with_their_format():
    boxes = centres(boxes_of(600, 20, high=0.97))
    boxes[0] = [SIDE - 10, 20, 14, 14]
    (finding,) = check_boxes(split_of(boxes))
    assert 'bbox may be [centre x' in finding.message


@pytest.mark.parametrize('name', FAULTS)
def test_boxes_of_another_format(name):
    boxes, level, fix = FAULTS[name]
    (finding,) = findings(boxes)
    assert finding.level == level
    assert fix in finding.fix


def overflowing():
    """A few boxes cross the right side by 3 pixels, and one lies outside."""
    boxes = boxes_of()
    boxes[:4, 0] = SIDE - boxes[:4, 2] + 3
    boxes[5] = [300, 10, 40, 40]
    return boxes


@pytest.mark.parametrize(
    'boxes',
    [
        boxes_of(),
        overflowing(),
        boxes_of(largest=200),
        boxes_of(number=19) / 2,
        boxes_of(low=0.3, high=0.7),
        boxes_of(low=0.0, high=0.8),
        boxes_of() + np.array([-4, -4, 8, 8]),
    ],
)
def test_boxes_that_are_right_raise_no_alarm(boxes):
    assert findings(boxes) == []


def with_others(*others):
    """Usual boxes, and 20 of each of others (left, top, width, height)."""
    rows = [np.tile(x, (20, 1)).astype(float) for x in others]
    return split_of(np.vstack([boxes_of(200), *rows]))


@pytest.mark.parametrize(
    ('others', 'message'),
    [
        ([], ''),
        ([(30, 40, 2, 3)], '20 boxes have sides below 4 pixels'),
        # Small objects of all sizes.
        ([(30, 40, 2, 3), (50, 50, 6, 5)], ''),
        ([(0, 40, 4, 60)], '20 boxes are strips of less than 8 pixels'),
        ([(40, SIDE - 3, 90, 3)], '20 boxes are strips'),
        # Poles, inside and at the border.
        ([(0, 40, 4, 60), (90, 40, 4, 60)], ''),
    ],
)
def test_clicks_and_strips_are_no_objects(others, message):
    found = check_scraps(with_others(*others))
    starts = [x.message.startswith(message) for x in found]
    assert starts == [True] * bool(message)


def test_images_in_another_order_than_their_boxes():
    split = split_of(boxes_of(200, 40))
    draw = np.random.default_rng(1)
    for image, factor in zip(
        split.images, draw.choice([1, 3], 40), strict=True
    ):
        image['width'], image['height'] = factor * SIDE, SIDE
    factors = np.array([x['width'] / SIDE for x in split.images])
    for annotation in split.annotations:
        annotation['bbox'][0] *= factors[annotation['image_id']]
    right = Split('train', split.coco, Path(), ('cat',))
    assert check_extent(right) == []
    names = sorted(x['file_name'] for x in split.images)
    by_name = {x['file_name']: x for x in split.images}
    images = [{**by_name[x], 'id': at} for at, x in enumerate(names)]
    coco = {**split.coco, 'images': images}
    (finding,) = check_extent(Split('train', coco, Path(), ('cat',)))
    assert 'files are in the order of texts' in finding.message
    assert '"file_name"' in finding.fix


def fraction_corners(boxes):
    return corners(boxes) / SIDE


def fraction_centres(boxes):
    return centres(boxes) / SIDE


FRACTIONS = {
    'plain': (lambda boxes: boxes / SIDE, '"bbox": [x * width'),
    'corners': (fraction_corners, '(x2 - x1) * width'),
    'centres': (fraction_centres, '(x - w / 2) * width'),
}


@pytest.mark.parametrize('part', [1, 3])
@pytest.mark.parametrize('name', FRACTIONS)
def test_fractions_of_the_image_in_all_boxes_or_some(name, part):
    change, formula = FRACTIONS[name]
    boxes = boxes_of(largest=120)
    boxes[::part] = change(boxes[::part])
    split = split_of(boxes)
    (finding,) = check_boxes(split)
    assert finding.level == 'error'
    assert finding.message.startswith('40 of 120' if part > 1 else 'all')
    assert formula in finding.fix
    assert not check_scraps(split)


def test_clicks_in_the_corner_are_no_fractions():
    boxes = boxes_of()
    boxes[:2] = [[0, 0, 1, 1], [0, 0, 0, 0]]
    boxes[2:20] = [0, 0, 1.3, 0.9]
    boxes[20:27] = [0.5, 0.2, 0.8, 0.9]
    found = check_boxes(split_of(boxes))
    assert not any('fractions' in x.message for x in found)


def test_some_corners_without_masks():
    boxes = boxes_of()
    boxes[::4] = corners(boxes[::4])
    (finding,) = check_boxes(split_of(boxes))
    assert 'as [x1, y1, x2, y2] all of these would lie' in finding.message
    # Boxes that leave their images by little.
    beyond = boxes_of()
    beyond[::8, 0] = SIDE - beyond[::8, 2] + 4
    (finding,) = check_boxes(split_of(beyond))
    assert 'x1' not in finding.message

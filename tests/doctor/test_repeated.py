"""Repeated objects, and more objects than are counted."""

from pathlib import Path

import pytest

from mmdet_retina_plus.doctor.annotations import check_rotation
from mmdet_retina_plus.doctor.categories import check_references
from mmdet_retina_plus.doctor.crowding import check_crowding
from mmdet_retina_plus.doctor.repeated import check_duplicates
from mmdet_retina_plus.doctor.split import Split
from tests.helpers.case_files import coco_set


def split_of(boxes, labels=(1,), name='train'):
    """A file of one image of 96 x 80 pixels, with these objects."""
    coco = coco_set(number=1)
    coco['annotations'] = [
        {
            'id': number,
            'image_id': 1,
            'category_id': labels[number % len(labels)],
            'bbox': list(box),
            'area': box[2] * box[3],
            'iscrowd': 0,
        }
        for number, box in enumerate(boxes, 1)
    ]
    return Split(name, coco, Path(), ('cat', 'dog'))


SINGLE = [[10 * n, 5, 9, 30] for n in range(9)]
SHIFTED = [[left + 0.5, top, width, 29] for left, top, width, _ in SINGLE]


@pytest.mark.parametrize(
    ('boxes', 'labels', 'words'),
    [
        (SINGLE + SHIFTED, (1,), '18 of 18 objects have nearly the box'),
        (SINGLE + SHIFTED[:1], (1,), ''),
        (SINGLE + SINGLE, (1,), '9 objects repeat the box'),
        # An object may contain one of another class, but not in the same box.
        (SINGLE + SHIFTED, (1,) * 9 + (2,) * 9, ''),
        (SINGLE + SINGLE, (1,) * 9 + (2,) * 9, 'another class (cat, dog)'),
    ],
)
def test_two_people_annotated_the_same_objects(boxes, labels, words):
    found = check_duplicates(split_of(boxes, labels))
    assert bool(found) == bool(words)
    assert words in ''.join(x.message for x in found)


COCO = {'val_evaluator': {'type': 'CocoMetric'}}
TINY = [[n % 16 * 6, n // 16 * 6, 4, 4] for n in range(150)]


@pytest.mark.parametrize(
    ('cfg', 'labels', 'message', 'fix'),
    [
        (COCO, (1,), 'it is 0.66 at best', "save_best='coco/bbox_mAP_50'"),
        # 75 per class are fewer than 100.
        (COCO, (1, 2), '', ''),
        (
            {'model': {'test_cfg': {'max_per_img': 100}}},
            (1, 2),
            '33% of all objects cannot be found',
            'model.test_cfg.max_per_img=200',
        ),
        ({'model': {'test_cfg': {'max_per_img': 300}}}, (1,), '', ''),
    ],
)
def test_more_objects_than_are_counted(cfg, labels, message, fix):
    found = check_crowding(cfg, [split_of(TINY, labels, 'val')])
    assert bool(found) == bool(message)
    assert message in ''.join(x.message for x in found)
    assert fix in ''.join(x.fix for x in found)
    assert check_crowding(cfg, [split_of(TINY, labels)]) == []


BESIDE = [[12 * n, 5, 20, 30] for n in range(6)]
NMS = {'type': 'nms', 'iou_threshold': 0.2}


@pytest.mark.parametrize(
    ('nms', 'labels', 'fix'),
    [
        (NMS, (1,), 'iou_threshold=0.4'),
        (NMS, (1, 2), ''),
        (NMS | {'class_agnostic': True}, (1, 2), 'class_agnostic=False'),
        (NMS | {'iou_threshold': 0.5}, (1,), ''),
        (NMS | {'type': 'soft_nms'}, (1,), ''),
    ],
)
def test_objects_that_nms_takes_for_one(nms, labels, fix):
    cfg = {'model': {'test_cfg': {'nms': nms}}}
    found = check_crowding(cfg, [split_of(BESIDE, labels, 'val')])
    assert bool(found) == bool(fix)
    assert fix in ''.join(x.fix for x in found)


def test_boxes_in_another_format_do_not_overlap():
    cfg = {'model': {'test_cfg': {'nms': NMS}}}
    fractions = [[n / 100 for n in box] for box in BESIDE]
    assert check_crowding(cfg, [split_of(fractions, name='val')]) == []


def test_a_query_finds_one_object():
    cfg = {'model': {'num_queries': 100}}
    (finding,) = check_crowding(cfg, [split_of(TINY)])
    assert finding.fix == 'model.num_queries=200'
    assert check_crowding(cfg, [split_of(SINGLE)]) == []


@pytest.mark.parametrize(
    ('numbers', 'told'),
    [
        ([20] * 6 + [3, 5, 8, 12, 4, 7], 1),
        # One image with the most, or all with one number.
        ([20, 19, 18, 15, 12, 9, 5, 3], 0),
        ([20] * 12, 0),
        ([23] * 6 + [3, 5, 8, 12, 4, 7], 0),
        ([20] * 6 + [19, 18, 18, 17, 17, 16], 0),
    ],
)
def test_an_export_that_ends_at_a_round_number(numbers, told):
    coco = coco_set(number=len(numbers))
    coco['annotations'] = [
        {
            'id': 100 * image + at,
            'image_id': image,
            'category_id': 1,
            'bbox': [4 * at, image, 3, 3],
            'area': 9,
            'iscrowd': 0,
        }
        for image, number in enumerate(numbers, 1)
        for at in range(number)
    ]
    split = Split('train', coco, Path(), ('cat', 'dog'))
    found = check_crowding({}, [split])
    assert ['exactly 20 objects' in x.message for x in found] == [True] * told


def test_a_rotation_that_bbox_does_not_have():
    split = split_of(SINGLE)
    for number, annotation in enumerate(split.annotations):
        annotation['attributes'] = {'rotation': 30.0 * (number < 4)}
    (finding,) = check_rotation(split)
    assert finding.message.startswith('4 annotations have a rotation')
    for annotation in split.annotations:
        annotation['attributes'] = {'rotation': 0.0, 'occluded': False}
    assert check_rotation(split) == []


@pytest.mark.parametrize(
    ('key', 'name', 'fix'),
    [
        ('category', 'cat', '"category_id": 1 in place of \'cat\''),
        ('image', '0.png', '"image_id": 1 in place of \'0.png\''),
    ],
)
def test_names_in_place_of_ids(key, name, fix):
    split = split_of(SINGLE)
    for annotation in split.annotations:
        annotation[f'{key}_id'] = name
    (finding,) = check_references(split)
    assert finding.fix.startswith(fix)

"""One fault at a time in an annotation file, and its finding."""

import copy
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mmdet_retina_plus.doctor import images
from mmdet_retina_plus.doctor.annotations import (
    check_annotations,
    check_federated,
    check_groups,
    check_rotation,
)
from mmdet_retina_plus.doctor.split import Split

COCO = {
    'images': [
        {'id': 1, 'file_name': 'a.png', 'width': 64, 'height': 48},
        {'id': 2, 'file_name': 'b.jpg', 'width': 64, 'height': 48},
        {'id': 3, 'file_name': 'c.png', 'width': 64, 'height': 48},
    ],
    'annotations': [
        {
            'id': number,
            'image_id': image,
            'category_id': category,
            'bbox': [5.0, 5.0, 20.0, 10.0],
            'area': 200,
            'iscrowd': 0,
        }
        for number, image, category in [(1, 1, 3), (2, 2, 7), (3, 2, 3)]
    ],
    'categories': [{'id': 3, 'name': 'cat'}, {'id': 7, 'name': 'dog'}],
}


@pytest.fixture
def split(tmp_path):
    image = np.random.default_rng(0).integers(255, size=(48, 64, 3), dtype='B')
    for name in ('a.png', 'b.jpg', 'c.png'):
        cv2.imwrite(str(tmp_path / name), image)
    return Split(
        'train',
        copy.deepcopy(COCO),
        tmp_path,
        ('cat', 'dog'),
        pipeline=[{'type': 'LoadImageFromFile'}],
    )


def problems(split):
    split = replace(split)  # A new split, whose columns are not cached yet.
    looks = images.look_at_images([split], fast=False)
    findings = check_annotations(split)
    findings += [x for check in images.CHECKS for x in check(split, looks)]
    return [finding for finding in findings if finding.level != 'ok']


def only_problem(split):
    (finding,) = problems(split)
    assert finding.fix
    return finding


def test_a_correct_file_has_no_problem(split):
    assert not problems(split)


@pytest.mark.parametrize('left_out', [True, False])
def test_empty_images_are_counted(split, left_out):
    ids = frozenset({1, 2} if left_out else {1, 2, 3})
    split = replace(split, kept_images=ids)
    messages = [x.message for x in check_annotations(split)]
    (message,) = [x for x in messages if 'keeps 3 of 3 objects' in x]
    fate = 'in 2 of 3 images' if left_out else '1 of them has none and is used'
    assert message.endswith(fate)


@pytest.mark.parametrize(
    ('classes', 'level', 'words'),
    [
        ('cat', 'error', "classes=('cat',)"),
        (('person', 'car'), 'error', 'AP stays 0'),
        (('cat', 'bird', 'dog'), 'error', 'called bird'),
        (('cat',), 'warning', '1 of another category'),
        (('dog', 'cat'), 'error', 'order'),
    ],
)
def test_classes_that_do_not_fit_the_categories(split, classes, level, words):
    finding = only_problem(replace(split, classes=classes))
    assert finding.level == level
    assert words in finding.message + finding.fix
    assert "classes=('cat'," in finding.fix


@pytest.mark.parametrize('key', ['image_id', 'category_id'])
def test_unknown_references(split, key):
    split.coco['annotations'][1][key] = 99
    finding = only_problem(split)
    assert finding.message.startswith(f'1 annotation has an unknown {key}')
    assert finding.message.endswith('ids 2')


@pytest.mark.parametrize(
    'bbox',
    [
        None,
        [1, 2, 3],
        ['a', 0, 1, 1],
        [0, 0, float('nan'), 1],
        [0, 0, 10**400, 1],
    ],
)
def test_boxes_that_are_no_boxes(split, bbox):
    split.coco['annotations'][0]['bbox'] = bbox
    finding = only_problem(split)
    assert finding.level == 'error'
    assert '[left, top, width, height]' in finding.fix


@pytest.mark.parametrize(
    ('bbox', 'area'),
    [
        ([5, 5, 0, 10], 1),
        ([5, 5, -3, 10], 30),
        ([5, 5, 0.5, 10], 5),
        ([64, 0, 5, 5], 25),
        ([-9, 0, 5, 5], 25),
        ([5, 5, 5, 5], 0),
    ],
)
def test_boxes_that_mmdet_drops(split, bbox, area):
    split.coco['annotations'][0].update(bbox=bbox, area=area)
    message = only_problem(split).message
    assert 'keeps 2 of 3 objects' in message
    assert message.endswith('ids 1')


def test_boxes_that_leave_the_image(split):
    split.coco['annotations'][0]['bbox'] = [30, 30, 40, 40]
    assert 'leaves the image' in only_problem(split).message


def test_boxes_on_the_edge_are_fine(split):
    split.coco['annotations'][0]['bbox'] = [-0.5, 0, 64.9, 48]
    assert not problems(split)


def test_all_images_empty(split):
    for annotation in split.coco['annotations']:
        annotation['bbox'] = [0, 0, 0, 0]
    messages = [x.message for x in problems(split)]
    assert any('keeps 0 of 3 objects' in message for message in messages)
    split.coco['annotations'] = []
    split = replace(split)
    assert 'keeps 0 of 0 objects' in only_problem(split).message


def test_missing_images_are_counted_and_named(split, tmp_path):
    (tmp_path / 'a.png').unlink()
    finding = only_problem(split)
    assert finding.message.startswith('1 of 3 image files')
    assert 'a.png' in finding.message
    assert str(tmp_path) in finding.fix


@pytest.mark.parametrize('name', ['a.png', 'b.jpg'])
@pytest.mark.parametrize('share', [0, 0.8])
def test_truncated_images(split, tmp_path, name, share):
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    finding = only_problem(split)
    assert 'truncated' in finding.message
    assert name in finding.message


def test_an_empty_file_of_any_format(split, tmp_path):
    split.coco['images'][0]['file_name'] = 'c.bmp'
    (tmp_path / 'c.bmp').touch()
    assert 'c.bmp' in only_problem(split).message


SCORING = {
    'no iscrowd': (lambda x: x.pop('iscrowd'), 'error', '"iscrowd": 0'),
    'iscrowd null': (lambda x: x.update(iscrowd=None), 'error', 'iscrowd'),
    'id 0': (lambda x: x.update(id=0), 'warning', 'starting at 1'),
    'text as id': (lambda x: x.update(id='a'), 'error', 'starting at 1'),
}


@pytest.mark.parametrize('case', SCORING)
def test_what_only_scoring_reads(split, case):
    change, level, fix = SCORING[case]
    change(split.coco['annotations'][0])
    assert not problems(split)
    for name in ('val', 'test 2'):
        finding = only_problem(replace(split, name=name))
        assert finding.level == level
        assert fix in finding.fix


FLAGS = {
    'CVAT': {'attributes': {'is_group': True}},
    'text': {'attributes': {'IsGroupOf': 'True'}},
    'Open Images': {'isgroupof': 1},
    'attribute': {'attributes': {'iscrowd': 1}},
}


@pytest.mark.parametrize('name', FLAGS)
def test_groups_that_are_no_crowds(split, name):
    annotations = split.coco['annotations']
    single = [x | {'id': x['id'] + 3} for x in annotations]
    for at, annotation in enumerate(single):
        annotation['bbox'] = [40.0, 5.0 + 14 * at, 20.0, 10.0]
    for annotation in annotations:
        annotation.update(FLAGS[name])
    assert not problems(split)  # A flag of all objects has another meaning.
    annotations += single
    finding = only_problem(split)
    assert finding.level == 'warning'
    assert '"iscrowd": 1' in finding.fix
    for annotation in annotations[1:3]:
        annotation['iscrowd'] = 1
    assert check_groups(replace(split)) == []


def test_flags_that_are_false_and_other_attributes_are_no_groups(split):
    attributes = {'is_group': False, 'group_id': 1, 'crowded': 1, 'score': []}
    for annotation in split.coco['annotations']:
        annotation.update(attributes=attributes, isgroupof='0')
    assert not problems(split)
    # Objects that a crowd of people hides.
    annotations = split.coco['annotations']
    annotations += [x | {'attributes': {'crowd': 1}} for x in annotations]
    assert check_groups(replace(split)) == []


def test_images_in_which_only_some_categories_are_labelled(split):
    for image in split.coco['images']:
        image.update(neg_category_ids=[], not_exhaustive_category_ids=[])
    assert not problems(split)
    split.coco['images'][0]['neg_category_ids'] = [2]
    finding = only_problem(split)
    assert 'learns them as background' in finding.message
    assert 'LVIS' not in finding.fix
    (finding,) = check_federated(replace(split, name='val'))
    assert "val_evaluator.type='LVISMetric'" in finding.fix
    # It is LVIS, or a class of a user that reads these keys.
    assert not problems(replace(split, dataset='LVISV1Dataset'))


def test_a_box_around_rotated_corners_is_right(split):
    for annotation in split.coco['annotations']:
        x, y, w, h = annotation['bbox']
        diamond = [x, y + h / 2, x + w / 2, y, x + w, y + h / 2, x, y + h]
        annotation.update(
            attributes={'rotation': 45.0}, segmentation=[diamond]
        )
    assert check_rotation(split) == []
    split.coco['annotations'][0]['segmentation'] = []
    (finding,) = check_rotation(split)
    assert finding.message.startswith('1 annotation has a rotation')

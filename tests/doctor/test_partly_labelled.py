"""Objects that are merged, or labelled only in a part of the data."""

from pathlib import Path

import pytest

from mmdet_retina_plus.doctor.annotations import check_kept
from mmdet_retina_plus.doctor.categories import check_parts
from mmdet_retina_plus.doctor.consistency import check_labels
from mmdet_retina_plus.doctor.segmentations import check_segmentations
from mmdet_retina_plus.doctor.split import Split

LOAD = [{'type': 'LoadAnnotations', 'with_mask': True}]
CLASSES = ('cat', 'dog')


def square(left):
    return [left, 10, left + 10, 10, left + 10, 20, left, 20]


def split_of(name, labels, parts=(10,), path='', **fields):
    """A data set of one image for each list of labels."""
    pairs = [(image, x) for image, own in enumerate(labels) for x in own]
    width = parts[-1] + 10 - parts[0]
    coco = {
        'images': [
            {'id': at, 'file_name': f'{at}.png', 'width': 99, 'height': 99}
            for at in range(len(labels))
        ],
        'annotations': [
            {
                'id': number,
                'image_id': image,
                'category_id': label,
                'bbox': [parts[0], 10, width, 10],
                'area': 100,
                'iscrowd': 0,
                'segmentation': [square(left) for left in parts],
            }
            for number, (image, label) in enumerate(pairs)
        ],
        'categories': [{'id': n, 'name': x} for n, x in enumerate(CLASSES)],
    }
    fields = {'classes': CLASSES, 'pipeline': LOAD} | fields
    return Split(name, coco, Path(), path=path, **fields)


def test_a_part_without_a_class_that_another_part_has():
    parts = [split_of(f'train {n}', [[n]] * 20, path=f'{n}') for n in (0, 1)]
    first, second = check_parts(parts)
    assert 'no object of dog' in first.message
    assert second.subject == 'train 1 data'
    assert 'no object of cat' in second.message


@pytest.mark.parametrize('labels', [[[0]] * 20 + [[0, 1]], [[0, 1]] * 20])
def test_parts_with_the_same_or_rare_classes_are_fine(labels):
    parts = [split_of('train 1', [[0]] * 20), split_of('train 2', labels)]
    if labels[0] == [0, 1]:
        parts[0] = split_of('train 1', labels)
    assert check_parts(parts) == []


def test_a_set_without_metainfo_does_not_list_its_categories_otherwise():
    other = split_of(
        'train 2', [[0]], classes=('person',), names_classes=False
    )
    assert check_labels([split_of('train 1', [[0]]), other]) == []


def test_one_annotation_for_all_objects_of_a_class():
    merged = split_of('train', [[0, 1]] * 20, parts=(10, 60))
    (finding,) = check_segmentations(merged)
    assert finding.level == 'warning'
    assert 'no image has two objects of a class' in finding.message
    near = split_of('train', [[0, 1]] * 20, parts=(10, 22))
    assert check_segmentations(near) == []
    several = split_of('train', [[0, 0]] * 20, parts=(10, 60))
    assert check_segmentations(several) == []


def test_half_of_the_images_without_objects():
    (finding,) = check_kept(split_of('train', [[0]] * 15 + [[]] * 25))
    assert finding.level == 'warning'
    assert '25 of them have none' in finding.message
    (finding,) = check_kept(split_of('train', [[0]] * 25 + [[]] * 15))
    assert finding.level == 'ok'

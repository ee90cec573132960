"""Objects that are merged, or labelled only in a part of the data."""

import pytest

from mmdet_retina_plus.doctor.annotations import check_kept
from mmdet_retina_plus.doctor.box_formats import check_whole_images
from mmdet_retina_plus.doctor.categories import (
    check_ignored_classes,
    check_parts,
)
from mmdet_retina_plus.doctor.consistency import check_labels
from mmdet_retina_plus.doctor.segmentations import check_segmentations
from tests.helpers.labelled_sets import labelled

LOAD = [{'type': 'LoadAnnotations', 'with_mask': True}]


def square(left):
    return [left, 10, left + 10, 10, left + 10, 20, left, 20]


def split_of(name, labels, parts=(10,), **fields):
    """A data set whose objects have a square at each left edge."""
    box = [parts[0], 10, parts[-1] + 10 - parts[0], 10]
    fields = {'pipeline': LOAD} | fields
    return labelled(
        name, labels, box, polygons=list(map(square, parts)), **fields
    )


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


@pytest.mark.parametrize(
    ('name', 'told'),
    [('DontCare', True), ("don't care", True), ('care', False)],
)
def test_a_class_of_regions_to_ignore(name, told):
    split = labelled('train', [[0, 1]] * 3, classes=('cat', name))
    split.coco['categories'][1]['name'] = name
    found = check_ignored_classes(split)
    assert [x.level for x in found] == ['warning'] * told
    # A class without objects has its own finding.
    bare = labelled('train', [[0]] * 3, classes=('cat', name))
    assert check_ignored_classes(bare) == []


def test_boxes_of_whole_images_are_labels_of_a_classifier():
    (finding,) = check_whole_images(
        labelled('train', [[0]] * 10, (0, 0, 99, 99))
    )
    assert finding.level == 'warning'
    assert check_whole_images(labelled('train', [[0]] * 10)) == []


def test_images_without_objects_that_training_drops():
    split = split_of(
        'train',
        [[0]] * 3 + [[]],
        kept_images=frozenset(range(3)),
        filter_cfg={'filter_empty_gt': True},
    )
    (finding,) = check_kept(split)
    assert finding.level == 'ok'
    assert 'filter_empty_gt drops 1 image without objects' in finding.message

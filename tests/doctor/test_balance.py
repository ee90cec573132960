"""Training and validation files that hold different objects."""

from dataclasses import replace

import pytest

from mmdet_retina_plus.doctor.balance import (
    Pair,
    check_balance,
    check_together,
)
from tests.helpers.labelled_sets import labelled

RESIZE = {'type': 'Resize', 'scale': (200, 200), 'keep_ratio': True}


def split_of(name, counts, side=20, label=0, **fields):
    """A data set with these numbers of objects in its images."""
    labels = [[label] * number for number in counts]
    box = (9, 9, side, side)
    return labelled(name, labels, box, 200, pipeline=[RESIZE], **fields)


def split_again(split):
    """The data set of a file that was changed."""
    return replace(split, coco=split.coco)


@pytest.mark.parametrize(
    ('train', 'val', 'subject', 'part'),
    [
        ([1, 1, 1, 0, 0], [1] * 19 + [0], 'train data', 'background'),
        ([1] * 19 + [0], [1, 1, 1, 0, 0], 'val data', 'false positives'),
        ([2], [9], 'train data', 'background'),
        ([9], [2], 'val data', 'false positives'),
        # Annotations by image_id, of which the last overwrote the others.
        ([1], [1, 2, 3, 1], 'train data', 'single object'),
        ([1, 2, 3, 1], [1], 'val data', 'single object'),
    ],
)
def test_one_set_may_be_labelled_only_in_part(train, val, subject, part):
    train = split_of('train', train * (200 // len(train)))
    val = split_of('val', val * (40 // len(val)))
    (finding,) = check_balance([train, val])
    assert (finding.level, finding.subject) == ('warning', subject)
    assert part in finding.message


@pytest.mark.parametrize(
    ('train', 'val'),
    [
        # A tenth without objects, by chance none or a quarter of a few.
        ([1] * 9 + [0], [1] * 20),
        ([1] * 9 + [0], [1] * 15 + [0] * 5),
        ([1, 2, 5], [1, 5, 9]),
        ([1], [9] * 6),
        # Most images have one object in both.
        ([1], [1] * 18 + [2] * 2),
        ([1] * 9 + [2], [1] * 20),
    ],
)
def test_differences_by_chance_are_fine(train, val):
    train = split_of('train', train * 20)
    assert check_balance([train, split_of('val', val)]) == []


def test_a_filter_may_drop_images_without_objects():
    train = split_of('train', [1, 1, 1, 0, 0] * 40)
    full = frozenset(x['image_id'] for x in train.annotations)
    kept = split_of('train', [1, 1, 1, 0, 0] * 40, kept_images=full)
    val = split_of('val', [1] * 40)
    assert check_balance([train, val]) != []
    assert check_balance([kept, val]) == []


def test_unlabelled_data_of_semi_supervised_training_are_fine():
    splits = [
        split_of('train 1', [1] * 40),
        split_of('train 2', [0] * 40),
        split_of('val', [1] * 40),
    ]
    assert check_balance(splits) == []


def test_objects_of_validation_that_are_much_larger():
    splits = [split_of('train', [1] * 40), split_of('val', [1] * 40, side=90)]
    (finding,) = check_balance(splits)
    assert 'sides of 90 pixels' in finding.message
    assert check_balance([splits[0], split_of('val', [1] * 40, side=40)]) == []


def test_a_common_class_that_validation_lacks():
    labels = [[0]] * 40 + [[1]] * 40
    train = labelled('train', labels, side=200, pipeline=[RESIZE])
    (finding,) = check_balance([train, split_of('val', [1] * 80)])
    assert 'is of dog, as 50% of the training objects' in finding.message
    assert check_balance([train, split_of('val', [1] * 40)]) == []


def test_single_objects_of_validation_that_are_crowds():
    train, val = split_of('train', [1] * 80), split_of('val', [1] * 40)
    assert check_balance([train, val]) == []
    for annotation in val.annotations[::3]:
        annotation['iscrowd'] = 1
    (finding,) = check_balance([train, split_again(val)])
    assert '14 of its 40 objects are marked "iscrowd"' in finding.message
    # As in COCO, where both sets have some.
    for annotation in train.annotations[::4]:
        annotation['iscrowd'] = 1
    assert check_balance([split_again(train), split_again(val)]) == []
    for annotation in (*val.annotations[::2], *train.annotations[::2]):
        annotation['iscrowd'] = 1
    (finding,) = check_balance([split_again(train), split_again(val)])
    assert '27 of its 40 objects are marked "iscrowd"' in finding.message


def mixed(name, labels, **fields):
    box = (9, 9, 20, 20)
    return labelled(name, labels, box, 200, pipeline=[RESIZE], **fields)


@pytest.mark.parametrize(
    ('train', 'val', 'told'),
    [
        ([[0, 0], [1]], [[0, 1]], True),
        ([[0, 0], [1]], [[0, 1], [0], [1]], True),
        ([[0, 0], [1], [0, 1]], [[0, 1]], False),
        ([[0, 0], [1]], [[0], [1]], False),
        # Crops or renders of single objects.
        ([[0], [1]], [[0, 1]], False),
    ],
)
def test_parts_of_one_file_that_label_different_classes(train, val, told):
    train = mixed('train', train * 30, path='train.json')
    (*found,) = check_together(Pair(mixed('val', val * 10), [train]))
    assert [x.subject for x in found] == ['train data'] * told
    assert all('both cat and dog' in x.message for x in found)


def test_few_images_that_might_have_two_classes_are_chance():
    few = mixed('train', [[0, 0]] * 80 + [[1]] * 12)
    val = mixed('val', [[0, 1]] * 10)
    assert check_together(Pair(val, [few])) == []
    train = mixed('train', [[0, 0], [1]] * 30)
    assert check_together(Pair(mixed('val', [[0, 1]] * 9), [train])) == []

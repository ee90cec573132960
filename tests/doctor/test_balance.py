"""Training and validation files that hold different objects."""

from pathlib import Path

import numpy as np
import pytest

from mmdet_retina_plus.doctor.balance import check_balance
from mmdet_retina_plus.doctor.split import Split

CLASSES = ('cat', 'dog')
RESIZE = {'type': 'Resize', 'scale': (200, 200), 'keep_ratio': True}


def split_of(name, counts, side=20, label=0, **fields):
    """A data set with these numbers of objects in its images."""
    rng = np.random.default_rng(len(counts))
    pairs = [at for at, number in enumerate(counts) for _ in range(number)]
    coco = {
        'images': [
            {'id': at, 'file_name': f'{at}.png', 'width': 200, 'height': 200}
            for at in range(len(counts))
        ],
        'annotations': [
            {
                'id': number,
                'image_id': image,
                'category_id': label,
                'bbox': [*rng.uniform(0, 99, 2).tolist(), side, side],
                'area': side**2,
                'iscrowd': 0,
            }
            for number, image in enumerate(pairs)
        ],
        'categories': [{'id': n, 'name': x} for n, x in enumerate(CLASSES)],
    }
    fields = {'classes': CLASSES, 'pipeline': [RESIZE]} | fields
    return Split(name, coco, Path(), **fields)


def joined(one, other):
    """A data set with the objects of two, of other images."""
    number = len(one.images)
    for image in other.images:
        image['id'] += number
    for annotation in other.annotations:
        annotation['image_id'] += number
    for key in ('images', 'annotations'):
        one.coco[key].extend(other.coco[key])
    return one


@pytest.mark.parametrize(
    ('train', 'val', 'subject', 'part'),
    [
        ([1, 1, 1, 0, 0], [1] * 19 + [0], 'train data', 'background'),
        ([1] * 19 + [0], [1, 1, 1, 0, 0], 'val data', 'false positives'),
        ([2], [9], 'train data', 'background'),
        ([9], [2], 'val data', 'false positives'),
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
    train = joined(
        split_of('train', [1] * 40), split_of('train', [1] * 40, label=1)
    )
    (finding,) = check_balance([train, split_of('val', [1] * 80)])
    assert 'is of dog, as 50% of the training objects' in finding.message
    assert check_balance([train, split_of('val', [1] * 40)]) == []

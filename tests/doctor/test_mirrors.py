"""Flips and changes of colour that exchange classes."""

from types import SimpleNamespace

import pytest

from mmdet_retina_plus.doctor.mirrors import (
    check_mirrors,
    coloured,
    twins,
)


def found(classes, step):
    steps = [{'type': 'RandomApply', 'transforms': [step]}]
    cfg = {'train_dataloader': {'dataset': {'pipeline': steps}}}
    splits = [SimpleNamespace(trains=True, classes=classes)]
    return check_mirrors(cfg, splits)


ARROWS = ('arrow_left', 'tree', 'arrow_right')
LAMPS = ('lamp top', 'lamp bottom')


@pytest.mark.parametrize(
    ('classes', 'step', 'name'),
    [
        (ARROWS, {'type': 'RandomFlip', 'prob': 0.5}, 'prob'),
        (
            ARROWS,
            {
                'type': 'mmdet.RandomFlip',
                'prob': [0.3, 0.2],
                'direction': ['vertical', 'diagonal'],
            },
            'prob',
        ),
        (LAMPS, {'type': 'VerticalFlip', 'p': 0.5}, 'p'),
    ],
)
def test_a_flip_keeps_the_label_of_a_mirrored_class(classes, step, name):
    (finding,) = found(classes, step)
    key = 'train_dataloader.dataset.pipeline.0.transforms.0'
    assert (finding.level, finding.subject) == ('warning', key)
    assert finding.fix.startswith(f'{key}.{name}=0.0')


@pytest.mark.parametrize(
    ('classes', 'step'),
    [
        (ARROWS, {'type': 'RandomFlip', 'prob': 0.0}),
        (ARROWS, {'type': 'RandomFlip', 'prob': 1, 'direction': 'vertical'}),
        (LAMPS, {'type': 'RandomFlip', 'prob': 0.5}),
        (('left', 'tree'), {'type': 'RandomFlip', 'prob': 0.5}),
        (('cat', 'dog'), {'type': 'RandomFlip', 'prob': 0.5}),
    ],
)
def test_a_flip_that_exchanges_no_class_is_fine(classes, step):
    assert found(classes, step) == []


@pytest.mark.parametrize(
    'classes',
    [('left hand', 'right hand'), ('HandLeft', 'HandRight'), ('L', 'R')],
)
def test_sides_are_words_of_a_name(classes):
    assert twins(classes, 'horizontal') == classes
    assert twins(('cleft', 'cright'), 'horizontal') is None


@pytest.mark.parametrize(
    ('classes', 'pair'),
    [
        (('red', 'blue'), ('red', 'blue')),
        (('car', 'green_light', 'RedLight'), ('green_light', 'RedLight')),
        # Another word tells them apart too.
        (('red apple', 'green pear'), ()),
        (('orange', 'apple'), ()),
    ],
)
def test_colours_that_are_exchanged_keep_their_label(classes, pair):
    assert coloured(classes) == pair
    (*told,) = found(classes, {'type': 'PhotoMetricDistortion'})
    assert [x.level for x in told] == ['warning'] * bool(pair)
    assert found(classes, {'type': 'YOLOXHSVRandomAug'}) == []

"""Laws of names for points."""

import pytest
from hypothesis import given

from mmdet_retina_plus.sweeps.point_labels import (
    clip_labels,
    identity,
    label_points,
    short_keys,
    short_labels,
    without_shared,
)
from tests.sweeps.sweep_results import ANY_POINTS


def test_labels_tell_points_apart_and_no_more():
    scales = [(667, 400), (833, 500)]
    points = [
        {f'{part}.pipeline.2.scale': scale for part in ('train', 'val')}
        | {'model.type': 'RetinaNet'}
        for scale in scales
    ]
    assert label_points(points) == [
        'train.pipeline.2.scale=(667, 400)',
        'train.pipeline.2.scale=(833, 500)',
    ]
    assert label_points([*points[:1], {}])[1] == 'as in the config'


def test_configs_are_shown_by_their_names():
    points = [dict(config=f'/home/me/{name}.py', lr=1) for name in 'ab']
    assert label_points(points) == ['config=a', 'config=b']
    assert short_labels(points) == ['config=a', 'config=b']
    folds = [dict(config=f'/data/{fold}/c.py') for fold in ('one', 'two')]
    assert label_points(folds) == ['config=one/c', 'config=two/c']


@pytest.mark.parametrize(
    ('texts', 'short'),
    [
        (['1', '2'], ['1', '2']),
        (['a longer path to x', 'a longer path to y'], ['…x', '…y']),
        (['dict(std=0.01, b=1)', 'dict(std=0.02, b=1)'], ['…0.01…', '…0.02…']),
        (['the very same word', 'the very same'], ['…same word', '…same']),
        (['[-0.125, 0.25, 1]', '[0.125, 0.25, 1]'], ['…-0.125…', '…0.125…']),
        (['the very same text'] * 2, ['the very same text'] * 2),
    ],
)
def test_long_values_are_shown_by_the_words_that_differ(texts, short):
    assert without_shared(texts) == short


@given(ANY_POINTS)
def test_points_that_differ_have_short_labels_that_do(points):
    points = list({identity(point): point for point in points}.values())
    assert len(set(short_labels(points))) == len(points)


def test_short_keys_are_the_shortest_that_differ():
    keys = ['neck.type', 'head.loss.type', 'head.gamma', 'pipeline.2', 'a..']
    assert list(short_keys(keys).values()) == [
        'neck.type',
        'loss.type',
        'gamma',
        'pipeline.2',
        'a..',
    ]


def test_long_labels_stay_apart():
    texts = [f'{"a" * 40}{middle}{"b" * 40}' for middle in 'xyz']
    clipped = clip_labels([*texts, 'short'])
    assert len(set(clipped)) == 4
    assert max(map(len, clipped)) <= 50

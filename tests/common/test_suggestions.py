"""The name that was meant."""

import pytest

from mmdet_retina_plus.common.suggestions import (
    did_you_mean,
    hint,
    near_name,
)

KNOWN = ('model', 'mode', 'train_dataloader', 'val_dataloader')


@pytest.mark.parametrize(
    ('name', 'most', 'expected'),
    [
        ('modell', 1, '; did you mean model?'),
        ('modell', 2, '; did you mean model, mode?'),
        ('tain_dataloader', 1, '; did you mean train_dataloader?'),
        ('optimizer', 3, ''),
        ('', 1, ''),
    ],
)
def test_similar_names_are_given_nearest_first(name, most, expected):
    assert did_you_mean(name, KNOWN, most) == expected
    assert did_you_mean(name, iter(KNOWN), most) == expected


def test_always_gives_names_that_are_not_similar():
    assert did_you_mean('zzz', KNOWN) == ''
    hint = did_you_mean('zzz', KNOWN, most=3, always=True)
    assert hint.count(',') == 2


def test_one_name_to_put_into_a_fix():
    assert near_name('modell', KNOWN) == 'model'
    assert near_name('zzz', KNOWN) == ''
    assert near_name('zzz', KNOWN, always=True) in KNOWN
    assert hint(near_name('modell', KNOWN)) == did_you_mean('modell', KNOWN)
    assert hint(near_name('zzz', KNOWN)) == ''


def test_of_nothing_there_is_no_hint():
    assert did_you_mean('model', []) == ''
    assert did_you_mean('model', [], always=True) == ''

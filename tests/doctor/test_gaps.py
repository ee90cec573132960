"""Faults that once passed, or got advice that makes them worse."""

import json

import pytest

from mmdet_retina_plus.doctor.annotations import shift_of
from tests.helpers.case_files import Case

TRAIN = 'train_dataloader.dataset'


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


@pytest.mark.parametrize(
    ('seen', 'there', 'shift'),
    [
        ([1, 2, 4], {1, 2, 3, 5}, 0),
        ([1, 2, 4], {0, 1, 2, 3}, 0),
        ([0, 1, 2], {1, 2, 3}, 1),
        ([0, 2], {1, 2, 3}, 1),
        ([2, 3], {1, 2}, -1),
    ],
)
def test_a_gap_in_a_list_of_categories_is_no_shift(seen, there, shift):
    assert shift_of('category', seen, there) == shift

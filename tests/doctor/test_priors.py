"""Objects that no point of a detector lies in."""

import pytest
from mmdet.models.task_modules import MlvlPointGenerator

from mmdet_retina_plus.doctor.priors import check_points
from tests.doctor.test_anchors import split_of

POINTS = MlvlPointGenerator([8, 16])
"""Points at 4, 12, 20, … pixels."""


@pytest.mark.parametrize(
    ('boxes', 'level'),
    [
        # Between two points; around one.
        ([(5, 5, 6, 6)], 'error'),
        ([(5, 5, 6, 6), (3, 3, 2, 2)], 'warning'),
        ([(3, 5, 6, 6)], 'error'),
        ([(3, 3, 2, 2), (40, 40, 40, 40)], 'ok'),
    ],
)
def test_objects_between_points(boxes, level):
    (finding,) = check_points(split_of(*boxes), POINTS)
    assert finding.level == level


def test_larger_images_have_points_in_every_object():
    double = {'type': 'Resize', 'scale_factor': 2.0, 'keep_ratio': True}
    split = split_of((5, 5, 6, 6), pipeline=[double])
    (finding,) = check_points(split, POINTS)
    assert finding.level == 'ok'

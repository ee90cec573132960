from math import nan

from training import summary


def test_a_metric_that_a_side_does_not_have_is_left_blank():
    """A RetinaNet beside a RetinaMask has no mask AP."""
    assert summary((nan, nan, nan)) == ''
    assert summary((0.25, 0.75)) == '0.500 (0.354)'

"""Laws of how metrics and times are shown."""

import pytest

from mmdet_retina_plus.sweeps.units import show_seconds


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(43.4, '43 s'), (725, '12 min 05 s'), (11220, '3 h 07 min')],
)
def test_times_are_easy_to_read(seconds, text):
    assert show_seconds(seconds) == text

"""Units in which metrics and times are shown."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """How a number is shown.

    Attributes:
        label: Name of the number, with the unit.
        factor: What a stored number is multiplied by before it is shown.
        pattern: Format specification, such as `.1f`.
    """

    label: str
    factor: float
    pattern: str

    def show(self, value: float) -> str:
        return format(self.factor * value, self.pattern)

    def name(self, value: float) -> str:
        """`bbox_mAP (%) 28.8`."""
        return f'{self.label} {self.show(value)}'

    def show_mean(self, mean: float, spread: float) -> str:
        """`28.8 ± 5.4`; a part that is NaN is left out."""
        return ' ± '.join(
            self.show(value)
            for value in (mean, spread)
            if not math.isnan(value)
        )


def metric_unit(metric: str) -> Unit:
    """Choose percent with one decimal for an mAP, otherwise four digits.

    `coco/bbox_mAP`, `coco/segm_mAP_50` and `pascal_voc/mAP` are mAP.
    """
    name = metric.rpartition('/')[2]
    if 'mAP' in metric:
        return Unit(f'{name} (%)', 100.0, '.1f')
    return Unit(name, 1.0, '.4g')


def time_unit(longest: float) -> Unit:
    """Choose seconds, minutes or hours by the longest time."""
    if longest < 180:
        return Unit('seconds', 1.0, '.3g')
    if longest < 180 * 60:
        return Unit('minutes', 1 / 60, '.3g')
    return Unit('hours', 1 / 3600, '.3g')


def show_seconds(seconds: float) -> str:
    """`43 s`, `12 min 05 s`, `3 h 07 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f'{rest} s'
    if minutes < 60:
        return f'{minutes} min {rest:02d} s'
    return f'{minutes // 60} h {minutes % 60:02d} min'

"""Options of commands that fuse boxes, known without importing torch."""

from math import isfinite
from typing import Any

import click

PATCH_WEIGHTS = {
    'paper': 'gaussian',
    'mdt': 'gaussian',
    'nndetection': 'plateau',
}
"""The presets of weighted box clustering, and how they weigh a tile."""


class FiniteRange(click.FloatRange):
    """Refuses NaN, too, which is neither below nor above a limit."""

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        number = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f'{value} is not a finite number.', param, ctx)
        return number


def fusion_options(
    fuse: str, preset: str | None, iou_thr: float | None
) -> dict[str, Any]:
    """Arguments of `merge_tiles`.

    Raises:
        ValueError: The preset is of another way to fuse.
    """
    if fuse == 'nms':
        if preset:
            raise ValueError('--preset is for --fuse wbc')
        return dict(
            fuse=fuse, iou_threshold=0.5 if iou_thr is None else iou_thr
        )
    from mmdet_retina_plus.fusion import WBC_PRESETS

    preset = preset or 'paper'
    options = dict(WBC_PRESETS[preset], fuse=fuse)
    options['patch_weight'] = PATCH_WEIGHTS[preset]
    if iou_thr is not None:
        options['iou_thr'] = iou_thr
    return options

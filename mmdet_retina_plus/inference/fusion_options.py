"""Arguments of `merge_tiles` from a preset and changes of it."""

from typing import Any

PRESET_WEIGHTS = {
    'paper': 'gaussian',
    'mdt': 'gaussian',
    'nndetection': 'plateau',
}
"""Presets of weighted box clustering and their patch weights.

Commands list them without importing torch, which `WBC_PRESETS` needs."""


def fusion_options(
    fuse: str, preset: str | None, iou_thr: float | None
) -> dict[str, Any]:
    """Make the arguments of `merge_tiles`.

    Args:
        fuse: 'wbc' or 'nms'.
        preset: Key of `PRESET_WEIGHTS`. None: 'paper'.
        iou_thr: IoU threshold. None: the preset's, or 0.5 with 'nms'.

    Raises:
        ValueError: A preset is given without 'wbc'.
    """
    if fuse == 'nms':
        if preset:
            raise ValueError('--preset requires --fuse wbc')
        return dict(
            fuse=fuse, iou_threshold=0.5 if iou_thr is None else iou_thr
        )
    from mmdet_retina_plus.kernels.weighted_box_clustering import (
        WBC_PRESETS,
    )

    preset = preset or 'paper'
    options = dict(WBC_PRESETS[preset], fuse=fuse)
    options['patch_weight'] = PRESET_WEIGHTS[preset]
    if iou_thr is not None:
        options['iou_thr'] = iou_thr
    return options

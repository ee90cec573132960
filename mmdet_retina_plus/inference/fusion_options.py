"""Arguments of `merge_tiles` for a preset and changes to it."""

from typing import Any

PRESET_WEIGHTS = {
    'paper': 'gaussian',
    'mdt': 'gaussian',
    'nndetection': 'plateau',
}
"""Presets of weighted box clustering, and how each weighs a tile's boxes.

A command lists them without importing torch, which `WBC_PRESETS` needs."""


def fusion_options(
    fuse: str, preset: str | None, iou_thr: float | None
) -> dict[str, Any]:
    """Arguments of `merge_tiles`.

    Args:
        fuse: 'wbc' or 'nms'.
        preset: Key of `PRESET_WEIGHTS`. None: 'paper'.
        iou_thr: None: the preset's, or 0.5 with 'nms'.

    Raises:
        ValueError: A preset is given, but not for 'wbc'.
    """
    if fuse == 'nms':
        if preset:
            raise ValueError('--preset is for --fuse wbc')
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

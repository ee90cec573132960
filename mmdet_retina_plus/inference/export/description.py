"""Metadata of an exported file, and notes for its user."""

import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mmdet_retina_plus.common.text import quantity

HOSTS = ('mmdet', 'mmcv', 'torch', 'onnx', 'onnxruntime')


def metadata(
    classes: Sequence[str],
    model: Any,
    rule: dict[str, Any],
    raw: bool,
    fp16: bool,
    tolerance: Any,
) -> dict[str, str]:
    """Make the metadata of a file, as strings or JSON."""
    test_cfg = model.bbox_head.test_cfg
    about: dict[str, Any] = dict(
        classes=list(classes),
        resize=rule,
        input='uint8 RGB, batch x height x width x 3',
        raw=raw,
        fp16=fp16,
        score_thr=test_cfg.get('score_thr', 0),
        iou_thr=test_cfg.nms.get('iou_threshold'),
        max_per_img=test_cfg.max_per_img,
        tolerance=tolerance._asdict(),
        versions=versions(),
    )
    if getattr(model, '_runs_roi_head', False) and not raw:
        about['mask_thr'] = model.roi_head.test_cfg.mask_thr_binary
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in about.items()
    }


def versions() -> dict[str, str]:
    """Versions of host packages installed under their usual names."""
    found = {}
    for name in ('mmdet_retina_plus', *HOSTS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # The fork has other names.
            continue
    return found


def notes_on(model: Any, raw: bool) -> list[str]:
    """Notes on what the file lacks."""
    notes = []
    if raw and getattr(model, '_runs_roi_head', False):
        notes.append('a raw file has no masks, which need boxes after NMS')
    if getattr(model, '_predicts_pixels', False):
        notes.append('the file leaves out pred_sem_seg')
    return notes


def notes_on_size(
    rule: dict[str, Any],
    canvas: dict[str, Any],
    sizes: Sequence[tuple[int, int]],
) -> list[str]:
    """Note that a static file pads or shrinks images.

    Args:
        rule: Resize rule of the config.
        canvas: Resize rule of the file.
        sizes: Width and height of compared images.
    """
    from .resize_rule import new_size, shrunk

    if 'pad' not in canvas:
        return []
    across, down = canvas['fit']
    padded = [
        size for size in sizes if new_size(canvas, *size) != (across, down)
    ]
    if not padded:
        return []
    factors = [shrunk(rule, canvas, *size) for size in padded]
    smaller = [factor for factor in factors if factor < 0.95]
    detail = (
        f', {len(smaller)} of them shrunk, down to {min(smaller):.2f} of the '
        "config's size"
        if smaller
        else ''
    )
    return [
        f'{len(padded)} of {quantity(len(sizes), "image")} are padded to the '
        f'canvas of {across} x {down} px{detail}: `retina-plus predict`, '
        'which does not pad, may find other boxes there; --dynamic avoids this'
    ]

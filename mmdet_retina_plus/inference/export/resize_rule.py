"""How a test pipeline resizes an image, as data that a file can carry."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
from mmdet.models import BaseDetector
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config

from mmdet_retina_plus.common.config_tree import kind
from mmdet_retina_plus.inference.image_sizes import loader_key
from mmdet_retina_plus.inference.tiled_detector import check_complete

UNCHANGED_PIXELS = ('LoadAnnotations', 'PackDetInputs', 'PaintInstances')
"""Transforms that do not change the image."""


def read_rule(cfg: Config) -> dict[str, Any]:
    """Read the resize rule of a config's test pipeline.

    Returns:
        ``dict(factor=f)``; ``dict(size=[w, h])``, which ignores the aspect
        ratio; or ``dict(fit=[w, h])``, the largest size within w x h or h x w
        that keeps it.

    Raises:
        ValueError: A transform does more than resize the image.
    """
    loader, *steps = get_test_pipeline_cfg(cfg)
    color = loader.get('color_type', 'color')
    if kind(loader) != 'LoadImageFromFile' or color != 'color':
        hint = ''
        if color == 'color_ignore_orientation':
            hint = f': --cfg-options {loader_key(cfg)}.color_type=color'
        raise ValueError(
            f'Cannot export the loader {kind(loader)} with color_type='
            f'{color}: a file takes upright 8-bit RGB images{hint}'
        )
    steps = [step for step in steps if kind(step) not in UNCHANGED_PIXELS]
    other = [kind(step) for step in steps if kind(step) != 'Resize']
    if other or len(steps) > 1:
        raise ValueError(
            f'Cannot export the test pipeline with {(other or ["Resize"])[0]}:'
            ' a file follows one Resize between loading and PackDetInputs'
        )
    if not steps:
        return dict(factor=1.0)
    return rule_of(steps[0])


def rule_of(resize: Mapping[str, Any]) -> dict[str, Any]:
    """Rule of mmdet's `Resize`.

    Raises:
        ValueError: The interpolation is not bilinear.
    """
    defaults = dict(interpolation='bilinear', backend='cv2')
    for name, usual in defaults.items():
        if resize.get(name, usual) != usual:
            raise ValueError(
                f'Cannot export Resize with {name}={resize[name]}: the '
                f'example resizes as {usual} does'
            )
    scale = resize.get('scale')
    if scale is None:
        factor = resize.get('scale_factor') or 1.0
        if isinstance(factor, Sequence):
            raise ValueError(
                'Cannot export Resize with a scale_factor of two numbers: '
                'give one'
            )
        return dict(factor=float(factor))
    sides = [scale, scale] if isinstance(scale, int) else list(scale)
    return {'fit' if resize.get('keep_ratio', False) else 'size': sides}


def with_canvas(
    rule: dict[str, Any],
    sizes: Sequence[tuple[int, int]],
    model: BaseDetector,
) -> dict[str, Any]:
    """The rule of a file for images of one size.

    Args:
        rule: Result of `read_rule`.
        sizes: Width and height of images to be resized. The canvas is wide or
            tall like most of them. If the rule has no size, it has that of the
            first.
        model: Detector whose mean colour pads images.

    Returns:
        ``fit``, width and height of the canvas, and ``pad``, the colour of
        the padding.
    """
    if 'size' in rule:
        return rule
    tall = [width < height for width, height in sizes]
    width, height = sizes[tall.index(sum(tall) > len(tall) / 2)]
    sides = rule.get('fit') or new_size(rule, width, height)
    long, short = max(sides), min(sides)
    fit = [long, short] if width >= height else [short, long]
    return dict(fit=fit, pad=mean_colour(model))


def mean_colour(model: BaseDetector) -> list[int]:
    """RGB that normalisation maps to nearly 0; black without normalisation."""
    prepare = model.data_preprocessor
    if not prepare._enable_normalize:
        return [0, 0, 0]
    colour = [round(float(value)) for value in prepare.mean.flatten()]
    return colour if prepare._channel_conversion else colour[::-1]


def read_rgb(path: Path) -> np.ndarray:
    """Read an image (H, W, 3), turned by its EXIF orientation.

    Raises:
        OSError: The file is missing, broken or truncated.
    """
    try:
        check_complete(path)
        return mmcv.imread(path, channel_order='rgb')
    except (OSError, ValueError) as error:  # Its message lacks the name.
        reason = f'{error}'
    except cv2.error:  # mmcv converts the None of a failed read.
        reason = 'OpenCV cannot read it'
    raise OSError(
        f'Cannot read {path}: {reason}; copy it again, or name other --images'
    )


def new_size(rule: dict[str, Any], width: int, height: int) -> tuple[int, int]:
    """Width and height of an image once resized."""
    if 'size' in rule:
        return tuple(rule['size'])
    if 'factor' in rule:
        factor = rule['factor']
    else:
        across, down = rule['fit']
        factor = min(across / width, down / height)
        if 'pad' not in rule:
            factor = max(factor, min(down / width, across / height))
    return int(width * factor + 0.5), int(height * factor + 0.5)


def shrunk(
    rule: dict[str, Any], canvas: dict[str, Any], width: int, height: int
) -> float:
    """Width of an image on a canvas over its width in the pipeline.

    Args:
        rule: Result of `read_rule`.
        canvas: Result of `with_canvas`.
        width: Width of the image.
        height: Height of the image.
    """
    return (
        new_size(canvas, width, height)[0] / new_size(rule, width, height)[0]
    )


def apply_rule(rule: dict[str, Any], image: np.ndarray) -> np.ndarray:
    """Resize an RGB image (H, W, 3) for a file."""
    height, width = image.shape[:2]
    resized = mmcv.imresize(image, new_size(rule, width, height))
    if 'pad' not in rule:
        return resized
    columns, rows = rule['fit']
    canvas = np.empty((rows, columns, 3), np.uint8)
    canvas[:] = rule['pad']
    canvas[: resized.shape[0], : resized.shape[1]] = resized
    return canvas

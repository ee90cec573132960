"""Boxes as the network sees them, after the resizing transforms."""

from collections.abc import Mapping, Sequence

import numpy as np

from .config_tree import kind


def is_resize(step: Mapping) -> bool:
    return kind(step).endswith('Resize')


def middle_scale(step: Mapping) -> tuple[int, int] | None:
    """Scale of a resizing transform, the middle one if it is random."""
    scale = step.get('scale', step.get('scales'))
    if scale is None:
        return None
    if isinstance(scale, int):
        return scale, scale
    if not isinstance(scale[0], int):
        scales = sorted(scale)
        if kind(step) == 'RandomResize':
            return tuple(sum(edge) // 2 for edge in zip(*scales, strict=True))
        return tuple(scales[len(scales) // 2])
    ratio = sum(step.get('ratio_range') or (1, 1)) / 2
    return int(scale[0] * ratio), int(scale[1] * ratio)


def resized(sizes: np.ndarray, pipeline: Sequence[Mapping]) -> np.ndarray:
    """Widths and heights (N, 2) after a pipeline's resizing transforms."""
    for step in pipeline:
        if not is_resize(step):
            continue
        scale = middle_scale(step)
        if scale is None:
            factors = np.broadcast_to(step.get('scale_factor', 1), (2,))
        elif step.get('keep_ratio', False):
            limits = np.array([max(scale), min(scale)])
            edges = np.sort(sizes, axis=1)[:, ::-1]
            factors = (limits / edges).min(axis=1, keepdims=True)
        else:
            sizes = np.broadcast_to(scale, sizes.shape)
            continue
        sizes = np.floor(sizes * factors + 0.5)
    return sizes


def network_boxes(
    boxes: np.ndarray,
    sizes: np.ndarray,
    pipeline: Sequence[Mapping],
    pad_size_divisor: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Scale boxes as a pipeline does, and clip them to their images.

    Crop and Pad transforms are ignored. The middle value stands for a random
    scale.

    Args:
        boxes: Left, top, right, bottom in the original image, shape (N, 4).
        sizes: Width and height of each box's image, shape (N, 2).
        pipeline: Transforms of the config.
        pad_size_divisor: Divisor of the data preprocessor.

    Returns:
        The boxes (N, 4), and the sizes (N, 2) of the padded images.
    """
    after = resized(sizes, pipeline)
    boxes = np.clip(boxes * np.tile(after / sizes, 2), 0, np.tile(after, 2))
    return boxes, np.ceil(after / pad_size_divisor) * pad_size_divisor

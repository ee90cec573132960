"""Check that images are loaded in the size that the annotation file states."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet_retina_plus.common.config_tree import kind
from mmdet_retina_plus.common.exif import (
    MIRRORED,
    ROTATED,
    UPRIGHT,
    orientation,
)

from .image_list import ListedImage


def check_size(
    image: ListedImage, shape: tuple[int, ...], loader: Mapping, key: str
) -> None:
    """Refuse an image whose size differs from the annotations.

    Args:
        image: Image with its size in the annotations, or None.
        shape: Shape of the loaded array, (H, W, ...).
        loader: First step of the test pipeline.
        key: Key of this step in the config.

    Raises:
        ValueError: The sizes differ; with the probable reason and its fix.
    """
    loaded = shape[1], shape[0]
    if image.size in (None, loaded):
        return
    width, height = image.size
    reason = 'it is another image, or a part of it: name the folder of the '
    reason += 'annotated images'
    if loaded == (height, width):
        reason = exchanged(image.path, loaded, loader, key)
    else:
        factor = loaded[0] / width
        # Sides are rounded.
        if abs(loaded[1] - factor * height) <= max(1, factor):
            reason = (
                f'it is a copy at {factor:.3g} times the size: name the '
                'folder of the annotated images, or scale the annotations'
            )
    raise ValueError(
        f'loaded as {loaded[0]} x {loaded[1]} pixels, but the annotations say '
        f'{width} x {height}; {reason}'
    )


def exchanged(
    path: Path, loaded: tuple[int, int], loader: Mapping, key: str
) -> str:
    """Reason and fix if width and height are swapped."""
    stored, turn = header(path)
    if turn not in ROTATED:
        return 'they swap width and height: correct the file'
    color_type = loader.get('color_type', 'color')
    if loaded == stored:
        color_type = color_type.removesuffix('_ignore_orientation')
        if color_type == 'unchanged':
            color_type = 'color'
        reason = 'the loader ignores'
    else:
        color_type += '_ignore_orientation'
        reason = 'the loader applies'
    fix = 'store the images upright, without this tag'
    if kind(loader) == 'LoadImageFromFile':
        fix = f'use `--cfg-options {key}.color_type={color_type}`'
    return (
        f'{reason} its EXIF orientation {turn}, unlike the annotations: {fix}'
    )


def applies_orientation(loader: Mapping) -> bool:
    """Whether a pipeline's loader turns images by their EXIF orientation."""
    return loader.get('color_type', 'color') in ('color', 'grayscale')


def is_turned_unseen(image: ListedImage, loader: Mapping) -> bool:
    """Whether the loader turns or mirrors an annotated image unnoticed."""
    if image.size is None or not applies_orientation(loader):
        return False
    (width, height), turn = header(image.path)
    return turn in MIRRORED or (turn in ROTATED and width == height)


def header(path: Path) -> tuple[tuple[int, int], int]:
    """Read the stored width and height, and the EXIF orientation.

    Returns:
        Both; (0, 0) and `UPRIGHT` for a format that Pillow does not know.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size, orientation(image)
    except (OSError, Image.DecompressionBombError):
        return (0, 0), UPRIGHT


def loader_key(cfg: Any) -> str:
    """Dotted key of the first step of mmdet's test pipeline."""
    key, dataset = 'test_dataloader.dataset', cfg.test_dataloader.dataset
    while 'pipeline' not in dataset:
        if 'dataset' in dataset:
            key, dataset = f'{key}.dataset', dataset.dataset
        else:
            key, dataset = f'{key}.datasets.0', dataset.datasets[0]
    return f'{key}.pipeline.0'

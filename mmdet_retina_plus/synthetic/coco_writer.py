"""Write generated images and their instance masks in COCO format."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from pycocotools import mask as rle_tools

from .presets import DonutPreset, Preset

SPLITS = ('train', 'val')
Draw = Callable[
    [np.random.Generator], tuple[np.ndarray, np.ndarray, np.ndarray]
]
"""Return an RGB image (H, W, 3) or a grey one (H, W), uint8, the masks
(N, H, W) bool of its objects and their labels (N,) int64. N may be 0."""
Progress = Callable[[range, str], Iterable[int]]
"""Wrap the image numbers of a split, given its name."""


def quiet(items: range, split: str) -> range:
    """Show no progress."""
    return items


def encode_mask(mask: np.ndarray) -> dict:
    """Compute box (x, y, width, height), area and RLE of a mask (H, W)."""
    rle = rle_tools.encode(np.asfortranarray(mask, np.uint8))
    return {
        'bbox': rle_tools.toBbox(rle).tolist(),
        'area': int(rle_tools.area(rle)),
        'iscrowd': 0,
        'segmentation': {
            'size': rle['size'],
            'counts': rle['counts'].decode('ascii'),
        },
    }


def write_split(
    folder: Path,
    split: str,
    indices: Iterable[int],
    draw: Draw,
    classes: Sequence[str],
    seed: int,
) -> dict:
    """Write the images of a split.

    Returns:
        Their `categories`, `images` and `annotations`.
    """
    categories = [
        {'id': number, 'name': name} for number, name in enumerate(classes, 1)
    ]
    images: list[dict] = []
    annotations: list[dict] = []
    for index in indices:
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        image, masks, labels = draw(rng)
        name = f'{split}_{index + 1:06d}.png'
        # OpenCV's order is BGR.
        pixels = image[..., ::-1] if image.ndim == 3 else image
        if not cv2.imwrite(str(folder / 'images' / name), pixels):
            raise OSError(f'Cannot write images to {folder}')
        image_id, (height, width) = index + 1, image.shape[:2]
        images.append(
            {
                'id': image_id,
                'file_name': name,
                'width': width,
                'height': height,
            }
        )
        for mask, label in zip(masks, labels, strict=True):
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image_id,
                    'category_id': categories[label]['id'],
                    **encode_mask(mask),
                }
            )
    return {
        'categories': categories,
        'images': images,
        'annotations': annotations,
    }


def write_set(
    out: str | Path,
    draw: Draw,
    style: Preset | DonutPreset,
    counts: tuple[int, int],
    seed: int,
    description: str,
    progress: Progress = quiet,
) -> None:
    """Write `images/`, `instances_train.json` and `instances_val.json`.

    An image depends on `draw`, the seed, its split and its number only, so a
    larger set begins with the smaller one.

    Args:
        out: A folder that does not exist or is empty. It is created when the
            set is complete, so an interrupted run leaves none.
        draw: Draws an image and its objects with a random generator.
        style: Preset for `draw`. Its classes are the labels 0, 1, ...
        counts: Numbers of training and validation images.
        seed: Seed of the whole set, at least 0.
        description: Description of the set in the JSON files.
        progress: Wraps the image numbers of a split, given its name.

    Raises:
        FileExistsError: `out` is a file or a folder that is not empty.
        ValueError: No images, or a negative seed.
    """
    # Resolve symlinks and fill the target.
    out = Path(out).resolve()
    if min(counts) < 1 or seed < 0:
        raise ValueError('Use at least one image and a seed of at least 0')
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(
            f'{out} exists and is not empty; delete it or name another folder'
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f'.{out.name}-', dir=out.parent) as scratch:
        draft = Path(scratch) / out.name
        (draft / 'images').mkdir(parents=True)
        for split, count in zip(SPLITS, counts, strict=True):
            indices = progress(range(count), split)
            coco = write_split(
                draft, split, indices, draw, style.classes, seed
            )
            info = {
                'description': description,
                'seed': seed,
                'split': split,
                **asdict(style),
            }
            path = draft / f'instances_{split}.json'
            path.write_text(json.dumps({'info': info, **coco}))
        if out.exists():
            out.rmdir()
        draft.rename(out)

"""Check pixels and boxes of samples as the network gets them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmdet_retina_plus.common.config_tree import part
from mmdet_retina_plus.common.text import quantity

from .findings import Finding
from .preprocessor_settings import KEY, MEAN, alike, are_numbers
from .split import Split

SMALLEST = 32
"""Smallest plausible side of an image, in pixels."""
BEYOND, PART = 2, 0.2
"""Pixels by which boxes may leave images, and the fraction that may."""
NEAR, SPREAD = 3.0, 10.0
"""Ratio of two distances from the images' means from which one is chance,
and minimum difference of the means of channels."""
TINY, HALF, OBJECTS = 4, 0.4, 10
"""Longest side of an object in pixels, fraction and number of objects from
which a pipeline scales too far down."""
FEWEST = 3
"""Minimum number of samples of each set to compare values."""
TIMES = 4.0
"""Ratio of contrasts from which images seem to have another range."""


def check_extent(key: str, samples: Sequence[Any]) -> list[Finding]:
    """Report images that a crop or a scale makes tiny."""
    sides = [min(sample['inputs'].shape[-2:]) for sample in samples]
    if not sides or max(sides) >= SMALLEST:
        return []
    height, width = samples[0]['inputs'].shape[-2:]
    return [
        Finding(
            'warning',
            key,
            f'images have {width} x {height} pixels after the pipeline',
            'look at crop_size and scale, which are (width, height) or '
            '(height, width), with `retina-plus doctor CONFIG --show DIR`',
        )
    ]


def check_outside(key: str, samples: Sequence[Any]) -> list[Finding]:
    """Report boxes that reach beyond their images after the pipeline."""
    total = outside = 0
    for sample in samples:
        boxes = sample['data_samples'].gt_instances.bboxes
        boxes = getattr(boxes, 'tensor', boxes)
        height, width = sample['inputs'].shape[-2:]
        if boxes.shape[-1:] != (4,):
            continue
        total += len(boxes)
        low, high = (
            boxes[:, :2] < -BEYOND,
            boxes[:, 2:] > boxes.new_tensor((width + BEYOND, height + BEYOND)),
        )
        outside += int((low | high).any(dim=1).sum())
    if outside <= PART * total:
        return []
    return [
        Finding(
            'warning',
            key,
            f'{outside} of {total} boxes reach beyond their images after the '
            'pipeline',
            'bbox_clip_border=True (clip_object_border=True of Resize) in '
            'the steps that move pixels',
        )
    ]


def check_tiny(
    splits: Sequence[Split], samples: Mapping[str, Sequence[Any]]
) -> list[Finding]:
    """Report objects that the training pipeline scales to a few pixels.

    Args:
        splits: Data sets; the objects of the first are compared.
        samples: Loaded samples by 'train', 'val' or 'test'.
    """
    boxes = []
    for sample in samples.get('train') or ():
        found: Any = getattr(sample['data_samples'], 'gt_instances', ())
        if 'bboxes' in found:
            own = getattr(found.bboxes, 'tensor', found.bboxes)
            boxes.append(own.reshape(-1, 4))
    if not boxes or not splits or not splits[0].usable.any():
        return []
    sides = np.concatenate([
        (x[:, 2:] - x[:, :2]).numpy().max(axis=1) for x in boxes
    ])  # fmt: skip
    given = splits[0].boxes[splits[0].usable]
    before = ((given[:, 2:] - given[:, :2]).max(axis=1) < TINY).mean()
    tiny = int((sides < TINY).sum())
    if len(sides) < OBJECTS or tiny < HALF * len(sides) or before > HALF / 2:
        return []
    return [
        Finding(
            'warning',
            f'{splits[0].key}.pipeline',
            f'{tiny} of {len(sides)} objects of samples have less than '
            f'{TINY} pixels after the pipeline, {before:.0%} before',
            'raise the scale of Resize, or the lower end of ratio_range of '
            'RandomResize and RandomAffine',
        )
    ]


def check_channels(samples: Mapping[str, Sequence[Any]]) -> list[Finding]:
    """Report validation images with another number of channels.

    Args:
        samples: Loaded samples by 'train', 'val' or 'test'.
    """
    channels = {
        name: len(loaded[0]['inputs'])
        for name, loaded in samples.items()
        if loaded and hasattr(loaded[0]['inputs'], 'shape')
    }
    wanted = channels.get('train')
    return [
        Finding(
            'error',
            f'{name}_dataloader.dataset.pipeline',
            f'its images have {quantity(number, "channel")}, those of '
            f'training {wanted}',
            'the same LoadImageFromFile in all pipelines: color_type and '
            'imdecode_backend',
        )
        for name, number in channels.items()
        if wanted and number != wanted
    ]


def contrast(loaded: Sequence[Any]) -> float:
    """Median standard deviation of the pixels of an image; 0 if unknown."""
    images = [x['inputs'] for x in loaded if hasattr(x['inputs'], 'shape')]
    if len(images) < FEWEST:
        return 0.0
    return float(np.median([float(x.float().std()) for x in images]))


def check_contrasts(samples: Mapping[str, Sequence[Any]]) -> list[Finding]:
    """Report validation images whose values have another range.

    Args:
        samples: Loaded samples by 'train', 'val' or 'test'.
    """
    contrasts = {name: contrast(x) for name, x in samples.items()}
    wanted = contrasts.get('train', 0.0)
    return [
        Finding(
            'warning',
            f'{name}_dataloader.dataset.pipeline',
            f'its images have a standard deviation of {own:.3g}, those of '
            f'training {wanted:.3g}, as if read or scaled differently',
            'the same LoadImageFromFile and Normalize in all pipelines, and '
            'files of the same bit depth; compare pictures of --show',
        )
        for name, own in contrasts.items()
        if wanted and own and not 1 / TIMES < own / wanted < TIMES
    ]


def check_mean_order(
    cfg: Mapping, samples: Mapping[str, Sequence[Any]]
) -> list[Finding]:
    """Report a mean of own images whose channels are in reverse order.

    `check_normalization` knows ImageNet's mean.

    Args:
        cfg: Config of the run.
        samples: Loaded samples by 'train', 'val' or 'test'.
    """
    preprocessor = part(cfg, KEY)
    mean: Any = preprocessor.get('mean')
    images = [
        x['inputs'].float().mean(dim=(1, 2)).numpy()
        for x in samples.get('train') or ()
        if getattr(x['inputs'], 'ndim', 0) == len(MEAN)
    ]
    if len(images) < FEWEST or not are_numbers(mean) or len(mean) != len(MEAN):
        return []
    if alike(mean, MEAN) or alike(mean, MEAN[::-1]) or len(images[0]) != 3:
        return []
    seen = np.mean(images, axis=0)
    if preprocessor.get('bgr_to_rgb'):
        seen = seen[::-1]
    own, reverse = (
        float(np.abs(seen - np.array(x)).mean()) for x in (mean, mean[::-1])
    )
    if np.ptp(mean) < SPREAD or own < NEAR * reverse:
        return []
    return [
        Finding(
            'warning',
            'data_preprocessor',
            f'mean={list(mean)} fits the images ({seen.round().tolist()}, as '
            'the network gets them) only in reverse order of the channels',
            f'{KEY}.mean={list(mean[::-1])} and std likewise, or '
            f'{KEY}.bgr_to_rgb={not preprocessor.get("bgr_to_rgb", False)}',
        )
    ]

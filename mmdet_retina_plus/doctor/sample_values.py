"""Compare pixels of training samples with those of validation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmdet_retina_plus.common.text import quantity

from .findings import Finding

FEWEST = 3
"""Minimum number of samples of each set to compare values."""
TIMES = 4.0
"""Ratio of contrasts from which images seem to have another range."""


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
            f'training {wanted:.3g}, as if they were read or scaled otherwise',
            'the same LoadImageFromFile and Normalize in all pipelines, and '
            'files of the same bit depth; compare pictures of --show',
        )
        for name, own in contrasts.items()
        if wanted and own and not 1 / TIMES < own / wanted < TIMES
    ]

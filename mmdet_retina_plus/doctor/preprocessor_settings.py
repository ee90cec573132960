"""Check mean, std and channel order against what weights expect."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from mmdet_retina_plus.common.config_tree import kind, part, walk
from mmdet_retina_plus.common.numbers import is_finite

from .findings import Finding
from .weights import starting_weights

KEY = 'model.data_preprocessor'
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""ImageNet statistics: red, green, blue."""
NEAR = 3.0
"""Maximum difference from the ImageNet statistics."""
RANGES = (1.0, 255.0, 256.0)
"""Values of std that keep the range of images, or scale it to 0 to 1."""
RAW = ('Res', 'StemRes')
"""Prefixes of backbones that every recipe gives normalised values."""


def are_numbers(value: Any) -> TypeGuard[Sequence[float]]:
    listed = isinstance(value, list | tuple) and len(value) > 0
    return listed and all(map(is_finite, value))


def alike(values: Sequence[float], known: Sequence[float]) -> bool:
    return len(values) == len(known) and bool(
        (np.abs(np.subtract(values, known)) < NEAR).all()
    )


def warn(message: str, fix: str, level: Any = 'warning') -> list[Finding]:
    return [Finding(level, 'data_preprocessor', message, fix)]


def check_normalization(cfg: Mapping) -> list[Finding]:
    """Check mean, std and channel order of DetDataPreprocessor."""
    preprocessor = part(cfg, KEY)
    if kind(preprocessor) != 'DetDataPreprocessor':
        return []
    mean, std = preprocessor.get('mean'), preprocessor.get('std')
    if are_numbers(std) and min(std) <= 0:
        return warn(
            f'std={std} is not above 0 everywhere: images become infinite',
            f'{KEY}.std={list(STD)}',
            'error',
        )
    if not (are_numbers(mean) and are_numbers(std)):
        return check_raw(cfg)
    if alike(mean, STD) and alike(std, MEAN):
        return warn(
            'mean and std are exchanged',
            f'{KEY}.mean={list(MEAN)} and {KEY}.std={list(STD)}',
            'error',
        )
    swaps = preprocessor.get('bgr_to_rgb', False)
    # Channel means differ little, but by more than rounding.
    order = MEAN if np.abs(np.subtract(MEAN[0], mean[0])) < NEAR else None
    if alike(mean, MEAN[::-1]):
        order = MEAN[::-1]
    if order is not None and len(mean) == len(MEAN) and alike(mean, order):
        red_first = order == MEAN
        if red_first != bool(swaps) and not loads_rgb(cfg):
            named = 'red, green, blue' if red_first else 'blue, green, red'
            given = 'red, green, blue' if swaps else 'blue, green, red'
            back = f'{KEY}.mean={list(order)[::-1]}'
            if np.ptp(std) and alike(std, STD if red_first else STD[::-1]):
                back += f' and {KEY}.std={list(std)[::-1]}'
            return warn(
                f'mean is that of {named}, but the network gets {given}',
                f'{back} for weights of {given}, or {KEY}.bgr_to_rgb='
                f'{red_first} for those of {named}',
            )
    return check_expected(cfg, bool(swaps), std)


def loads_rgb(cfg: Mapping) -> bool:
    loader = part(cfg, 'train_dataloader')
    return any(x.get('channel_order') == 'rgb' for x in walk(loader))


def check_raw(cfg: Mapping) -> list[Finding]:
    """Report images that nothing normalises."""
    steps = [kind(x) for x in walk(part(cfg, 'train_dataloader'))]
    backbone = part(cfg, 'model.backbone')
    if 'Normalize' in steps or not steps or not kind(backbone).startswith(RAW):
        return []
    return warn(
        'no mean and std: the backbone gets values as in the image files',
        f'{KEY}.mean={list(MEAN)}, std={list(STD)} and bgr_to_rgb=True, or '
        'those of your images',
    )


def check_expected(
    cfg: Mapping, swaps: bool, std: Sequence[float]
) -> list[Finding]:
    """Compare with what weights of torchvision and Caffe expect."""
    for name in starting_weights(cfg):
        if name.startswith('torchvision://') and not loads_rgb(cfg):
            if not swaps:
                return warn(
                    f'{name} expects red, green, blue, but the network gets '
                    'blue, green, red',
                    f'{KEY}.bgr_to_rgb=True',
                )
            if {*std} <= {*RANGES}:
                return warn(
                    f'{name} expects values divided by std, not std={std}',
                    f'{KEY}.mean={list(MEAN)} and {KEY}.std={list(STD)}',
                )
        # Despite its name, SSD's VGG is trained on red, green, blue.
        if '_caffe' in name and 'vgg' not in name and swaps:
            return warn(
                f'{name} expects blue, green, red, but the network gets red, '
                'green, blue',
                f'{KEY}.bgr_to_rgb=False, mean=[103.53, 116.28, 123.675] and '
                'std=[1.0, 1.0, 1.0]',
            )
    return []


CHECKS = (check_normalization,)

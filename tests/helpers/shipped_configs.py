"""Shipped configs: their differences, their detectors and a step of these."""

import functools
import os
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

import mmdet_retina_plus
from tests.helpers.samples import Objects, data_sample

LAB_VARIABLES = ('LAB_DATA', 'LAB_SHAPES')


def load(name: str) -> Config:
    """A shipped config, by name, to be changed at will."""
    path = mmdet_retina_plus.config(name)
    return deepcopy(read(path, *map(os.environ.get, LAB_VARIABLES)))


@functools.cache
def read(path: str, *lab_variables: str | None) -> Config:
    """A config that every test shares; the lab's depend on variables."""
    return Config.fromfile(path)


def differences(ours: Any, theirs: Any, prefix: str = '') -> Iterator[str]:
    """The shortest dotted keys in which two configs differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        # mmengine notes a scope where a base's variable is used, or not.
        for key in {**ours, **theirs}.keys() - {'_scope_'}:
            yield from differences(
                ours.get(key), theirs.get(key), f'{prefix}.{key}'
            )
    elif (
        isinstance(ours, list)
        and isinstance(theirs, list)
        and len(ours) == len(theirs)
    ):
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(*pair, f'{prefix}.{index}')
    elif ours != theirs:
        yield prefix.removeprefix('.')


def shrink(config: Config) -> None:
    """Put a narrow ResNet-18 in place of a larger one, for quick steps."""
    if config.model.backbone.depth == 18:
        return
    config.model.backbone.update(depth=18, base_channels=16)
    # A UNetFPN has two more in front, of which the second is the stem's.
    first = config.model.neck.in_channels[:-4][:1]
    stem = [*first, 16] if first else []
    config.model.neck.in_channels = [*stem, 16, 32, 64, 128]


def build_detector(config: Config) -> BaseDetector:
    """A config's detector, initialised without a download."""
    config.model.backbone.init_cfg = None
    # As a runner does, for what has no base in mmdet that names its scope.
    with DefaultScope.overwrite_default_scope(config.default_scope):
        detector = MODELS.build(config.model)
    detector.init_weights()
    return detector.train()


def check_step(detector: BaseDetector, batch: Sequence[Objects]) -> None:
    """A step on images of 64 x 64 pixels reaches every parameter."""
    detector.zero_grad()
    images = torch.randn(len(batch), 3, 64, 64)
    losses = detector.loss(images, [data_sample(image) for image in batch])
    total, _ = detector.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            # Both ends are NaN where one value is: `isfinite` of all values
            # takes ten times as long.
            ends = torch.stack(parameter.grad.aminmax())
            assert ends.isfinite().all(), name

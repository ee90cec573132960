"""Shipped configs that a new config inherits from."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

from mmdet_retina_plus.common.config_file import load_config
from mmdet_retina_plus.common.config_tree import (
    dotted_items,
    kind,
    part,
    walk,
    without_scopes,
)
from mmdet_retina_plus.common.network_boxes import is_resize, middle_scale

WITH_MASKS = 'retinamask_r50_fpn'
"""Model for files in which every object has a mask."""
WITHOUT_MASKS = 'retinanet_r50_fpn_fl'
"""Model for all other files."""
SMALL = 'retinanet_r18_fpn_pennfudan'
"""Model without masks that trains on a CPU."""


class Resize(NamedTuple):
    """A resizing transform of a pipeline.

    Attributes:
        path: Position in the pipeline as code: `[2]`,
            `[1].transforms[0][1]`.
        key: 'scale' or 'scales'.
        step: Config of the transform.
    """

    path: str
    key: str
    step: Mapping


class BaseConfig:
    """A shipped detector for COCO data.

    Args:
        name: Name for `retina-plus config`.
        path: Path of the file.

    Raises:
        ValueError: The config is not a detector for COCO data.
    """

    def __init__(self, name: str, path: str) -> None:
        self.name = name.removesuffix('.py')
        self.cfg = without_scopes(load_config(path).to_dict())
        if not self.cfg.get('model') or kind(self.dataset) != 'CocoDataset':
            raise ValueError(
                f'{name} is not a detector for COCO data: use {WITH_MASKS}, '
                f'{WITHOUT_MASKS}, or {SMALL} on a CPU; configs/README.md '
                'lists all'
            )
        if self.middle is None and any(resizes(self.test_pipeline)):
            raise ValueError(
                f'{name} resizes images at test time only, which fits its own '
                f'data: use {SMALL} or another of configs/README.md'
            )

    @property
    def dataset(self) -> Mapping:
        """Data set of training."""
        return part(self.cfg, 'train_dataloader.dataset')

    @property
    def train_pipeline(self) -> Sequence[Mapping]:
        return self.dataset['pipeline']

    @property
    def test_pipeline(self) -> Sequence[Mapping]:
        return part(self.cfg, 'val_dataloader.dataset')['pipeline']

    @property
    def needs_masks(self) -> bool:
        """Whether training loads masks."""
        return any(
            kind(step) == 'LoadAnnotations' and step.get('with_mask')
            for step in self.train_pipeline
        )

    @property
    def metric(self) -> Any:
        return self.cfg['val_evaluator']['metric']

    @property
    def class_counts(self) -> list[str]:
        """Dotted keys of `num_classes` below `model`."""
        return [
            key
            for key, _ in dotted_items(self.cfg['model'])
            if key.rpartition('.')[2] == 'num_classes'
        ]

    @property
    def has_anchors(self) -> bool:
        """Whether a head has anchors of fixed shapes."""
        return any('anchor_generator' in x for x in walk(self.cfg['model']))

    @property
    def matches_by_iou(self) -> bool:
        """Whether anchors are assigned by IoU alone, so that shapes matter."""
        assigners = [
            kind(x['assigner'])
            for x in walk(self.cfg['model'].get('train_cfg'))
            if x.get('assigner')
        ]
        return bool(assigners) and all(
            name.endswith('MaxIoUAssigner') for name in assigners
        )

    @cached_property
    def middle(self) -> tuple[int, int] | None:
        """Long and short side of resized images, None without resizing."""
        for step in self.train_pipeline:
            scale = middle_scale(step) if is_resize(step) else None
            if scale:
                return max(scale), min(scale)
        return None

    @property
    def pixels(self) -> float:
        """Maximum area of resized images."""
        return prod(self.middle) if self.middle else float('inf')

    @property
    def batch_size(self) -> int:
        return self.cfg['train_dataloader']['batch_size']

    @property
    def optimizer(self) -> Mapping:
        return part(self.cfg, 'optim_wrapper.optimizer')

    @property
    def is_adam(self) -> bool:
        return 'Adam' in self.optimizer['type']

    @property
    def images_per_step(self) -> int:
        """Images per step that the learning rate is meant for."""
        return self.cfg['auto_scale_lr']['base_batch_size']

    def rate(self, batch_size: int) -> float:
        """Learning rate for another batch size.

        It is proportional to the batch size for SGD (Goyal et al., arXiv
        1706.02677), and to its square root for Adam (Malladi et al., arXiv
        2205.10287).
        """
        factor = batch_size / self.images_per_step
        if self.is_adam:
            factor **= 0.5
        return float(f'{self.optimizer["lr"] * factor:.3g}')

    def steps(self, images: int, batch_size: int) -> int:
        """Number of steps of the whole training."""
        loop = self.cfg['train_cfg']
        if 'max_epochs' in loop:
            return loop['max_epochs'] * -(-images // batch_size)
        return loop['max_iters']


def resizes(steps: Any, path: str = '') -> Iterator[Resize]:
    """Yield transforms that resize to a scale, also in nested pipelines."""
    if isinstance(steps, list | tuple):
        for at, step in enumerate(steps):
            yield from resizes(step, f'{path}[{at}]')
    elif isinstance(steps, Mapping):
        if is_resize(steps):
            for key in ('scale', 'scales'):
                if steps.get(key) is not None:
                    yield Resize(path, key, steps)
        yield from resizes(steps.get('transforms'), f'{path}.transforms')

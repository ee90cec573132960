"""A data set of a config with its parsed annotation file."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from mmdet_retina_plus.common.coco_columns import CocoColumns
from mmdet_retina_plus.common.config_tree import kind, walk

from .findings import Finding


@dataclass(frozen=True)
class Split(CocoColumns):
    """One data set of a config, with the content of its annotation file.

    Attributes:
        name: 'train', 'val' or 'test', with a number if there are several.
        coco: Parsed annotation file.
        image_dir: Folder that image names in the file are relative to.
        classes: Class names from `metainfo`, or else from the data set class.
        filter_cfg: Filters that training applies to images.
        test_mode: Whether the filters are off.
        pipeline: Transforms.
        metrics: Metrics of its evaluator: 'bbox', 'segm'.
        path: Annotation file.
        key: Dotted key of the data set in the config.
        kept_images: Ids of the images that mmdet's filters keep; None: the
            data set was not built.
        indexed: Ids of the images that its `indices` select; None: all.
        metainfo: `metainfo` of the config.
        names_classes: Whether the config names the classes, not only the
            data set class.
        dataset: Name of the data set class.
    """

    name: str
    coco: Mapping
    image_dir: Path
    classes: Sequence[str]
    filter_cfg: Mapping = field(default_factory=dict)
    test_mode: bool = False
    pipeline: Sequence[Mapping] = ()
    metrics: Sequence[str] = ()
    path: str = ''
    key: str = ''
    kept_images: frozenset | None = None
    indexed: frozenset | None = None
    metainfo: Mapping = field(default_factory=dict)
    names_classes: bool = True
    dataset: str = 'CocoDataset'

    @property
    def subject(self) -> str:
        return f'{self.name} data'

    @property
    def trains(self) -> bool:
        return self.name.startswith('train')

    @property
    def scored(self) -> bool:
        """Whether pycocotools reads the file, to score predictions."""
        return not self.trains

    @property
    def loads_masks(self) -> list[Mapping]:
        """Steps of the pipeline that load masks."""
        return [
            step
            for step in walk(self.pipeline)
            if kind(step) == 'LoadAnnotations' and step.get('with_mask')
        ]

    @cached_property
    def maskless(self) -> np.ndarray:
        """Objects that `LoadAnnotations` ignores: no polygon is valid."""
        from .segmentations import has_pixels

        if not self.loads_masks:
            return np.zeros(len(self.annotations), bool)
        masks = self.column('segmentation')
        lost = (isinstance(x, list) and not has_pixels(x) for x in masks)
        return np.fromiter(lost, bool, len(masks))

    @cached_property
    def paths(self) -> list[str]:
        """Paths of the image files, in the order of the file."""
        folder = str(self.image_dir)
        return [os.path.join(folder, x['file_name']) for x in self.images]

    def warn(self, message: str, fix: str) -> list[Finding]:
        return [Finding('warning', self.subject, message, fix)]

    def fail(self, message: str, fix: str, cause: str = '') -> list[Finding]:
        return [Finding('error', self.subject, message, fix, cause)]

    def say(self, message: str) -> list[Finding]:
        return [Finding('ok', self.subject, message)]

"""Images and objects as a config's pipeline prepares them for the network.

Random transforms are left out, so that all strategies get the same objects.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmdet_retina_plus.analysis.loss_data import (
    annotations_first,
    bare_datasets,
    dataset_settings,
)
from mmdet_retina_plus.common.config_tree import datasets_in, kind
from mmdet_retina_plus.common.network_boxes import middle_scale

RANDOM_STEPS = {
    'Albu',
    'AutoAugment',
    'AutoContrast',
    'Brightness',
    'CachedMixUp',
    'CachedMosaic',
    'Color',
    'ColorTransform',
    'Contrast',
    'CopyPaste',
    'Corrupt',
    'CutOut',
    'Equalize',
    'Expand',
    'Invert',
    'MinIoURandomCrop',
    'MixUp',
    'Mosaic',
    'PhotoMetricDistortion',
    'Posterize',
    'RandAugment',
    'Rotate',
    'Sharpness',
    'ShearX',
    'ShearY',
    'Solarize',
    'SolarizeAdd',
    'TranslateX',
    'TranslateY',
    'YOLOXHSVRandomAug',
}
"""Random transforms of mmdet that are not named Random…."""
RANDOM_SIZES = ('RandomResize', 'RandomChoiceResize')


def still_pipeline(pipeline: Sequence[Mapping]) -> tuple[list, list[str]]:
    """Remove random transforms from a pipeline, and return their names.

    A random size is replaced by the middle one.
    """
    kept: list[Mapping] = []
    changed = []
    for step in pipeline:
        name = kind(step)
        if name in RANDOM_SIZES:
            keep_ratio = step.get('keep_ratio', name == RANDOM_SIZES[0])
            kept.append(
                dict(
                    type='Resize',
                    scale=middle_scale(step),
                    keep_ratio=keep_ratio,
                )
            )
            changed.append(name)
        elif name.startswith('Random') or name in RANDOM_STEPS:
            changed.append(name)
        else:
            kept.append(step)
    return kept, changed


def pipeline_of(cfg: Any, split: str) -> Sequence[Mapping]:
    """Pipeline of a config's first data set, which loads the objects.

    Raises:
        ValueError: There is no pipeline, or it loads no objects.
    """
    settings = dataset_settings(cfg, split)
    pipeline = next(datasets_in(settings)).get('pipeline') or ()
    if split == 'train':
        return pipeline
    return annotations_first(pipeline)


class Images(NamedTuple):
    """Images to use.

    Attributes:
        datasets: Data sets without pipelines.
        chosen: Data set and index of each image.
        classes: Names of the classes.
    """

    datasets: list
    chosen: list[tuple[int, int]]
    classes: Sequence[str]

    def info(self, number: int) -> dict:
        """Input of a pipeline for one of the chosen images."""
        dataset, index = self.chosen[number]
        return self.datasets[dataset].get_data_info(index)

    def path(self, number: int) -> str:
        return str(self.info(number).get('img_path', f'image {number + 1}'))


def choose_images(cfg: Any, split: str, most: int) -> Images:
    """Choose images with objects, evenly spread over a config's data.

    Wrappers that repeat or mix images are ignored.

    Args:
        cfg: The config.
        split: 'train' or 'val'.
        most: Largest number of images.

    Raises:
        ValueError: The data cannot be read, or has no objects.
    """
    datasets = [dataset for _, dataset in bare_datasets(cfg, split)]
    filled = [
        (number, index)
        for number, dataset in enumerate(datasets)
        for index in range(len(dataset))
        if has_objects(dataset.get_data_info(index))
    ]
    if not filled:
        raise ValueError(
            f'The {split} data has no image with objects: '
            '`retina-plus doctor CONFIG` shows why'
        )
    places = np.linspace(0, len(filled) - 1, min(most, len(filled)))
    chosen = [filled[place] for place in places.round().astype(int)]
    return Images(datasets, chosen, datasets[0].metainfo.get('classes', ()))


def has_objects(info: Mapping) -> bool:
    return any(
        not instance.get('ignore_flag')
        for instance in info.get('instances', ())
    )


def pixels_of(image: np.ndarray) -> np.ndarray:
    """Convert a network's input (C, H, W) to 8-bit RGB (H, W, 3) to draw.

    Three channels are taken as BGR, as mmdet loads them; otherwise the first
    channel is shown. Values of more than 8 bits are scaled.
    """
    image = image.astype(float)
    is_bgr = len(image) == 3
    image = image[::-1] if is_bgr else np.repeat(image[:1], 3, axis=0)
    low, high = image.min(), image.max()
    if low < 0 or high > 255:
        image = (image - low) * (255 / max(high - low, 1e-9))
    return image.transpose(1, 2, 0).round().astype(np.uint8)

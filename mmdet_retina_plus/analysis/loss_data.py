"""Build a config's data set so that images come with their objects."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from mmdet_retina_plus.common.config_tree import (
    dataset_chains,
    datasets_in,
    kind,
)
from mmdet_retina_plus.common.text import error_text


def annotations_first(pipeline: Sequence[Mapping]) -> list[Mapping]:
    """Reorder a test pipeline so that boxes are transformed with the image.

    mmdet's test pipelines load annotations after Resize, since its metrics
    need original boxes. Here they follow the first step, which loads the
    image. The order of the other steps stays.

    Raises:
        ValueError: No step loads annotations.
    """
    loads = [is_annotations(step) for step in pipeline]
    if not any(loads):
        raise ValueError(
            'Its pipeline loads no objects: add dict('
            "type='LoadAnnotations', with_bbox=True), or use the train split"
        )
    first, *steps = pipeline
    return [
        first,
        *(step for step in steps if is_annotations(step)),
        *(step for step in steps if not is_annotations(step)),
    ]


def is_annotations(step: Mapping) -> bool:
    name = kind(step)
    return name.startswith('Load') and name.endswith('Annotations')


def dataset_settings(cfg: Any, split: str) -> Any:
    """Config of a dataloader's data set.

    Raises:
        ValueError: The config has no such data set.
    """
    settings = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
    if settings is None:
        raise ValueError(f'The config has no {split}_dataloader.dataset')
    return settings


def unreadable(split: str, error: Exception) -> ValueError:
    return ValueError(f'The {split} data: {error_text(error)}')


def bare_datasets(
    cfg: Any, split: str
) -> list[tuple[tuple[Mapping, ...], Any]]:
    """Build the data sets of a dataloader without wrappers and pipelines.

    Args:
        cfg: The config.
        split: 'train' or 'val'.

    Returns:
        For each data set: the configs of its wrappers, outermost first, and
        its own config; and the data set.

    Raises:
        ValueError: A data set is missing or cannot be built.
    """
    from mmdet.registry import DATASETS

    settings = dataset_settings(cfg, split)
    try:
        # Progress messages of pycocotools would mix with our JSON.
        with redirect_stdout(StringIO()):
            return [
                (
                    chain,
                    DATASETS.build(
                        dict(copy.deepcopy(chain[-1]), pipeline=[])
                    ),
                )
                for chain in dataset_chains(settings)
            ]
    except Exception as error:  # From files and constructors.
        raise unreadable(split, error) from error


def build_dataset(cfg: Any, split: str) -> Any:
    """Build the data set of a config's dataloader.

    Args:
        cfg: The config, which is not changed.
        split: 'train', whose pipeline stays, or 'val'.

    Raises:
        ValueError: The data set is missing, empty or cannot be built.
    """
    from mmdet.registry import DATASETS

    settings = copy.deepcopy(dataset_settings(cfg, split))
    try:
        if split != 'train':
            for config in datasets_in(settings):
                pipeline = annotations_first(config.get('pipeline') or ())
                config['pipeline'] = pipeline  # type: ignore[index]
        dataset = DATASETS.build(settings)
    except Exception as error:  # From files and constructors.
        raise unreadable(split, error) from error
    if not len(dataset):
        raise ValueError(f'The {split} data has no images')
    return dataset

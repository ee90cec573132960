"""Images with the objects that a loss needs, of a config's data."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmdet_retina_plus.common.config_tree import datasets_in, kind


def annotations_first(pipeline: Sequence[Mapping]) -> list[Mapping]:
    """Steps of a test pipeline, such that its boxes follow the image.

    mmdet's test pipelines load them behind Resize, since its metrics want
    them where the file has them. Here they come directly behind the first
    step, which loads the image; all else stays as it is.

    Raises:
        ValueError: No step loads any.
    """
    loads = [is_annotations(step) for step in pipeline]
    if not any(loads):
        raise ValueError(
            'Its pipeline loads no objects: add dict('
            "type='LoadAnnotations', with_bbox=True), or take the train split"
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


def build_dataset(cfg: Any, split: str) -> Any:
    """Data set of a config's dataloader, which is left as it was.

    Args:
        cfg: Of mmengine.
        split: 'train', whose pipeline stays, or 'val'.

    Raises:
        ValueError: There is none, or it cannot be built.
    """
    from mmdet.registry import DATASETS

    settings = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
    if settings is None:
        raise ValueError(f'The config has no {split}_dataloader.dataset')
    settings = copy.deepcopy(settings)
    try:
        if split != 'train':
            for config in datasets_in(settings):
                pipeline = annotations_first(config.get('pipeline') or ())
                config['pipeline'] = pipeline  # type: ignore[index]
        dataset = DATASETS.build(settings)
    except Exception as error:  # Of files, and whatever constructors raise.
        known = isinstance(error, ValueError | OSError)
        message = f'{error}' if known else f'{error!r}'
        raise ValueError(f'The {split} data: {message}') from error
    if not len(dataset):
        raise ValueError(f'The {split} data has no images')
    return dataset

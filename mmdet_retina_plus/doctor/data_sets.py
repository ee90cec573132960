"""The data sets that a config names, read from their annotation files."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdet_retina_plus.common.coco_format import format_errors
from mmdet_retina_plus.common.config_tree import (
    annotation_path,
    datasets_in,
    part,
)

from .findings import Finding
from .split import Split


def dataset_class(config: Mapping) -> Any:
    """Class of a data set.

    Raises:
        ValueError: None is named, or none of that name is registered.
    """
    from mmdet.registry import DATASETS

    name = config.get('type')
    if isinstance(name, type):
        return name
    if not isinstance(name, str) or not name:
        raise ValueError("a dataset has no type, such as type='CocoDataset'")
    found = DATASETS.get(name)
    if found is None:
        raise ValueError(
            f'no dataset type {name!r} is registered: look at its spelling, '
            'or import its module by custom_imports'
        )
    return found


def is_coco(dataset: Any) -> bool:
    from mmdet.datasets import CocoDataset

    # LVIS and panoptic sets inherit, but read other files.
    return getattr(dataset, 'COCOAPI', None) is CocoDataset.COCOAPI


def read_classes(config: Mapping, dataset: Any) -> Sequence[str]:
    metainfo = config.get('metainfo') or dataset.METAINFO
    classes = metainfo.get('classes', dataset.METAINFO.get('classes', ()))
    if isinstance(classes, str) and os.path.isfile(classes):
        return Path(classes).read_text().splitlines()
    if not isinstance(classes, str | list | tuple):
        raise ValueError(f'metainfo.classes is {classes!r}, not a tuple')
    return classes


def read_split(name: str, config: Mapping, dataset: Any) -> Split:
    """Read the annotation file of a data set's config.

    Raises:
        ValueError: It is not there, no JSON, or not in COCO format; or the
            config does not say what it needs to.
    """
    path = annotation_path(config)
    try:
        with open(path, encoding='utf-8') as file:
            coco = json.load(file)
    except (OSError, ValueError) as error:
        raise ValueError(f'cannot read {path}: {error}') from error
    if name.startswith('test') and isinstance(coco, dict):
        # Challenges keep them to themselves.
        coco.setdefault('annotations', [])
    problem = format_errors(coco)
    if problem:
        raise ValueError(f'{path} is not in COCO format: {problem}')
    folder = part(config, 'data_prefix').get('img')
    if not isinstance(folder, str):
        raise ValueError(f'data_prefix.img is {folder!r}, not a folder')
    return Split(
        name=name,
        coco=coco,
        image_dir=Path(config.get('data_root') or '', folder),
        classes=read_classes(config, dataset),
        filter_empty=part(config, 'filter_cfg').get('filter_empty_gt', False),
        pipeline=config.get('pipeline') or (),
    )


def what_is_read(config: Mapping) -> list:
    keys = ('type', 'data_root', 'ann_file', 'data_prefix', 'metainfo')
    return [config.get(key) for key in keys]


def read_splits(cfg: Mapping) -> tuple[list[Split], list[Finding]]:
    """The data sets for training, validation and test that can be read."""
    splits, findings = [], []
    validated = [
        what_is_read(config)
        for config in datasets_in(part(cfg, 'val_dataloader').get('dataset'))
    ]
    for name in ('train', 'val', 'test'):
        loader = part(cfg, f'{name}_dataloader')
        found = list(datasets_in(loader.get('dataset')))
        if name == 'test':
            found = [x for x in found if what_is_read(x) not in validated]
        for number, config in enumerate(found, 1):
            label = f'{name} {number}' if len(found) > 1 else name
            subject = f'{label} data'
            try:
                dataset = dataset_class(config)
                if is_coco(dataset):
                    splits.append(read_split(label, config, dataset))
                else:
                    message = 'not in COCO format, so not checked'
                    findings.append(Finding('ok', subject, message))
            except Exception as error:  # A value of any kind may be there.
                known = isinstance(error, ValueError)
                message = f'{error}' if known else f'{error!r}'
                way_out = (
                    'set type, data_root, ann_file, data_prefix=dict(img=…) '
                    'and metainfo=dict(classes=(…,)) of the dataset in '
                    f'{name}_dataloader, or mend the file'
                )
                findings.append(Finding('error', subject, message, way_out))
        if loader and not found and name != 'test':
            message = f'{name}_dataloader has no dataset'
            way_out = f'{name}_dataloader=dict(dataset=dict(…))'
            findings.append(Finding('error', f'{name} data', message, way_out))
    return splits, findings

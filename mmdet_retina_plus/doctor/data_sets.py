"""Read and build the data sets that a config names."""

import contextlib
import copy
import gc
import inspect
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmdet_retina_plus.common.annotation_files import (
    UnreadableError,
    missing_file,
    read_json,
)
from mmdet_retina_plus.common.coco_format import check_coco
from mmdet_retina_plus.common.config_tree import (
    annotation_path,
    datasets_in,
    dotted_items,
    kind,
    part,
    walk,
    without_scopes,
)

from .explanations import explained
from .findings import Finding
from .split import Split


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Disable garbage collection while millions of objects are created."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Discard what pycocotools and mmengine print."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@dataclass
class DataSets:
    """Result of `read_data_sets`.

    Attributes:
        splits: Readable data sets in COCO format.
        bare: Data sets without their pipelines, by the `id` of their config.
        findings: Findings about data sets that cannot be read or built.
    """

    splits: list[Split] = field(default_factory=list)
    bare: dict[int, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def is_coco(dataset: Any) -> bool:
    from mmdet.datasets import CocoDataset

    # LVIS and panoptic data sets are subclasses, but read other files.
    same_api = getattr(dataset, 'COCOAPI', None) is CocoDataset.COCOAPI
    return same_api and not reads_itself(dataset)


def reads_itself(dataset: Any) -> bool:
    """Whether a class outside mmdet has its own `load_data_list`."""
    from mmdet.datasets import CocoDataset

    method = getattr(dataset, 'load_data_list', None)
    module = getattr(method, '__module__', '')
    own = module.partition('.')[0] not in ('mmdet', 'mmdet_retina_plus')
    return isinstance(dataset, type) and issubclass(dataset, CocoDataset) & own


def is_other(dataset: Any) -> bool:
    """Whether it is an mmdet data set in another format."""
    from mmdet.datasets import BaseDetDataset

    return isinstance(dataset, BaseDetDataset) and not is_coco(type(dataset))


def dataset_class(config: Mapping) -> Any:
    """Class of a data set, None if its name is not registered."""
    from mmdet.registry import DATASETS

    name = config.get('type')
    if isinstance(name, str) and name:
        return DATASETS.get(name)
    if isinstance(name, type):
        return name
    raise ValueError("a dataset has no type, such as type='CocoDataset'")


def read_classes(config: Mapping, dataset: Any) -> Sequence[str]:
    metainfo = config.get('metainfo') or dataset.METAINFO
    classes = metainfo.get('classes', dataset.METAINFO.get('classes', ()))
    if isinstance(classes, str) and os.path.isfile(classes):
        return Path(classes).read_text().splitlines()
    if not isinstance(classes, str | list | tuple):
        raise ValueError(f'metainfo.classes is {classes!r}, not a tuple')
    return classes


def read_split(
    name: str,
    key: str,
    config: Mapping,
    dataset: Any,
    metrics: Sequence[str],
    read: Callable[[str], Any] = read_json,
) -> Split:
    """Read the annotation file of a data set's config.

    Raises:
        ValueError: The file is missing, not JSON or not in COCO format, or
            the config lacks a required value.
    """
    path = annotation_path(config)
    coco = read(path)
    if name.startswith('test') and isinstance(coco, dict):
        # Challenges do not publish test annotations.
        coco.setdefault('annotations', [])
    check_coco(Path(path), coco)
    folder = part(config, 'data_prefix').get('img')
    given = part(config, 'data_prefix')
    if not isinstance(folder, str):
        message = f'data_prefix.img is {folder!r}, not a folder'
        others = [x for x in given if isinstance(given[x], str)]
        if folder is None and others:
            message += f'; the key {others[0]} is not read'
            folder = given[others[0]]
        raise UnreadableError(
            message, f'{key}.data_prefix=dict(img={folder or "images/"!r})'
        )
    return Split(
        name=name,
        coco=coco,
        image_dir=Path(config.get('data_root') or '', folder),
        classes=read_classes(config, dataset),
        filter_cfg=part(config, 'filter_cfg'),
        test_mode=bool(config.get('test_mode')),
        pipeline=config.get('pipeline') or (),
        metrics=metrics,
        path=path,
        key=key,
        metainfo=part(config, 'metainfo'),
        names_classes=bool(part(config, 'metainfo').get('classes')),
        dataset=dataset.__name__,
    )


def build_bare(config: Mapping, split: Split | None) -> Any:
    """Build a data set with its filters and without its pipeline.

    Uses mmengine's builder, with the annotations that are already parsed.

    Raises:
        Exception: Any exception of the constructor.
    """
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.api_wrappers import COCO
    from mmdet.registry import DATASETS

    settings = dict(config)
    # A class may create its own pipeline.
    if 'pipeline' in settings:
        settings['pipeline'] = []
    if split is None:
        return DATASETS.build(settings)
    # The caller applies `indices` after it has counted the filtered images.
    if 'indices' in settings:
        settings['indices'] = None
    parameters = inspect.signature(dataset_class(config)).parameters
    passes_on = any(x.kind is x.VAR_KEYWORD for x in parameters.values())
    # Serialised data is slower to create and to read.
    for key, value in (('serialize_data', False), ('lazy_init', True)):
        if passes_on or key in parameters:
            settings.setdefault(key, value)
    dataset = DATASETS.build(settings)
    if type(dataset).load_data_list is CocoDataset.load_data_list:
        coco = split.coco

        def parsed(path: str) -> COCO:
            api = COCO()
            api.dataset = coco
            api.createIndex()
            api.img_ann_map, api.cat_img_map = api.imgToAnns, api.catToImgs
            return api

        dataset.COCOAPI = parsed
    dataset.full_init()
    return dataset


def what_is_read(config: Mapping) -> list:
    keys = (
        'type',
        'data_root',
        'ann_file',
        'data_prefix',
        'metainfo',
        'indices',
    )
    return [config.get(key) for key in keys]


def metrics_of(cfg: Mapping, name: str) -> list[str]:
    """Metrics of an evaluator: 'bbox', 'segm'."""
    scored: list = []
    for evaluator in walk(cfg.get(f'{name}_evaluator')):
        metric = evaluator.get('metric')
        scored += metric if isinstance(metric, list | tuple) else [metric]
    return [metric for metric in scored if isinstance(metric, str)]


def add_data_set(
    found: DataSets,
    name: str,
    key: str,
    config: Mapping,
    metrics: Sequence[str],
    read: Callable[[str], Any],
) -> None:
    """Read and build one data set, or add a finding if that fails."""
    split = None
    try:
        dataset = dataset_class(config)
        if is_coco(dataset):
            split = read_split(name, key, config, dataset, metrics, read)
    except Exception as error:  # A config may have any value here.
        known = isinstance(error, ValueError)
        message = f'{error}' if known else f'{error!r}'
        fix = (
            f'{key}=dict(type=…, data_root=…, ann_file=…, data_prefix='
            'dict(img=…), metainfo=dict(classes=(…,))), or correct the file'
        )
        if 'metainfo.classes is' in message:
            fix = f"{key}.metainfo.classes=('name', 'name'), in parentheses"
        if isinstance(error, UnreadableError):
            message, fix = error.message, error.fix_in_config
        files = config.get('ann_file')
        if isinstance(files, list | tuple) and files:
            members = [dict(config, ann_file=file) for file in files]
            joint = {'type': 'ConcatDataset', 'datasets': members}
            fix = f'{key}={without_scopes(joint)}'
        found.findings.append(Finding('error', f'{name} data', message, fix))
        return
    try:
        with silence():
            bare = build_bare(config, split)
            number = len(bare)  # A sampler needs it.
    except Exception as error:  # A constructor may raise anything.
        file = f'{config.get("ann_file") or ""}'
        path = os.path.join(config.get('data_root') or '', file)
        is_json = file.endswith('.json')
        missing = isinstance(error, FileNotFoundError) and file
        if split is None and missing and not os.path.exists(path):
            absent = missing_file(path)
            found.findings.append(
                Finding('error', key, absent.message, absent.fix_in_config)
            )
        elif split is None and is_json and not reads_itself(dataset):
            found.findings.append(
                Finding(
                    'error',
                    key,
                    f'{config.get("type")} cannot read the JSON file '
                    f'{config.get("ann_file")}: {type(error).__name__}',
                    f"{key}.type='CocoDataset', if it is a COCO file",
                )
            )
        elif split is None or not split_explains(split):
            found.findings.append(explained(key, error))
        bare = None
    if bare is not None:
        found.bare[id(config)] = bare
        if split is None:
            message = f'not in COCO format: {number} images, unchecked'
            if reads_itself(dataset):
                message = (
                    f'{kind(config)} has its own reader: {number} '
                    'images, unchecked'
                )
            found.findings.append(Finding('ok', f'{name} data', message))
    if split is not None:
        kept = ids_of(bare)
        indexed = None
        if bare is not None and config.get('indices') is not None:
            bare.get_subset_(config['indices'])
            indexed = ids_of(bare)
        found.splits.append(replace(split, kept_images=kept, indexed=indexed))


def ids_of(dataset: Any) -> frozenset | None:
    """Ids of the images in a data set, None if it was not built."""
    if dataset is None:
        return None
    return frozenset(info['img_id'] for info in infos_of(dataset))


def infos_of(dataset: Any) -> Sequence[Mapping] | Iterator[Mapping]:
    """Image infos of a data set, without copying where possible."""
    if not getattr(dataset, 'serialize_data', True):
        return dataset.data_list
    return (dataset.get_data_info(at) for at in range(len(dataset)))


def split_explains(split: Split) -> bool:
    """Whether annotation checks explain why mmdet cannot load them."""
    import numpy as np

    return isinstance(split.classes, str) or bool(np.isnan(split.boxes).any())


def reuse(
    found: DataSets, config: Mapping, validated: Sequence[Mapping]
) -> bool:
    """Whether a test set reads the same files as a validation set.

    If only its pipeline differs, it gets a copy of the built data set.

    Args:
        found: Data sets so far; the copy is added.
        config: Config of the test set.
        validated: Configs of the validation sets.
    """
    read = what_is_read(config)
    same = [other for other in validated if what_is_read(other) == read]
    bare = found.bare.get(id(same[0])) if same else None
    pipelines = [other.get('pipeline') for other in same]
    if bare is not None and config.get('pipeline') not in pipelines:
        found.bare[id(config)] = copy.copy(bare)
    return bool(same)


def read_data_sets(cfg: Mapping) -> DataSets:
    """Read the data sets for training, validation and test."""
    found = DataSets()
    files: dict[str, Any] = {}

    def read(path: str) -> Any:
        if path not in files:
            files[path] = read_json(path)
        return files[path]

    validated = list(datasets_in(part(cfg, 'val_dataloader').get('dataset')))
    for name in ('train', 'val', 'test'):
        key = f'{name}_dataloader'
        configs = list(datasets_in(part(cfg, key).get('dataset')))
        places = {
            id(value): path
            for path, value in dotted_items(part(cfg, key), f'{key}.')
        }
        if name == 'test':
            configs = [x for x in configs if not reuse(found, x, validated)]
        for number, config in enumerate(configs, 1):
            label = f'{name} {number}' if len(configs) > 1 else name
            metrics = metrics_of(cfg, name)
            place = places[id(config)]
            add_data_set(found, label, place, config, metrics, read)
        if cfg.get(key) and not configs and name != 'test':
            message = f'{key} has no dataset'
            fix = f'{key}=dict(dataset=dict(…))'
            found.findings.append(
                Finding('error', f'{name} data', message, fix)
            )
    return found

"""Class names of a detector's labels, and their categories in a COCO file."""

import json
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .config_tree import annotation_path, datasets_in, part
from .suggestions import did_you_mean
from .text import some


def trained_names(
    cfg: Any, classes: Sequence[str], unnamed: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Names in the order of the labels, and notes on why they may be wrong.

    Args:
        cfg: The config.
        classes: Names from the checkpoint, or from the config if it has none.
        unnamed: Checkpoints that have none.
    """
    unused = unused_names(cfg, classes)
    # With other classes, the config's training data are not those of this
    # detector.
    names, note = (list(classes), '') if unused else label_names(cfg, classes)
    notes = [note] if note else []
    if unnamed:
        notes.append(
            f'{unnamed[0]} names no classes, so labels get the names of the '
            f'config ({some(classes)}): they are wrong if the detector was '
            'trained with other classes'
        )
    if unused:
        notes.append(
            f'the classes of the config ({some(unused)}) differ from those of '
            f'the checkpoint ({some(classes)}), which are used'
        )
    return names, notes


def label_names(cfg: Any, classes: Sequence[str]) -> tuple[list[str], str]:
    """Names in the order of the labels, and a note if `classes` is misleading.

    mmdet's CocoDataset numbers labels in the order of the annotation file, not
    of `classes`, which the checkpoint stores.

    Args:
        cfg: The config, whose training annotations are read if they exist.
        classes: Names from the checkpoint or the config.

    Returns:
        Names, and a note, '' if both orders agree.
    """
    orders = {
        tuple(name for name in names if name in classes): file
        for file, names in training_categories(cfg).items()
    }
    orders.pop((), None)
    others = orders.keys() - {tuple(classes)}
    if not others:
        return list(classes), ''
    order = next(order for order in orders if order in others)
    what = (
        'mmdet numbered the labels in training in the order of the categories '
        f'in {orders[order]} ({some(order)}), not of the classes '
        f'({some(classes)})'
    )
    if len(orders) > 1 or len(order) != len(classes):
        return list(classes), (
            f'{what}: names are wrong if the detector was trained on this '
            'file; `retina-plus doctor CONFIG` shows the fix'
        )
    return list(order), f'{what}: names follow the file'


def unused_names(cfg: Any, classes: Sequence[str]) -> list[str]:
    """Classes of the config that the checkpoint overrides.

    Args:
        cfg: The config; the test data may have `metainfo`.
        classes: Classes of the checkpoint if it names any, else of the config.

    Returns:
        The config's classes if they differ from `classes`, else [].
    """
    dataset = next(datasets_in(cfg.test_dataloader.dataset))
    named = part(dataset, 'metainfo').get('classes') or ()
    return [] if list(named) == list(classes) else list(named)


def training_categories(cfg: Any) -> dict[Path, list[str]]:
    """Category names in each COCO file of the training data."""
    from mmdet.datasets import CocoDataset
    from mmdet.registry import DATASETS

    found = {}
    settings = cfg.get('train_dataloader') or {}
    for dataset in datasets_in(settings.get('dataset')):
        kind = dataset.get('type')
        kind = DATASETS.get(kind) if isinstance(kind, str) else kind
        if not isinstance(kind, type) or not issubclass(kind, CocoDataset):
            continue
        try:
            path = Path(annotation_path(dataset))
            found[path] = [item['name'] for item in read_categories(path)]
        except (ValueError, OSError, TypeError, KeyError):
            continue  # Prediction does not need the training data.
    return found


def read_categories(path: Path) -> list[dict[str, Any]]:
    """Read the categories of a COCO file without parsing its other lists.

    Raises:
        ValueError: The file is not JSON.
        KeyError: It has no categories.
        OSError: It cannot be read.
    """
    with (
        path.open('rb') as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        place = content.find(b'"categories"')
        begin = content.find(b'[', place)
        # A list longer than a megabyte is cut and fails to parse below.
        text = content[begin : begin + 2**20].decode(errors='ignore')
    try:
        categories, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        categories = []
    # Another, inner list may have this name.
    if categories and all(isinstance(item, dict) for item in categories):
        return categories
    return json.loads(path.read_text(encoding='utf-8'))['categories']


def category_ids(
    coco: Mapping[str, Any], names: Sequence[str]
) -> list[int | str]:
    """Find the category id of each label by name.

    Args:
        coco: Parsed COCO file.
        names: Names of the labels, in order.

    Raises:
        ValueError: A category is missing, or two have the same name.
    """
    ids: dict[str, list[int | str]] = {}
    for category in coco['categories']:
        ids.setdefault(category['name'], []).append(category['id'])
    absent = [name for name in names if name not in ids]
    if absent:
        # Quotes show whitespace around a name.
        theirs = list(map(repr, ids))
        hint = did_you_mean(absent[0], ids)
        raise ValueError(
            f'The annotations have no category {some(absent)}, which the '
            f'detector has; they have {some(theirs) or "none"}{hint} '
            '(Categories are matched by name: rename them as in the detector, '
            'or predict without --ann-file)'
        )
    for name in names:
        if len(ids[name]) > 1:
            raise ValueError(
                f'The annotations have the category {name} with the ids '
                f'{some(ids[name])}: give every category a unique name'
            )
    return [ids[name][0] for name in names]


def unknown_categories(
    coco: Mapping[str, Any], names: Sequence[str]
) -> list[str]:
    """Categories that objects may have but the detector does not know."""
    used = {item['category_id'] for item in coco['annotations']}
    return [
        category['name']
        for category in coco['categories']
        if category['name'] not in names
        and (not used or category['id'] in used)
    ]

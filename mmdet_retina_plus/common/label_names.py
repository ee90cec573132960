"""What the labels of a detector stand for, and their categories in a file."""

import json
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .config_tree import annotation_path, datasets_in, part
from .suggestions import did_you_mean
from .text import some


def label_names(cfg: Any, classes: Sequence[str]) -> tuple[list[str], str]:
    """Names in the order of the labels, and a note where that is surprising.

    mmdet's CocoDataset numbers labels in the order of the annotation file, and
    not of `classes`, which it writes into the checkpoint.

    Args:
        cfg: Its training files are read, where they exist.
        classes: Names that the checkpoint or the config gives.
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
        f'labels follow the categories of {orders[order]} ({some(order)}), '
        f'not the classes ({some(classes)}), in training by mmdet'
    )
    if len(orders) > 1 or len(order) != len(classes):
        return list(classes), (
            f'{what}: names are wrong if the detector was trained with it; '
            '`retina-plus doctor CONFIG` says how to correct it'
        )
    return list(order), f'{what}: they are named so'


def unused_names(cfg: Any, classes: Sequence[str]) -> list[str]:
    """Classes of the config where the checkpoint has others.

    Args:
        cfg: With the test data's `metainfo`, or without.
        classes: Classes of the checkpoint if it names any, else of the config.
    """
    dataset = next(datasets_in(cfg.test_dataloader.dataset))
    named = part(dataset, 'metainfo').get('classes') or ()
    return [] if list(named) == list(classes) else list(named)


def training_categories(cfg: Any) -> dict[Path, list[str]]:
    """Names of the categories in each COCO file of the training data."""
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
    """The categories of a COCO file, whose other lists may be huge.

    Raises:
        ValueError: It is not JSON.
        KeyError: It has none.
        OSError: It cannot be read.
    """
    with (
        path.open('rb') as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        place = content.find(b'"categories"')
        begin = content.find(b'[', place)
        # Some are cut off, if the list is longer than a megabyte.
        text = content[begin : begin + 2**20].decode(errors='ignore')
    try:
        categories, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        categories = []
    # Some other list may have this name, too.
    if categories and all(isinstance(item, dict) for item in categories):
        return categories
    return json.loads(path.read_text(encoding='utf-8'))['categories']


def category_ids(
    coco: Mapping[str, Any], names: Sequence[str]
) -> list[int | str]:
    """The category of each label, by its name.

    Args:
        coco: A COCO file.
        names: Names of the labels, in their order.

    Raises:
        ValueError: The file lacks one, or has two categories of a name.
    """
    ids: dict[str, list[int | str]] = {}
    for category in coco['categories']:
        ids.setdefault(category['name'], []).append(category['id'])
    absent = [name for name in names if name not in ids]
    if absent:
        # Blanks around a name are seen only in quotes.
        theirs = list(map(repr, ids))
        hint = did_you_mean(absent[0], ids)
        raise ValueError(
            f'The annotations have no category {some(absent)}, which the '
            f'detector has; theirs are {some(theirs) or "none"}{hint} '
            '(Categories are matched by name: write them as the detector does,'
            ' or predict without --ann-file)'
        )
    for name in names:
        if len(ids[name]) > 1:
            raise ValueError(
                f'The annotations have the category {name} with the ids '
                f'{some(ids[name])}: give every category a name of its own'
            )
    return [ids[name][0] for name in names]


def unknown_categories(
    coco: Mapping[str, Any], names: Sequence[str]
) -> list[str]:
    """Categories that a detector has no label for, but objects may have."""
    used = {item['category_id'] for item in coco['annotations']}
    return [
        category['name']
        for category in coco['categories']
        if category['name'] not in names
        and (not used or category['id'] in used)
    ]

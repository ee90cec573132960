"""Check that parts of a config agree with each other and with the data."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmdet_retina_plus.common.config_tree import (
    annotation_path,
    datasets_in,
    dotted_items,
    kind,
    part,
    walk,
)
from mmdet_retina_plus.common.text import some

from .categories import (
    check_classes,
    check_spelling,
    folded,
    is_plain,
    tuple_of,
    unused_classes,
)
from .data_sets import infos_of
from .findings import Finding, any_error, guarded
from .model_traits import scored_sets
from .scoring import ann_file_fix
from .split import Split


def check_registration(cfg: Mapping, text: str) -> list[Finding]:
    """Report own `custom_imports` that replace the inherited ones."""
    from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS

    ours = {
        name
        for registry in (MODELS, TASK_UTILS, TRANSFORMS)
        for name, member in registry.module_dict.items()
        if member.__module__.startswith('mmdet_retina_plus')
    }
    used = sorted({kind(x) for x in walk(cfg)} & ours)
    imports = part(cfg, 'custom_imports').get('imports', ())
    imports = [imports] if isinstance(imports, str) else imports
    imported = any(x.startswith('mmdet_retina_plus') for x in imports or ())
    if not used or imported or '__import__' in text:
        return []
    # Not an error: a module of the user may import ours.
    return [
        Finding(
            'warning',
            'custom_imports',
            f'nothing here imports the module that has {", ".join(used)}, '
            'unless yours does; your custom_imports replaces the inherited '
            'one',
            "custom_imports=dict(imports=['mmdet_retina_plus', 'yours'], "
            'allow_failed_imports=False)',
        )
    ]


def check_evaluators(cfg: Mapping) -> list[Finding]:
    findings = []
    for name in scored_sets(cfg):
        read = {
            os.path.realpath(annotation_path(config))
            for config in datasets_in(
                part(cfg, f'{name}_dataloader').get('dataset')
            )
            if config.get('ann_file')
        }
        key = f'{name}_evaluator'
        paths = [x.get('ann_file') for x in walk(cfg.get(key))]
        scored = [path for path in paths if isinstance(path, str) and path]
        # One of several evaluators may score against a part of the data.
        if scored and read and not read & set(map(os.path.realpath, scored)):
            message = (
                f'scores against {scored[0]}, but the data is {min(read)}'
            )
            fix = ann_file_fix(cfg, name)
            findings.append(Finding('error', key, message, fix))
    return findings


def check_exchanged(cfg: Mapping) -> list[Finding]:
    """Report exchanged files of training and validation, by file name."""
    names = {
        name: [
            os.path.basename(x['ann_file'])
            for x in datasets_in(
                part(cfg, f'{name}_dataloader').get('dataset')
            )
            if isinstance(x.get('ann_file'), str)
        ]
        for name in ('train', 'val')
    }
    scored = [x for x in names['train'] if re.search('val|test', x)]
    trained = [x for x in names['val'] if 'train' in x and 'val' not in x]
    if not (scored and trained) or any('train' in x for x in names['train']):
        return []
    return [
        Finding(
            'warning',
            'data',
            f'training has {scored[0]}, validation {trained[0]}: they seem '
            'to be exchanged',
            f'train_dataloader.dataset.ann_file={trained[0]!r} and '
            f'val_dataloader.dataset.ann_file={scored[0]!r}, also in '
            'val_evaluator',
        )
    ]


COUNTING = ('bbox_head', 'mask_head', 'mask_iou_head', 'segm_head')
"""Heads whose `num_classes` counts object classes."""


def classes_of(dataset: Any) -> Sequence[str]:
    """Classes of a built data set; thing classes of a panoptic one."""
    known = dataset.metainfo
    return known.get('thing_classes') or known.get('classes') or ()


def check_objects(datasets: Sequence[Any]) -> list[Finding]:
    """Check labels of training sets that are not in COCO format."""
    classes = classes_of(datasets[0])
    if any(classes_of(x) != classes for x in datasets):
        return []
    seen = {
        x['bbox_label']
        for dataset in datasets
        for info in infos_of(dataset)
        for x in info.get('instances') or ()
        if not x.get('ignore_flag')
    }
    if not seen:
        return [
            Finding(
                'error',
                'train data',
                'no image has an object of its classes '
                f'({some(classes)}), so AP stays 0',
                'metainfo=dict(classes=(…,)) with the names in its files',
            )
        ]
    return unused_classes(classes, seen)


def check_num_classes(
    cfg: Mapping, splits: Sequence[Split], others: Sequence[Any] = ()
) -> list[Finding]:
    """Compare `num_classes` of heads with the classes of valid data sets.

    Args:
        cfg: Config.
        splits: Data sets in COCO format.
        others: Built data sets in other formats.
    """
    classes = {
        len(split.classes)
        for split in splits
        if not any_error(guarded(check_classes, split))
    } | {len(x) for x in map(classes_of, others) if x}
    findings = []
    for path, value in dotted_items(cfg.get('model'), 'model.'):
        head, _, name = path.rpartition('.')
        # A cascade has a list of heads.
        key = [x for x in head.split('.') if not x.isdigit()][-1]
        number = head.rpartition('.')[2]
        subject = f'{key}[{number}]' if number.isdigit() else key
        ours = kind(part(cfg, head)) == 'UNetSemanticHead'
        counts = name == 'num_classes' and (key in COUNTING or ours)
        if not counts and name != 'num_things_classes':
            continue
        if not classes - {value}:
            continue
        right = min(classes - {value})
        if not isinstance(value, int):
            message = f'{name} is {value!r}, not a whole number'
            findings.append(
                Finding('error', subject, message, f'{path}={right}')
            )
            continue
        counted = ' or '.join(map(str, sorted(classes)))
        noun = 'class' if counted == '1' else 'classes'
        message = f'{name}={value}, but the data has {counted} {noun}'
        if value == right + 1:
            message += '; mmdet does not count the background'
        fix = f'{path}={right}'
        findings.append(Finding('error', subject, message, fix))
    return findings


def check_labels(splits: Sequence[Split]) -> list[Finding]:
    """Report files that list categories differently: labels follow order."""
    orders: dict[tuple[str, ...], Split] = {}
    for split in splits:
        if isinstance(split.classes, str) or not split.categories:
            continue
        # `check_classes` reports a set whose config names no classes.
        if not (split.names_classes or {*split.classes} & {*split.categories}):
            continue
        # `check_spelling` reports other spellings.
        if is_respelt(split):
            continue
        # A name twice in one file has its own finding.
        names = tuple(
            x for x in dict.fromkeys(split.categories) if x in split.classes
        )
        orders.setdefault(names, split)
    if len(orders) < 2:
        return []
    (first, one), *others = orders.items()
    for names, split in others:
        if list(map(folded, names)) == list(map(folded, first)):
            pairs = renamings(names, first)
            spelt = [x if is_plain(x, first) else ascii(x) for x in names]
            return [
                Finding(
                    'error',
                    split.subject,
                    f'{split.path} spells the categories of {one.path} '
                    f'differently ({some(spelt)}): training '
                    'treats them as separate classes',
                    f'write {pairs} into categories of {split.path}, and '
                    f'metainfo=dict(classes={tuple_of(first)}) in all data '
                    'sets',
                )
            ]
    union = list(dict.fromkeys(name for names in orders for name in names))
    listed = [{'id': n, 'name': x} for n, x in enumerate(union, 1)]
    same = len({tuple(x.categories) for x in orders.values()}) == 1
    differ = '; '.join(
        f'{split.name if same else split.path or split.name}: '
        f'{some(names, 5) or "none"}'
        for names, split in orders.items()
    )
    if same:
        return [
            Finding(
                'error',
                'data',
                'the data sets have different classes, so a label is another '
                f'class in each: {differ}',
                f'metainfo=dict(classes={tuple_of(union)}) in all data sets, '
                f'and num_classes={len(union)}',
                'lists',
            )
        ]
    return [
        Finding(
            'error',
            'data',
            'the annotation files list the categories differently, so '
            f'a label is another class in each: {differ}',
            'write the same categories into all files, and their ids into '
            f'the annotations: "categories": {json.dumps(listed)}, with '
            f'metainfo=dict(classes={tuple_of(union)}) in all data sets',
            'lists',
        )
    ]


def check_shifted_ids(splits: Sequence[Split]) -> list[Finding]:
    """Report category ids that are those of another file, shifted by one.

    A file may number its categories freely. But if no object has the new id,
    the objects seem to be numbered as in the other file.
    """
    ids = [
        {
            x.get('name'): x['id']
            for x in split.coco['categories']
            if isinstance(x.get('id'), int)
        }
        for split in splits
    ]
    findings = []
    for split, own in zip(splits[1:], ids[1:], strict=True):
        shifts = {own[name] - ids[0][name] for name in own if name in ids[0]}
        there = set(ids[0].values())
        if shifts not in ({1}, {-1}) or not all(
            isinstance(x, int) and x in there
            for x in split.column('category_id')
        ):
            continue
        (shift,) = shifts
        findings += split.warn(
            f'its categories have the ids of {splits[0].path} {shift:+d}, '
            'and no object has the new id: if objects are numbered as '
            'there, each gets another class',
            f'compare pictures of --show; if so, write the categories of '
            f'{splits[0].path} into {split.path}',
        )
    return findings


def in_json(name: str, other: str) -> str:
    """Write a name as JSON; escape its letters if it looks like the other."""
    return json.dumps(name, ensure_ascii=not is_plain(name, [other]))


def renamings(names: Sequence[str], right: Sequence[str]) -> str:
    """List the category names to write and the names they replace."""
    return ', '.join(
        f'"name": {in_json(new, old)} in place of {in_json(old, new)}'
        for old, new in zip(names, right, strict=True)
        if old != new
    )


def respelt(
    findings: Sequence[Finding], splits: Sequence[Split]
) -> list[Finding]:
    """Adapt fixes where one of several files spells categories differently.

    A concatenated set needs equal names in all files, so the fix changes the
    file, not the classes.
    """
    odd = {split.subject: split for split in splits if is_respelt(split)}
    if all(x.subject in odd for x in splits):
        return list(findings)
    renamed = {}
    for subject, split in odd.items():
        wanted = {folded(x): x for x in split.classes}
        pairs = renamings(
            split.categories,
            [wanted.get(folded(x), x) for x in split.categories],
        )
        renamed[subject] = f'write {pairs} into categories of {split.path}'
    return [
        replace(x, fix=renamed[x.subject])
        if x.subject in renamed
        and renamed[x.subject]
        and x.cause == 'spelling'
        else x
        for x in findings
    ]


def is_respelt(split: Split) -> bool:
    found = guarded(check_spelling, split)
    return any(x.cause == 'spelling' for x in found)


def join_labels(findings: Sequence[Finding]) -> list[Finding]:
    """Drop findings that different category lists explain."""
    if not any(x.cause == 'lists' for x in findings):
        return list(findings)
    return [
        x
        for x in findings
        if x.cause != 'classes' and 'meta information' not in x.message
    ]

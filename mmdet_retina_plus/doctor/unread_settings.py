"""Find keys of a config that nothing reads, such as typos."""

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mmdet_retina_plus.common.config_tree import (
    dotted_items,
    kind,
    part,
    walk,
)
from mmdet_retina_plus.common.python_code import one_line
from mmdet_retina_plus.common.suggestions import did_you_mean

from .findings import Finding

IDLE = ('allowed_border', 'debug', 'mask_size', 'pos_weight')
"""Keys of `train_cfg` that stock recipes have although no head reads them."""
CLOSED = {
    'auto_scale_lr': ('enable', 'base_batch_size'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'env_cfg.mp_cfg': ('mp_start_method', 'opencv_num_threads'),
    'randomness': ('seed', 'diff_rank_seed', 'deterministic'),
}
"""All keys that are read, by plain part of a config."""
HOOKS = (
    'checkpoint',
    'logger',
    'param_scheduler',
    'runtime_info',
    'sampler_seed',
    'timer',
    'visualization',
)
"""Common names in `default_hooks`; a run may have more."""


@cache
def source_of(built: type) -> str:
    """Source files of a class and its base classes, joined."""
    files = {
        inspect.getsourcefile(owner)
        for owner in inspect.getmro(built)
        if owner.__module__.partition('.')[0] not in ('builtins', 'torch')
    }
    return '\n'.join(Path(file).read_text() for file in files if file)


@cache
def words_of(built: type) -> tuple[frozenset[str], frozenset[str]]:
    """All words of `source_of` a class, and those read from a config."""
    text = source_of(built)
    read = re.findall(r'cfg(?:\.get\(|\[|\.)[\'"]?(\w+)', text)
    return frozenset(re.findall(r'\w+', text)), frozenset(read) - {'get'}


def classes_of(model: Mapping) -> list[type]:
    """All classes that a model names."""
    from mmdet.registry import MODELS, TASK_UTILS

    # `Registry.get` logs names that it does not know.
    known = TASK_UTILS.module_dict | MODELS.module_dict
    built = {known.get(kind(x)) for x in walk(model)}
    return [x for x in built if isinstance(x, type)]


def plain_keys(config: Any, prefix: str = '') -> Iterator[tuple[str, str]]:
    """Yield dotted key and name of settings outside of dicts with a type."""
    if isinstance(config, Mapping) and 'type' not in config:
        for name, value in config.items():
            yield f'{prefix}{name}', str(name)
            yield from plain_keys(value, f'{prefix}{name}.')
    elif isinstance(config, list | tuple):
        for number, value in enumerate(config):
            yield from plain_keys(value, f'{prefix}{number}.')


def check_head_settings(cfg: Mapping) -> list[Finding]:
    """Report keys of `train_cfg` and `test_cfg` that no source mentions."""
    model = part(cfg, 'model')
    known = [words_of(x) for x in classes_of(model)]
    if not known or not kind(model):
        return []
    words, read = (set().union(*sets) for sets in zip(*known, strict=True))
    return [
        unread(key, name, read)
        for path, value in dotted_items(model, 'model.')
        if path.rpartition('.')[2] in ('train_cfg', 'test_cfg')
        for key, name in plain_keys(value, f'{path}.')
        if name not in words and name not in IDLE
    ]


def unread(key: str, name: str, read: Any) -> Finding:
    """Report a key that nothing reads.

    Args:
        key: Dotted key.
        name: Its last part.
        read: Keys that are read in its place.
    """
    above = key.rpartition('.')[0]
    guess = did_you_mean(name, read)
    near = guess.partition('mean ')[2].rstrip('?')
    message = f'nothing reads {name}{guess}'
    if near:
        fix = f'{above}.{near}=… in place of {name}=…'
        return Finding('error', above, message, fix)
    return Finding('warning', above, message, f'leave {key} out')


STAGES = ('rcnn', 'rpn', 'rpn_proposal')
"""Parts of `train_cfg` and `test_cfg` of detectors of two stages."""
OF_RPN = ('nms_pre', 'min_bbox_size')
"""Keys that are usually meant for the first stage."""


def misplaced(cfg: Mapping) -> dict[str, Finding]:
    """Find keys that only a detector of another number of stages reads.

    Returns:
        Findings by dotted key, so that other checks can ignore the keys.
    """
    from mmdet.models import SingleStageDetector, TwoStageDetector
    from mmdet.registry import MODELS

    model = part(cfg, 'model')
    built = MODELS.module_dict.get(kind(model))
    found: dict[str, Finding] = {}
    if not isinstance(built, type):
        return found
    for name in ('test_cfg', 'train_cfg'):
        settings = part(model, name)
        if issubclass(built, TwoStageDetector):
            # Its class hands these on, and may read keys of its own.
            pattern = rf'{name}(?:\.get\(|\[|\.)[\'"]?(\w+)'
            read = {*re.findall(pattern, source_of(built)), *STAGES}
            for key in settings:
                stage = 'rpn' if key in OF_RPN else 'rcnn'
                if key not in read and isinstance(settings.get(stage), dict):
                    found[f'model.{name}.{key}'] = not_read(
                        built, name, key, {f'{stage}.{key}': settings[key]}
                    )
        elif issubclass(built, SingleStageDetector):
            read = set().union(*(words_of(x)[1] for x in classes_of(model)))
            for stage in STAGES:
                inner = settings.get(stage)
                if not isinstance(inner, Mapping) or stage in read:
                    continue
                found[f'model.{name}.{stage}'] = not_read(
                    built, name, stage, inner
                )
    return found


def not_read(built: type, name: str, key: str, right: Mapping) -> Finding:
    lines = [f'model.{name}.{x}={one_line(right[x])}' for x in right]
    return Finding(
        'error',
        f'model.{name}',
        f'{built.__name__} does not read model.{name}.{key}',
        f'{" ".join(lines)} in place of model.{name}.{key}',
    )


def check_plain_parts(cfg: Mapping) -> list[Finding]:
    """Report unknown keys in parts that no class validates."""
    findings = [
        unread(f'{path}.{name}', name, known)
        for path, known in CLOSED.items()
        for name in part(cfg, path)
        if name not in known
    ]
    return findings + [
        unread(f'default_hooks.{name}', name, HOOKS)
        for name in part(cfg, 'default_hooks')
        if name not in HOOKS and did_you_mean(name, HOOKS)
    ]


CHECKS = (check_head_settings, check_plain_parts)

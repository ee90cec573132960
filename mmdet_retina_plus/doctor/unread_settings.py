"""Keys of a config that nothing reads, as those with a typo are."""

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
from mmdet_retina_plus.common.suggestions import did_you_mean

from .findings import Finding

IDLE = ('allowed_border', 'debug', 'mask_size', 'pos_weight')
"""Keys of `train_cfg` that stock recipes have where no head reads them."""
CLOSED = {
    'auto_scale_lr': ('enable', 'base_batch_size'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'env_cfg.mp_cfg': ('mp_start_method', 'opencv_num_threads'),
    'randomness': ('seed', 'diff_rank_seed', 'deterministic'),
}
"""Plain parts of a config, of which other keys are not read."""
HOOKS = (
    'checkpoint',
    'logger',
    'param_scheduler',
    'runtime_info',
    'sampler_seed',
    'timer',
    'visualization',
)
"""Names of `default_hooks`, which a run may have more of."""


@cache
def source_of(built: type) -> str:
    """Text of the files of a class and of those that it inherits from."""
    files = {
        inspect.getsourcefile(owner)
        for owner in inspect.getmro(built)
        if owner.__module__.partition('.')[0] not in ('builtins', 'torch')
    }
    return '\n'.join(Path(file).read_text() for file in files if file)


def sources(model: Mapping) -> str:
    """Texts of all classes that a model names."""
    from mmdet.registry import MODELS, TASK_UTILS

    # Not `get`, which takes no unknown name quietly.
    known = TASK_UTILS.module_dict | MODELS.module_dict
    built = {known.get(kind(x)) for x in walk(model)}
    return '\n'.join(source_of(x) for x in built if isinstance(x, type))


def plain_keys(config: Any, prefix: str = '') -> Iterator[tuple[str, str]]:
    """Dotted key of what has no type and is left to its reader; its name."""
    if isinstance(config, Mapping) and 'type' not in config:
        for name, value in config.items():
            yield f'{prefix}{name}', str(name)
            yield from plain_keys(value, f'{prefix}{name}.')
    elif isinstance(config, list | tuple):
        for number, value in enumerate(config):
            yield from plain_keys(value, f'{prefix}{number}.')


def check_head_settings(cfg: Mapping) -> list[Finding]:
    """Keys of `train_cfg` and `test_cfg` in no source of the detector."""
    model = part(cfg, 'model')
    text = sources(model)
    if not text or not kind(model):
        return []
    words = set(re.findall(r'\w+', text))
    read = set(re.findall(r'cfg(?:\.get\(|\[|\.)[\'"]?(\w+)', text)) - {'get'}
    return [
        unread(key, name, read)
        for path, value in dotted_items(model, 'model.')
        if path.rpartition('.')[2] in ('train_cfg', 'test_cfg')
        for key, name in plain_keys(value, f'{path}.')
        if name not in words and name not in IDLE
    ]


def unread(key: str, name: str, read: Any) -> Finding:
    """A key in place of one that is read, or of none.

    Args:
        key: Dotted.
        name: Its last part.
        read: Keys that are.
    """
    above = key.rpartition('.')[0]
    guess = did_you_mean(name, read)
    near = guess.partition('mean ')[2].rstrip('?')
    message = f'nothing reads {name}{guess}'
    if near:
        fix = f'{above}.{near}=… in place of {name}=…'
        return Finding('error', above, message, fix)
    return Finding('warning', above, message, f'leave {key} out')


def check_plain_parts(cfg: Mapping) -> list[Finding]:
    """Keys of settings that have no class to refuse them."""
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

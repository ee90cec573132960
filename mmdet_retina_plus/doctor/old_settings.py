"""Translate top-level keys of mmdet 2 with their values."""

import ast
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mmdet_retina_plus.common.config_tree import kind, part
from mmdet_retina_plus.common.python_code import one_line

from .explanations import OLD_SETTINGS
from .findings import Finding
from .inheritance import changed_by, names_in
from .schedules import in_iterations, length_of

OF_OPTIMIZER = ('optimizer', 'optimizer_config', 'fp16')
"""Keys that become `optim_wrapper` in mmdet 3, in one fix."""


def sources(text: str) -> Iterator[str]:
    """Split the text of a config into the source of each of its files."""
    lines: list[str] = []
    for line in text.splitlines():
        if os.path.isabs(line) and line.endswith('.py'):
            yield '\n'.join(lines)
            lines = []
        else:
            lines.append(line)
    yield '\n'.join(lines)


def variables(text: str) -> set[str]:
    """Variables that a config uses to define other values.

    Args:
        text: Text of the config and of the configs it inherits from.
    """
    used: set[str] = set()
    for source in sources(text):
        # A config may be JSON or YAML.
        with suppress(SyntaxError):
            for statement in ast.parse(source).body:
                used |= names_in(statement) - changed_by(statement)
    return used


def inherits(text: str) -> bool:
    return re.search(r'^_base_\s*=', text, re.MULTILINE) is not None


def check_old_keys(cfg: Mapping, text: str) -> list[Finding]:
    """Report top-level keys of mmdet 2, which mmdet 3 does not read.

    Args:
        cfg: Config of the run.
        text: Text of the config and of the configs it inherits from.
    """
    used = variables(text)
    old = [key for key in cfg if key in OLD_SETTINGS and key not in used]
    joined = [key for key in old if key in OF_OPTIMIZER]
    findings = []
    if joined:
        one = len(joined) == 1
        findings.append(
            Finding(
                'error',
                ', '.join(joined),
                f'{" and ".join(joined)} {"is" if one else "are"} from mmdet '
                f'2; mmdet 3 does not read {"it" if one else "them"}',
                wrapper_of(cfg, joined, inherits(text)),
            )
        )
    for key in old:
        if key not in joined:
            message = f'{key} is from mmdet 2; mmdet 3 does not read it'
            fix = OLD_SETTINGS[key][1]
            if key == 'lr_config' and isinstance(cfg[key], Mapping):
                fix = schedules_of_mmdet_2(cfg)
            findings.append(Finding('error', key, message, fix))
    return findings


def wrapper_of(cfg: Mapping, keys: Sequence[str], has_base: bool) -> str:
    """Write `optim_wrapper` of mmdet 3.

    Args:
        cfg: Config of the run.
        keys: Keys of mmdet 2 that the config has.
        has_base: Whether the config has a base, whose optimizer may differ.
    """
    wrapper: dict[str, Any] = {}
    if 'fp16' in keys:
        wrapper['type'] = 'AmpOptimWrapper'
    optimizer = dict(part(cfg, 'optimizer'))
    if 'optimizer' in keys:
        by_name = optimizer.pop('paramwise_cfg', None)
        there = part(cfg, 'optim_wrapper.optimizer')
        other = there and kind(there) != kind(optimizer)
        first = {'_delete_': True} if other and has_base else {}
        wrapper['optimizer'] = first | optimizer
        if by_name is not None:
            wrapper['paramwise_cfg'] = by_name
    if 'optimizer_config' in keys:
        wrapper['clip_grad'] = part(cfg, 'optimizer_config').get('grad_clip')
    return f'optim_wrapper={one_line(wrapper)}'


def schedules_of_mmdet_2(cfg: Mapping) -> str:
    """Write `param_scheduler` of mmdet 3: warm-up and main schedule."""
    old = cfg['lr_config']
    by_epoch = old.get('by_epoch', True)
    schedules: list[dict[str, Any]] = []
    main: dict[str, Any] = {'type': 'MultiStepLR', 'by_epoch': by_epoch}
    length = length_of(cfg, None)
    policy = str(old.get('policy')).casefold()
    if policy == 'cosineannealing':
        whole = length.epochs if by_epoch else length.iterations
        main |= {'type': 'CosineAnnealingLR', 'T_max': whole or 12}
    elif policy == 'poly':
        main |= {'type': 'PolyLR', 'power': old.get('power', 1)}
    else:
        step = old.get('step', [8, 11])
        if isinstance(step, list | tuple):
            main['milestones'] = list(step)
        else:
            main |= {'type': 'StepLR', 'step_size': step}
        main['gamma'] = old.get('gamma', 0.1)
    if old.get('warmup'):
        schedules.append(
            {
                'type': 'LinearLR',
                'start_factor': old.get('warmup_ratio', 0.1),
                'by_epoch': bool(old.get('warmup_by_epoch')),
                'begin': 0,
                'end': old.get('warmup_iters', 500),
            }
        )
    if by_epoch and length.iterations and not length.epochs:
        main = in_iterations(main, [main], length.iterations)
    return f'param_scheduler={one_line([*schedules, main])}'

"""Check the metrics that hooks and schedules monitor."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmdet_retina_plus.common.config_tree import dotted_items, kind, walk

from .findings import Finding

OF_QUALITY = re.compile(r'mAP|AR|(^|/|_)AP')
"""Names of scores where higher is better."""


def formats_only(cfg: Mapping, name: str) -> bool:
    return any(x.get('format_only') for x in walk(cfg[f'{name}_evaluator']))


def waits(config: Mapping) -> bool:
    """Whether `monitor` or `save_best` of a config names a metric."""
    name = kind(config)
    return name in ('CheckpointHook', 'EarlyStoppingHook') or 'Plateau' in name


def best_of(scores: Mapping[str, float]) -> str:
    """First metric that has a value."""
    return next((x for x, value in scores.items() if value >= 0), 'auto')


def rules_of(config: Mapping) -> list[Any]:
    """Rules of the metrics of a config; one that is alone is that of all."""
    # Hooks infer the rule from common metric names.
    usual = 'less' if 'Plateau' in kind(config) else None
    given: Any = config.get('rule', usual)
    return list(given) if isinstance(given, list | tuple) else [given]


def monitored(cfg: Mapping) -> Iterator[tuple[str, str, int, Mapping]]:
    """Yield key, name and index of a metric, and what monitors it."""
    waiting = {
        path: one
        for name in ('default_hooks', 'custom_hooks', 'param_scheduler')
        for path, one in dotted_items({name: cfg.get(name)})
        if isinstance(one, Mapping) and waits(one)
    }
    for path, one in waiting.items():
        for key in ('save_best', 'monitor'):
            names = one.get(key)
            names = [names] if isinstance(names, str) else names or ()
            names = names if isinstance(names, list | tuple) else ()
            for at, name in enumerate(names):
                yield f'{path}.{key}', name, at, one


def check_monitors(cfg: Mapping, scores: Mapping[str, float]) -> list[Finding]:
    """Check the metrics that hooks and schedules monitor."""
    from mmdet_retina_plus.common.suggestions import hint, near_name

    findings = []
    # Other loops may name metrics differently.
    if kind(cfg.get('val_cfg')) not in ('', 'ValLoop'):
        scores = {}
    for key, name, at, one in monitored(cfg):
        rules = rules_of(one)
        rule = rules[0] if len(rules) == 1 else dict(enumerate(rules)).get(at)
        # 'auto' is the first metric.
        watched = next(iter(scores), name) if name == 'auto' else name
        if cfg.get('val_evaluator') is None:
            message = f'waits for {name}, but there is no validation'
            fix = f'{key}=None, or val_dataloader, val_cfg and val_evaluator'
            level: Any = 'warning'
        elif formats_only(cfg, 'val'):
            message = f'waits for {name}, but format_only=True scores nothing'
            fix = 'val_evaluator.format_only=False'
            level = 'error'
        elif scores and name not in ('auto', *scores):
            near = near_name(name, scores, always=True)
            message = f'no metric is called {name}{hint(near)}'
            fix = f'{key}={near or next(iter(scores))!r}'
            level = 'error'
        elif scores.get(name, 0) < 0:
            message = f'{name} is -1: no validation object counts for it'
            fix = f'{key}={best_of(scores)!r}'
            level = 'error'
        elif rule == 'less' and OF_QUALITY.search(watched):
            message = f"rule='less' keeps the lowest {watched}"
            if 'Plateau' in kind(one):
                message = (
                    f"rule='less', the default: the learning rate falls "
                    f'while {name} rises'
                )
            right: Any = 'greater'
            if len(rules) > 1:
                right = [*rules[:at], right, *rules[at + 1 :]]
            fix = f'{key.rpartition(".")[0]}.rule={right!r}'
            level = 'warning'
        else:
            continue
        findings.append(Finding(level, key, message, fix))
    return findings

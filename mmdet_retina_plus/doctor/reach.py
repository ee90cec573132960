"""Find hooks and loops that never act within the length of training."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmdet_retina_plus.common.config_tree import kind, part
from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.text import quantity

from .findings import Finding
from .schedules import Length, length_of

MANY_FILES = 500
"""Number of checkpoints above which a disk may fill."""
STALE = 0.5
"""Fraction of the initial weights above which an average is reported."""
PLAIN_AVERAGES = ('ExponentialMovingAverage', '')
EMA_MOMENTUM = 0.0002
"""Default of mmengine's EMAHook."""
VAL_INTERVAL = {'IterBasedTrainLoop': 1000}
"""Default of `val_interval` by loop; 1 for others."""
OFTEN = 300
"""Number of validations above which they take most of the time."""
AP_RISE = 0.02
"""Highest plausible `min_delta` for an AP."""
Found = Iterator[tuple[str, str]]
"""Yields messages and fixes."""


def hooks_of(cfg: Mapping) -> dict[str, Mapping]:
    """Configs of all hooks by dotted key."""
    named = {
        f'default_hooks.{name}': hook
        for name, hook in part(cfg, 'default_hooks').items()
    }
    own = cfg.get('custom_hooks')
    own = own if isinstance(own, list | tuple) else ()
    for number, hook in enumerate(own):
        named[f'custom_hooks.{number}'] = hook
    return {key: x for key, x in named.items() if isinstance(x, Mapping)}


def check_reach(cfg: Mapping, batches: int | None) -> list[Finding]:
    """Report hooks that never act, and hooks that act too often.

    Args:
        cfg: Config of the run.
        batches: Iterations per epoch, None if unknown.
    """
    length = length_of(cfg, batches)
    return [
        Finding('warning', key, message, fix)
        for key, hook in hooks_of(cfg).items()
        for find in (begins, saves, logs, averages, stops, closes)
        for message, fix in find(key, hook, length)
    ] + [
        Finding('warning', 'train_cfg', message, fix)
        for message, fix in intervals(part(cfg, 'train_cfg'), length)
    ]


def begins(key: str, hook: Mapping, length: Length) -> Found:
    """Report hooks that begin after training ends."""
    for name, value in hook.items():
        unit = re.fullmatch(r'(?:begin|start|switch)_(epoch|iter)', str(name))
        if unit is None or not is_number(value) or value <= 0:
            continue
        by_epoch = unit[1] == 'epoch'
        limit = length.epochs if by_epoch else length.iterations
        what = 'epochs' if by_epoch else 'iterations'
        if by_epoch and limit is None and length.iterations:
            message = (
                f'{name}={value} of {kind(hook)} counts epochs, but training '
                f'counts {length.iterations} iterations: it never acts'
            )
            yield message, f'{key}.{name}=0'
        elif limit is not None and value >= limit:
            message = (
                f'{name}={value} of {kind(hook)} comes after the {limit} '
                f'{what} of training: it never acts'
            )
            yield message, f'{key}.{name}={limit // 2}'


def saves(key: str, hook: Mapping, length: Length) -> Found:
    """Report intervals that save no checkpoint, only the last, or too many."""
    if kind(hook) != 'CheckpointHook':
        return
    interval = hook.get('interval', -1)
    by_epoch = hook.get('by_epoch', True)
    limit = length.epochs if by_epoch else length.iterations
    unit = 'epochs' if by_epoch else 'iterations'
    last = 'only the last weights are saved'
    if hook.get('save_last', True) is False:
        last = 'nothing is saved'
    if not is_number(interval) or interval <= 0:
        return
    if by_epoch and limit is None and length.iterations:
        yield (
            f'it counts epochs, but training counts {length.iterations} '
            f'iterations: {last}',
            f'{key}.by_epoch=False '
            f'{key}.interval={max(length.iterations // 10, 1)}',
        )
    elif limit is not None and interval > limit:
        yield (
            f'interval={interval} is more than the {limit} {unit} of '
            f'training: {last}',
            f'{key}.interval={max(limit // 10, 1)}',
        )
    elif limit is not None:
        count = int(limit // interval)
        kept = hook.get('max_keep_ckpts', -1)
        if count > MANY_FILES and not (is_number(kept) and kept > 0):
            yield (
                f'interval={interval} in {limit} {unit} saves '
                f'{quantity(count, "checkpoint")} and deletes none',
                f'{key}.max_keep_ckpts=3',
            )


def logs(key: str, hook: Mapping, length: Length) -> Found:
    """Report losses that are never logged; an epoch logs them at its end."""
    interval, total = hook.get('interval', 10), length.iterations
    if kind(hook) != 'LoggerHook' or not is_number(interval) or not total:
        return
    if length.epochs is None and interval > total:
        yield (
            f'interval={interval} is more than the {total} iterations of '
            'training: no loss is logged',
            f'{key}.interval={max(total // 20, 1)}',
        )


def averages(key: str, hook: Mapping, length: Length) -> Found:
    """Report averages that keep the initial weights."""
    momentum = hook.get('momentum', EMA_MOMENTUM)
    plain = kind({'type': hook.get('ema_type', '')}) in PLAIN_AVERAGES
    if kind(hook) != 'EMAHook' or not plain or not is_number(momentum):
        return
    begin, every = hook.get('begin_iter', 0), hook.get('interval', 1)
    if length.iterations is None or hook.get('begin_epoch', 0):
        return
    if not (is_number(begin) and is_number(every) and every > 0):
        return
    steps = int((length.iterations - begin) // every)
    if steps <= 0 or not 0 < momentum < 1:
        return
    left = (1 - momentum) ** steps
    if left > STALE:
        yield (
            f'after {steps} steps with momentum={momentum:g} the average, '
            f'which validation uses, is {left:.0%} initial weights',
            f'{key}.momentum={min(10 / steps, 0.1):.1g}',
        )


def stops(key: str, hook: Mapping, length: Length) -> Found:
    """Report early stopping with a `min_delta` that no AP reaches."""
    del length
    least = hook.get('min_delta', 0.1)
    if kind(hook) != 'EarlyStoppingHook' or not is_number(least):
        return
    if 'mAP' in str(hook.get('monitor')) and least > AP_RISE:
        yield (
            f'min_delta={least}: only a larger rise of {hook["monitor"]}, '
            'which is at most 1, counts, so training stops early',
            f'{key}.min_delta=0.001',
        )


def closes(key: str, hook: Mapping, length: Length) -> Found:
    """Report mosaics that are switched off for all epochs."""
    last = hook.get('num_last_epochs', 15)
    if kind(hook) != 'YOLOXModeSwitchHook' or not is_number(last):
        return
    if length.epochs is not None and last >= length.epochs:
        yield (
            f'num_last_epochs={last} covers all {length.epochs} epochs of '
            'training: no mosaic is made',
            f'{key}.num_last_epochs={max(length.epochs // 20, 1)}',
        )


def intervals(loop: Mapping, length: Length) -> Found:
    """Check `dynamic_intervals`, and `val_interval` including its default."""
    by_epoch = length.epochs is not None
    limit = length.epochs if by_epoch else length.iterations
    if limit is None:
        return
    usual = VAL_INTERVAL.get(kind(loop), 1)
    if 'val_interval' not in loop and usual > limit:
        yield (
            f'training of {limit} ends before its first validation: '
            f'{kind(loop)} has val_interval={usual}',
            f'train_cfg.val_interval={max(limit // 10, 1)}',
        )
    interval = loop.get('val_interval', usual)
    if not by_epoch and is_number(interval) and limit / interval > OFTEN:
        yield (
            f'val_interval={interval} counts iterations: '
            f'{limit // interval:.0f} validations in {limit}',
            f'train_cfg.val_interval={max(limit // 10, 1)}',
        )
    pairs: Any = loop.get('dynamic_intervals')
    late = [
        x[0]
        for x in (pairs if isinstance(pairs, list | tuple) else ())
        if isinstance(x, list | tuple) and x
        if is_number(x[0]) and x[0] >= limit
    ]
    if late:
        yield (
            f'dynamic_intervals begin at {late[0]}, after the {limit} '
            f'{"epochs" if by_epoch else "iterations"} of training',
            'train_cfg.dynamic_intervals=None',
        )


def check_loop(cfg: Mapping) -> list[Finding]:
    """Report missing validation, and training of zero length."""
    loop = part(cfg, 'train_cfg')
    length = loop.get('max_epochs', loop.get('max_iters'))
    interval = loop.get('val_interval', 1)
    begin = loop.get('val_begin', 1)
    if not is_number(length):
        return []
    if length <= 0:
        message, fix = f'training lasts {length}', 'train_cfg.max_epochs=12'
        return [Finding('error', 'train_cfg', message, fix)]
    if cfg.get('val_cfg') is None or not is_number(interval):
        return []
    if interval <= 0:
        message = f'val_interval={interval} stops training after an epoch'
        fix = 'train_cfg.val_interval=1'
        return [Finding('error', 'train_cfg', message, fix)]
    # mmdet uses the epoch after the last to switch validation off.
    if begin == length + 1:
        return []
    if interval > length or (is_number(begin) and begin > length):
        return [
            Finding(
                'warning',
                'train_cfg',
                f'training of {length} ends before its first validation '
                f'(val_interval={interval}, val_begin={begin})',
                f'train_cfg.val_interval={length}',
            )
        ]
    return []


CHECKS = (check_loop,)

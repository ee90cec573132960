"""Check checkpoints against the run that resumes or starts from them."""

import ast
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from mmdet_retina_plus.common.config_tree import datasets_in, part
from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.text import some

from .findings import Finding
from .preprocessor_settings import KEY, are_numbers, loads_rgb
from .schedules import length_of, schedules_of


def check_resumed_from(
    cfg: Mapping, path: str, loaded: Mapping
) -> list[Finding]:
    """Check where training resumes against its length.

    Args:
        cfg: Config of the run, with `resume=True`.
        path: Checkpoint file.
        loaded: Its contents.
    """
    file, length = os.path.basename(path), length_of(cfg, None)
    given = loaded.get('meta') or {}
    epoch, step = given.get('epoch'), given.get('iter')
    if not (isinstance(epoch, int) and isinstance(step, int)):
        return [
            Finding(
                'error',
                'resume',
                f'{file} names no epoch and iteration to resume from',
                'resume=False, which loads only the weights',
            )
        ]
    by_epoch = length.epochs is not None
    done, total = (
        (epoch, length.epochs) if by_epoch else (step, length.iterations)
    )
    unit = 'epoch' if by_epoch else 'iteration'
    if total is None:
        return []
    key = f'train_cfg.max_{"epochs" if by_epoch else "iters"}'
    if done >= total:
        return [
            Finding(
                'error',
                'resume',
                f'{file} is from {unit} {done}, and training ends at {total}: '
                'nothing is left to train',
                f'{key}={2 * done}, or resume=False to start a new training '
                'from these weights',
            )
        ]
    # Epoch 0: training counts iterations, or stopped in its first epoch.
    of_iterations = epoch == 0
    if by_epoch and epoch == 0:
        of_iterations = 'max_iters' in str(given.get('cfg'))
    if step > 0 and by_epoch == of_iterations:
        other = 'iterations' if by_epoch else 'epochs'
        return [
            Finding(
                'error',
                'resume',
                f'{file} (epoch {epoch}, iteration {step}) is from training '
                f'that counts {other}; this one counts {unit}s',
                'resume=False, or the train_cfg that it was saved with',
            )
        ]
    if 'optimizer' not in loaded:
        return [
            Finding(
                'warning',
                'resume',
                f'{file} has no optimizer state, so the optimizer starts '
                'from scratch',
                'load_from=… the checkpoint of the run, not a published one; '
                'or resume=False',
            )
        ]
    rate = part(cfg, 'optim_wrapper.optimizer').get('lr')
    saved = [
        group.get('initial_lr', group.get('lr'))
        for group in part(loaded, 'optimizer').get('param_groups') or ()
    ]
    scales = part(cfg, 'auto_scale_lr').get('enable')
    plain = not (scales or part(cfg, 'optim_wrapper').get('paramwise_cfg'))
    if plain and is_number(rate) and saved and rate not in saved:
        return [
            Finding(
                'warning',
                'resume',
                f'training resumes with lr={saved[0]} of {file}, and ignores '
                f'lr={rate} of the config',
                f'optim_wrapper.optimizer.lr={saved[0]}, or resume=False with '
                'load_from to train these weights with another lr',
            )
        ]
    kept = kept_schedules(cfg, loaded.get('param_schedulers'))
    if kept:
        return [
            Finding(
                'warning',
                'resume',
                f'training resumes with the schedules of {file} '
                f'({", ".join(kept)}), and ignores those of the config',
                'resume=False with load_from and a schedule for the rest of '
                'training, or the schedules that it was saved with',
            )
        ]
    message = f'resumes after {unit} {done} of {total}'
    return [Finding('ok', 'resume', message)]


RESTORED = ('milestones', 'T_max', 'end', 'gamma', 'eta_min', 'step_size')
"""Arguments that mmengine's schedulers take from a checkpoint."""


def kept_schedules(cfg: Mapping, saved: Any) -> list[str]:
    """Arguments that a checkpoint overrides, with the values they keep.

    Args:
        cfg: Config of the run.
        saved: States of the schedulers in the checkpoint.
    """
    schedules = schedules_of(cfg)
    if not isinstance(saved, list) or not saved or not schedules:
        return []
    if len(saved) != len(schedules):
        return [f'{len(saved)}, not {len(schedules)}']
    kept = []
    for schedule, state in zip(schedules, saved, strict=True):
        # Schedulers that were converted count iterations.
        if schedule.get('convert_to_iter_based') or not isinstance(
            state, Mapping
        ):
            continue
        for name in RESTORED:
            old, new = state.get(name), schedule.get(name)
            if name == 'milestones' and old is not None:
                old = sorted(Counter(old).elements())
                new = sorted(new) if isinstance(new, list | tuple) else new
            if old is not None and new is not None and old != new:
                kept.append(f'{name}={old}, not {new}')
    return kept


def check_saved_classes(
    cfg: Mapping, path: str, loaded: Mapping
) -> list[Finding]:
    """Report a checkpoint with the same classes in another order.

    Args:
        cfg: Config of the run.
        path: Checkpoint file.
        loaded: Its contents.
    """
    theirs = list(part(loaded, 'meta.dataset_meta').get('classes') or ())
    data = datasets_in(part(cfg, 'train_dataloader').get('dataset'))
    ours = next((part(x, 'metainfo').get('classes') for x in data), None) or ()
    if theirs == list(ours) or {*theirs} != {*ours}:
        return []
    file = os.path.basename(path)
    return [
        Finding(
            'warning',
            'load_from',
            f'{file} has the classes {some(theirs)}, and the config '
            f'{some(list(ours))}: each class gets the weights of another',
            'use the order of the checkpoint in classes, and in the '
            'categories of the annotation files',
        )
    ]


UNLIKE = 10
"""Ratio of two `std` that statistics of other images do not reach."""


def check_saved_statistics(
    cfg: Mapping, path: str, loaded: Mapping
) -> list[Finding]:
    """Report a checkpoint trained with another channel order or range.

    Args:
        cfg: Config of the run.
        path: Checkpoint file.
        loaded: Its contents.
    """
    theirs = saved_preprocessor(str(part(loaded, 'meta').get('cfg') or ''))
    ours = part(cfg, KEY)
    changed: dict[str, Any] = {}
    turns = [bool(x.get('bgr_to_rgb')) for x in (theirs, ours)]
    if theirs and turns[0] != turns[1] and not loads_rgb(cfg):
        changed['bgr_to_rgb'] = turns[0]
    trained, given = theirs.get('std'), ours.get('std')
    if are_numbers(trained) and are_numbers(given):
        ratio = np.mean(trained) / np.mean(given)
        if not 1 / UNLIKE < ratio < UNLIKE:
            changed |= {x: theirs.get(x) for x in ('mean', 'std')}
    if not changed:
        return []
    listed = ' and '.join(f'{x}={y}' for x, y in changed.items())
    return [
        Finding(
            'warning',
            'load_from',
            f'{os.path.basename(path)} was trained with {listed}, unlike this '
            'config: its weights get other values than they learnt from',
            ' '.join(f'{KEY}.{x}={y}' for x, y in changed.items()),
        )
    ]


def saved_preprocessor(text: str) -> Mapping[str, Any]:
    """Plain settings of the preprocessor in a config, which is not run.

    Args:
        text: Source of the config, as mmengine writes it into checkpoints.
    """
    try:
        nodes: list[Any] = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError):
        return {}
    calls = list(filter(is_preprocessor, nodes))
    found: dict[str, Any] = {}
    for keyword in calls[0].value.keywords if calls else ():
        with suppress(ValueError):  # Not a plain value.
            found[keyword.arg] = ast.literal_eval(keyword.value)
    return found


def is_preprocessor(node: ast.AST) -> bool:
    """Whether a node is data_preprocessor=dict(…), as in a model."""
    return (
        isinstance(node, ast.keyword)
        and node.arg == 'data_preprocessor'
        and isinstance(node.value, ast.Call)
    )

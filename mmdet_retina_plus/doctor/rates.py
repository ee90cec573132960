"""Simulate the learning rate over training, with mmengine's schedulers."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmdet_retina_plus.common.config_tree import kind, part
from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.python_code import one_line

from .findings import Finding
from .schedules import (
    COUNTED,
    DECAYS,
    STEPS,
    Length,
    is_plateau,
    length_of,
    scaled,
    schedules_of,
)

MOST = 5000
"""Maximum iterations to simulate; longer training is scaled down."""
REACHED = 0.9
"""Fraction of a rate at which it counts as reached."""
LATE = 0.6
"""Fraction of training by which the highest rate must be reached."""
LOW, LONG = 0.0101, 0.45
"""Fraction of the highest rate that is negligible, and of training."""
RISE = 0.1
"""Fraction of the highest rate by which the rate may rise again."""
CYCLIC = ('Restart', 'Cyclic', 'OneCycle')
"""Substrings in the names of schedules that rise on purpose."""


class StepError(ValueError):
    """A schedule that ends before training does."""


def shortened(schedule: Mapping, factor: float) -> dict[str, Any]:
    """Scale a schedule that counts iterations to shorter training."""
    if schedule.get('by_epoch', True):
        return dict(schedule)
    result = {
        key: scaled(value, factor)
        if key in (*COUNTED, 'total_steps')
        else value
        for key, value in schedule.items()
    }
    gamma = result.get('gamma')
    if kind(result) == 'ExponentialLR' and is_number(gamma):
        result['gamma'] = gamma ** (1 / factor)
    if is_number(result.get('end')):
        result['end'] = max(result['end'], result.get('begin', 0) + 2)
    return result


def simulated(
    schedules: Sequence[Mapping], length: Length, batches: int | None
) -> np.ndarray:
    """Learning rate of each iteration, relative to that of the optimizer.

    Args:
        schedules: Schedules of the learning rate.
        length: Length of training, with known iterations.
        batches: Iterations per epoch; None if training counts no epochs.

    Returns:
        Shape (iterations,), at most about `MOST`.

    Raises:
        StepError: A scheduler failed in a step.
        Exception: Any exception of a scheduler's constructor.
    """
    from mmengine.registry import PARAM_SCHEDULERS
    from torch import nn, optim

    total = length.iterations or 0
    factor = min(MOST / total, 1)
    epoch = max(round((batches or total) * factor), 1)
    steps = epoch * length.epochs if length.epochs else round(total * factor)
    optimizer = optim.SGD([nn.Parameter()], lr=1.0)
    default_end = {True: length.epochs or 1, False: steps}
    built = [
        PARAM_SCHEDULERS.build(
            {'end': default_end[schedule.get('by_epoch', True)]}
            | shortened(schedule, steps / total),
            default_args={'optimizer': optimizer, 'epoch_length': epoch},
        )
        for schedule in schedules
    ]
    rates = []
    for step in range(1, steps + 1):
        rates.append(optimizer.param_groups[0]['lr'])
        ends = length.epochs is not None and step % epoch == 0
        for scheduler in built:
            if not scheduler.by_epoch or ends:
                try:
                    scheduler.step()
                except Exception as error:  # Its assertions vary.
                    name = type(scheduler).__name__
                    raise StepError(
                        f'step {step} of {name} fails, {error}'
                    ) from error
    return np.array(rates)


def check_rates(cfg: Mapping, batches: int | None) -> list[Finding]:
    """Report rates that are never reached, come late, vanish or rise again.

    Args:
        cfg: Config of the run.
        batches: Iterations per epoch, None if unknown.
    """
    length = length_of(cfg, batches)
    rate = part(cfg, 'optim_wrapper.optimizer').get('lr')
    schedules = [
        x
        for x in schedules_of(cfg)
        if kind(x).endswith('LR') and not is_plateau(x)
    ]
    cyclic = any(name in kind(x) for x in schedules for name in CYCLIC)
    if not schedules or not length.iterations or not is_number(rate):
        return []
    # eta_min is absolute, and the simulated rate is 1.
    relative = [
        x | {'eta_min': x['eta_min'] / rate}
        if is_number(x.get('eta_min')) and rate
        else x
        for x in map(dict, schedules)
    ]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            shares = simulated(relative, length, batches)
    except StepError as error:
        if length.iterations > MOST:  # Scaling may be the cause.
            return []
        message = f'training stops: {error}'
        return [Finding('error', 'param_scheduler', message, usual(length))]
    except Exception:  # Another check reports failing constructors.
        return []
    if cyclic:
        return []
    message = problem_of(shares, rate, length.iterations, schedules)
    if not message:
        return []
    return [Finding('warning', 'param_scheduler', message, usual(length))]


def usual(length: Length) -> str:
    """Fix: a warm-up and two steps, over the length of training."""
    total, by_epoch = length.iterations or 0, length.epochs is not None
    end = length.epochs or total
    warm_up = {
        'type': 'LinearLR',
        'start_factor': 0.1,
        'by_epoch': False,
        'begin': 0,
        'end': max(total // 20, 2),
    }
    steps = {
        'type': 'MultiStepLR',
        'by_epoch': by_epoch,
        'begin': 0,
        'end': end,
        'milestones': [max(end * 2 // 3, 1), max(end * 11 // 12, 1)],
        'gamma': 0.1,
    }
    return f'param_scheduler={one_line([warm_up, steps])}'


def problem_of(
    shares: np.ndarray,
    rate: float,
    iterations: int,
    schedules: Sequence[Mapping],
) -> str:
    """Describe what is wrong with a learning rate, '' if nothing is.

    Args:
        shares: Simulated fractions of `rate`, (iterations,).
        rate: Learning rate of the optimizer.
        iterations: Iterations of training.
        schedules: Schedules that set the rate.
    """
    highest = shares.max()
    if highest < REACHED:
        return (
            f'the learning rate reaches at most {highest:.0%} of lr={rate} '
            f'in the {iterations} iterations of training'
        )
    start = int((shares >= REACHED * highest).argmax())
    if start > LATE * len(shares):
        return (
            f'the learning rate reaches its highest value only after '
            f'{start / len(shares):.0%} of training'
        )
    low = (shares <= LOW * highest).mean()
    if low > LONG:
        return (
            f'the learning rate is at most 1% of its highest value in '
            f'{low:.0%} of training'
        )
    lowest = np.minimum.accumulate(shares[start:])
    rises = shares[start:] - lowest
    if rises.max() > RISE * highest:
        at = int(rises.argmax())
        return (
            f'the learning rate falls to {lowest[at]:.0%} of lr={rate} and '
            f'rises again to {shares[start + at]:.0%}'
        )
    falls = any(kind(x) in (*STEPS, *DECAYS) for x in schedules)
    if falls and shares[-1] > (1 - RISE) * highest:
        return (
            f'the learning rate ends at {shares[-1] / highest:.0%} of its '
            'highest value, so its decay has no effect'
        )
    return ''

"""Check schedules of the learning rate against the length of training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import cos, inf, pi
from typing import Any

from mmdet_retina_plus.common.config_tree import kind, part
from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.python_code import one_line
from mmdet_retina_plus.common.text import quantity, some

from .findings import Finding

SHORTER, LONGER = 1.1, 0.75
"""Plausible ratios of the length of training to that of a schedule."""
MOST_EPOCHS, EARLY = 300, 0.05
"""Highest milestones, absolute and as a fraction, that may be epochs."""
STEPS = ('MultiStepLR', 'StepLR', 'ExponentialLR')
DECAYS = ('CosineAnnealingLR', 'PolyLR')
COUNTED = ('begin', 'end', 'T_max', 'step_size', 'milestones')
"""Arguments in epochs or iterations."""
Problem = tuple[str, Mapping[str, Any] | str]
"""Message and fix; a mapping sets keys of the schedule."""


@dataclass(frozen=True)
class Length:
    """Length of training; None where it is unknown."""

    epochs: int | None
    iterations: int | None

    def of(self, schedule: Mapping) -> tuple[int | None, str]:
        """Length in the unit that a schedule counts, and that unit."""
        if schedule.get('by_epoch', True):
            return self.epochs, 'epochs'
        return self.iterations, 'iterations'


def length_of(cfg: Mapping, batches: int | None) -> Length:
    """Length of training according to a config.

    Args:
        cfg: Config of the run.
        batches: Iterations per epoch, None if unknown.
    """
    loop = part(cfg, 'train_cfg')
    epochs, iterations = loop.get('max_epochs'), loop.get('max_iters')
    if isinstance(epochs, int) and epochs > 0:
        return Length(epochs, epochs * batches if batches else None)
    known = isinstance(iterations, int) and iterations > 0
    return Length(None, iterations if known else None)


def schedules_of(cfg: Mapping) -> list[Mapping]:
    """Schedules of a config, as a list even if there is one."""
    schedules = cfg.get('param_scheduler') or ()
    if isinstance(schedules, Mapping):
        schedules = [schedules]
    return [one for one in schedules if isinstance(one, Mapping)]


def is_plateau(schedule: Mapping) -> bool:
    """Whether a schedule counts validations, not epochs or iterations."""
    return 'Plateau' in kind(schedule)


def check_plateaus(cfg: Mapping) -> list[Finding]:
    """Report plateau schedules that never act."""
    loop = part(cfg, 'train_cfg')
    total = loop.get('max_epochs', loop.get('max_iters'))
    # A loop of iterations never counts epochs.
    epochs = 'max_epochs' in loop
    interval, begin = loop.get('val_interval', 1), loop.get('val_begin', 1)
    if not all(is_number(x) and x > 0 for x in (total, interval, begin)):
        return []
    number = int(total // interval - (begin - 1) // interval)
    several = not isinstance(cfg.get('param_scheduler'), Mapping)
    findings = []
    for place, schedule in enumerate(schedules_of(cfg)):
        key = 'param_scheduler' + several * f'.{place}'
        patience, name = schedule.get('patience', 10), kind(schedule)
        first = schedule.get('begin', 0)
        if not is_plateau(schedule) or not is_number(patience):
            continue
        if not epochs and is_number(first) and first > 0:
            message = f'begin={first} of {name} counts epochs, but the loop '
            message += 'counts iterations: it never acts'
            fix = f'{key}.begin=0'
        elif number <= patience + 2:
            message = (
                f'patience={patience} of {name} is too long for the '
                f'{quantity(number, "validation")} of training: the '
                'learning rate never falls'
            )
            fix = f'{key}.patience={max(number // 10, 1)}'
        else:
            continue
        findings.append(Finding('warning', 'param_scheduler', message, fix))
    return findings


def check_schedules(cfg: Mapping, batches: int | None) -> list[Finding]:
    """Report schedules that do not fit the length of training.

    Args:
        cfg: Config of the run.
        batches: Iterations per epoch, None if unknown.
    """
    length = length_of(cfg, batches)
    schedules = schedules_of(cfg)
    rate = part(cfg, 'optim_wrapper.optimizer').get('lr')
    several = not isinstance(cfg.get('param_scheduler'), Mapping)
    late = [
        problem[0]
        for schedule in schedules
        if schedule.get('by_epoch', True)
        for problem in [begin_problem(schedule, length)]
        if problem
    ]
    if late and len(schedules) > 1 and length.epochs:
        fix = f'param_scheduler={one_line(shorter(schedules, length.epochs))}'
        return [Finding('warning', 'param_scheduler', late[0], fix)]
    return [
        Finding('warning', 'param_scheduler', message, pasted(key, fix))
        for number, schedule in enumerate(schedules)
        if kind(schedule).endswith('LR') and not is_plateau(schedule)
        for key in ['param_scheduler' + several * f'.{number}']
        for message, fix in problems_of(schedule, schedules, length, rate)
    ]


def pasted(key: str, fix: Mapping[str, Any] | str) -> str:
    """Write a fix with full dotted keys."""
    if isinstance(fix, str):
        return fix
    return ' '.join(
        f'{key}.{name}={one_line(value)}' for name, value in fix.items()
    )


def problems_of(
    schedule: Mapping,
    all_of_them: Sequence[Mapping],
    length: Length,
    rate: Any,
) -> Iterator[Problem]:
    """Yield the first problem of a schedule, if it has any."""
    found = (
        unit_problem(schedule, all_of_them, length)
        or begin_problem(schedule, length)
        or warm_up_problem(schedule, length)
        or step_problem(schedule, length)
        or decay_problem(schedule, all_of_them, length)
        or lowest_problem(schedule, rate)
    )
    if found:
        yield found


def epochs_of(schedules: Sequence[Mapping]) -> float:
    """Number of epochs that schedules are written for."""
    marks = [
        x
        for one in schedules
        if one.get('by_epoch', True) and kind(one) != 'LinearLR'
        for x in (one.get('end'), one.get('T_max'))
        if is_number(x) and 0 < x < inf
    ]
    # Recipes of 12 epochs have their last milestone at 11.
    steps = [
        x * 12 / 11
        for one in schedules
        for x in one.get('milestones') or ()
        if one.get('by_epoch', True) and is_number(x)
    ]
    return max(marks or steps, default=12)


def scaled(value: Any, factor: float) -> Any:
    """Scale finite numbers to whole numbers of at least 1; keep others."""
    if isinstance(value, list | tuple):
        return [scaled(x, factor) for x in value]
    known = is_number(value) and 0 < value < inf
    return max(round(value * factor), 1) if known else value


def shorter(schedules: Sequence[Mapping], epochs: int) -> list[dict]:
    """Fit schedules that count epochs to the length of training."""
    factor = epochs / epochs_of(schedules)
    return [
        {
            key: scaled(value, factor)
            if key in COUNTED and one.get('by_epoch', True)
            else value
            for key, value in one.items()
        }
        for one in schedules
    ]


def in_iterations(
    schedule: Mapping, all_of_them: Sequence[Mapping], iterations: int
) -> dict[str, Any]:
    """Convert a schedule of epochs to iterations."""
    factor = iterations / epochs_of(all_of_them)
    result = {
        key: scaled(value, factor) if key in COUNTED else value
        for key, value in schedule.items()
        if key != 'convert_to_iter_based'
    }
    return result | {'by_epoch': False}


def unit_problem(
    schedule: Mapping, all_of_them: Sequence[Mapping], length: Length
) -> Problem | None:
    """Find epochs where training counts iterations, and the reverse."""
    name = kind(schedule)
    if schedule.get('by_epoch', True):
        if length.epochs is not None or length.iterations is None:
            return None
        return (
            f'{name} counts epochs, but training counts {length.iterations} '
            'iterations',
            one_line(in_iterations(schedule, all_of_them, length.iterations)),
        )
    named = [schedule.get(x) for x in ('end', 'T_max', 'step_size')]
    named += list(schedule.get('milestones') or ())
    marks = [x for x in named if is_number(x) and x < inf]
    epochs, iterations = length.epochs, length.iterations
    if epochs is None and iterations:
        return early_problem(schedule, iterations)
    if not (epochs and iterations and marks) or name == 'LinearLR':
        return None
    if max(marks) > epochs or 2 * max(marks) > iterations:
        return None
    return (
        f'by_epoch=False of {name} counts iterations, but {max(marks)} of '
        f'{iterations} looks like epochs',
        {'by_epoch': True},
    )


def early_problem(schedule: Mapping, iterations: int) -> Problem | None:
    """Find milestones in epochs where training counts iterations."""
    steps = [x for x in schedule.get('milestones') or () if is_number(x)]
    if not steps or max(steps) > min(MOST_EPOCHS, EARLY * iterations):
        return None
    epochs = dict(schedule, by_epoch=True)
    right = in_iterations(epochs, [epochs], iterations)
    return (
        f'milestones {some(steps)} of {iterations} iterations look like '
        'epochs',
        {'milestones': right['milestones']},
    )


def begin_problem(schedule: Mapping, length: Length) -> Problem | None:
    limit, unit = length.of(schedule)
    begin = schedule.get('begin', 0)
    if limit is None or not is_number(begin) or begin < limit:
        return None
    name = kind(schedule)
    return (
        f'{name} begins after the {limit} {unit} of training',
        {'begin': 0},
    )


def warm_up_problem(schedule: Mapping, length: Length) -> Problem | None:
    """Find a warm-up that is longer than training."""
    if kind(schedule) != 'LinearLR':
        return None
    limit, unit = length.of(schedule)
    begin, end = schedule.get('begin', 0), schedule.get('end', inf)
    fix = {'end': max((limit or 0) // 20, 2)}
    if length.iterations:
        fix = {'end': max(length.iterations // 20, 2), 'by_epoch': False}
    start = schedule.get('start_factor', 1 / 3)
    if not is_number(start) or start >= 1:
        return None
    if end == inf:
        return 'LinearLR has no end, so all of training is warm-up', fix
    if limit is None or not limit < end:
        return None
    done = (limit - 1 - begin) / max(end - 1 - begin, 1)
    highest = start + (schedule.get('end_factor', 1) - start) * done
    return (
        f'the warm-up of {end} {unit} is longer than training, which has '
        f'{limit}: the learning rate reaches {highest:.0%} of lr',
        fix,
    )


def step_problem(schedule: Mapping, length: Length) -> Problem | None:
    """Find steps that come too late, or that raise the learning rate."""
    name = kind(schedule)
    gamma = schedule.get('gamma')
    if name in STEPS and is_number(gamma) and gamma > 1:
        return (
            f'gamma={gamma} of {name} raises the learning rate',
            {'gamma': 0.1},
        )
    limit, unit = length.of(schedule)
    if limit is None:
        return None
    marks = sorted(x for x in schedule.get('milestones') or () if is_number(x))
    every, total = schedule.get('step_size'), schedule.get('total_steps')
    if is_number(total) and total > SHORTER * limit:
        return (
            f'total_steps={total} of {name} is more than the {limit} {unit} '
            'of training: the learning rate never falls',
            {'total_steps': limit},
        )
    fix = {'milestones': [limit * 2 // 3, limit * 11 // 12]}
    if marks and marks[0] >= limit:
        return (
            f'milestones {marks} of {name} come after the {limit} {unit} of '
            'training: the learning rate never falls',
            fix,
        )
    if is_number(every) and every >= limit:
        return (
            f'step_size={every} of {name} is not less than the {limit} '
            f'{unit} of training: the learning rate never falls',
            {'step_size': max(limit // 3, 1)},
        )
    if marks and marks[-1] >= limit:
        return (
            f'milestone {marks[-1]} of {name} comes after the {limit} {unit} '
            'of training',
            fix,
        )
    end = schedule.get('end', inf)
    if marks and marks[-1] >= end:
        return (
            f'milestone {marks[-1]} of {name} comes after its end={end}',
            {'end': limit},
        )
    return None


def decay_problem(
    schedule: Mapping, all_of_them: Sequence[Mapping], length: Length
) -> Problem | None:
    """Find decays that are much longer or shorter than training."""
    name = kind(schedule)
    limit, unit = length.of(schedule)
    if name not in DECAYS or limit is None:
        return None
    # The runner sets a missing end to the length of training.
    begin, end = schedule.get('begin', 0), schedule.get('end', limit)
    period = schedule.get('T_max') or end - begin
    key = f'T_max={period}' if schedule.get('T_max') else f'end={end}'
    whole = limit - begin
    span = min(end, limit) - begin
    right = {'end': limit}
    if name == 'CosineAnnealingLR':
        right = {'T_max': whole, 'end': limit}
    if span < LONGER * period:
        done = span / period
        left = (1 + cos(pi * done)) / 2
        if name == 'PolyLR':
            left = (1 - done) ** schedule.get('power', 1)
        return (
            f'{key} of {name} is longer than training ({whole} {unit}), '
            f'which ends at {left:.0%} of the learning rate',
            right,
        )
    if name == 'CosineAnnealingLR' and span > SHORTER * period:
        return (
            f'{key} of {name} is shorter than its span ({span} {unit}): the '
            'learning rate rises again',
            right,
        )
    follows = any(
        end <= other.get('begin', 0) < limit for other in all_of_them
    )
    if end - begin < LONGER * whole and not follows:
        return (
            f'{name} ends after {end} of {limit} {unit}: the rest trains '
            'with the lowest learning rate',
            right,
        )
    return None


def lowest_problem(schedule: Mapping, rate: Any) -> Problem | None:
    lowest = schedule.get('eta_min')
    if not (is_number(lowest) and is_number(rate)) or lowest <= rate:
        return None
    name = kind(schedule)
    return (
        f'eta_min={lowest} of {name} is higher than lr={rate}, so the '
        'learning rate rises',
        {'eta_min': float(f'{rate / 100:g}')},
    )

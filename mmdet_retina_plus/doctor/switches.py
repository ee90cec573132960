"""Try hooks that change the pipeline or the model during training."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from mmdet_retina_plus.common.config_tree import kind

from .data_sets import silence
from .explanations import explained
from .findings import Finding, any_error, is_error
from .pipelines import check_sample, choose, load_samples
from .reach import hooks_of
from .trial import check_loss_step

RESIZED = 1.5
"""Ratio of image sizes from which a switch changes them by mistake."""
LATE = 10**6
"""Epoch after which every hook has switched."""
ACTING = {
    'YOLOXModeSwitchHook': (
        ('before_train_epoch',),
        'leave {key} out: it is for YOLOX and MultiImageMixDataset',
    ),
    'EMAHook': (
        ('before_run', 'after_train_iter'),
        'remove from {key} the arguments that its ema_type does not take',
    ),
    'MeanTeacherHook': (
        ('before_train',),
        'leave {key} out: it is for a model with a teacher and a student',
    ),
}
"""Hooks that change a model: their methods, and the fix if they fail."""


def steps_in(hook: Mapping) -> dict[str, Sequence]:
    """Pipelines among the arguments of a hook, by name."""
    return {
        name: steps
        for name, steps in hook.items()
        if str(name).endswith('pipeline') and isinstance(steps, list | tuple)
    }


def check_switches(
    cfg: Mapping,
    model: Any,
    dataset: Any,
    there: Any,
    before: Sequence[Any] = (),
) -> list[Finding]:
    """Load samples and take a loss step as after each switch.

    Args:
        cfg: Config of the run.
        model: Detector; a copy is changed.
        dataset: Training data set as the runner builds it.
        there: Tells whether a path is a readable image.
        before: Samples before any switch.
    """
    findings = []
    for key, hook in hooks_of(cfg).items():
        for name, steps in steps_in(hook).items():
            where = f'{key}.{name}'
            if not hasattr(dataset, 'pipeline'):
                findings.append(without_pipeline(where, dataset))
                continue
            changed = copy.copy(dataset)
            findings += replaced(where, changed, steps) or step_after(
                where, model, changed, there, before
            )
        if kind(hook) not in ACTING:
            continue
        changed, other = copy.copy(dataset), copy.deepcopy(model)
        found = acted(key, hook, changed, other)
        if not found and kind(hook) == 'YOLOXModeSwitchHook':
            found = step_after(key, other, changed, there, before)
        findings += found
    return findings


def without_pipeline(key: str, dataset: Any) -> Finding:
    name = type(dataset).__name__
    return Finding(
        'warning',
        key,
        f'{name} has no pipeline, so nothing is switched',
        f'use the data set within {name} as train_dataloader.dataset',
    )


def replaced(key: str, dataset: Any, steps: Sequence) -> list[Finding]:
    """Replace the pipeline of a data set, or report why that fails."""
    from mmdet.registry import TRANSFORMS
    from mmengine.dataset import Compose

    for number, step in enumerate(steps):
        try:
            TRANSFORMS.build(dict(step))
        except Exception as error:  # A constructor may raise anything.
            return [explained(f'{key}[{number}]', error)]
    dataset.pipeline = Compose(steps)
    return []


def acted(key: str, hook: Mapping, dataset: Any, model: Any) -> list[Finding]:
    """Change a data set and a model as the hook would in training."""
    from mmdet.registry import HOOKS

    methods, fix = ACTING[kind(hook)]
    settings = {x: hook[x] for x in hook if x != 'priority'}
    runner = SimpleNamespace(
        epoch=LATE,
        iter=LATE,
        max_epochs=LATE,
        model=model,
        logger=SimpleNamespace(info=lambda *_: None),
        train_dataloader=SimpleNamespace(dataset=dataset),
    )
    try:
        with silence():
            built = HOOKS.build(settings)
            for name in methods:
                arguments = (0,) if name.endswith('_iter') else ()
                getattr(built, name)(runner, *arguments)
    except Exception as error:  # Another kind of data set or model.
        return [explained(key, error, fix=fix.replace('{key}', key))]
    return []


def sides_of(samples: Sequence[Any]) -> list[int]:
    """Longest sides of images, in pixels."""
    shapes = [getattr(x['inputs'], 'shape', ()) for x in samples]
    return [max(shape[-2:]) for shape in shapes if shape]


def check_sizes(
    key: str, before: Sequence[Any], after: Sequence[Any]
) -> list[Finding]:
    """Report images of another size after a switch, beyond chance."""
    old, new = sides_of(before), sides_of(after)
    if not old or not new:
        return []
    if max(new) > min(old) / RESIZED and max(old) > min(new) / RESIZED:
        return []
    return [
        Finding(
            'warning',
            key,
            f'images have sides of {max(new)} pixels after the switch, and '
            f'of {max(old)} before: the last epochs train on objects of '
            'another size',
            f'the scales of train_dataloader.dataset.pipeline in {key}',
        )
    ]


def step_after(
    key: str, model: Any, dataset: Any, there: Any, before: Sequence[Any]
) -> list[Finding]:
    """Report problems of samples and losses after a switch."""
    samples, findings = load_samples(key, dataset, there)
    if samples and not findings:
        findings = check_sample(key, samples, dataset, choose(dataset, there))
    if samples and not any_error(findings):
        found = filter(is_error, check_loss_step(model, samples))
        findings += [replace(x, subject=key) for x in found]
    return findings + check_sizes(key, before, samples)

"""Hooks that change the pipeline or the model in the middle of training."""

import copy
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from .data_sets import silence
from .explanations import explained
from .findings import Finding, any_error, is_error
from .pipelines import check_sample, choose, load_samples
from .reach import hooks_of
from .trial import check_loss_step

LATE = 10**6
"""Epochs after which every hook has switched."""


def steps_in(hook: Mapping) -> dict[str, Sequence]:
    """Pipelines that a hook is given, by their names."""
    return {
        name: steps
        for name, steps in hook.items()
        if str(name).endswith('pipeline') and isinstance(steps, list | tuple)
    }


def check_switches(
    cfg: Mapping, model: Any, dataset: Any, there: Any
) -> list[Finding]:
    """Samples and a loss step as they are after each switch.

    Args:
        cfg: Of the run.
        model: Detector, of which a copy is changed.
        dataset: Of training, as the runner builds it.
        there: Whether a path is that of a readable image.
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
                where, model, changed, there
            )
        if hook.get('type') in CLOSING:
            changed, other = copy.copy(dataset), copy.deepcopy(model)
            findings += closed(key, hook, changed, other) or step_after(
                key, other, changed, there
            )
    return findings


CLOSING = ('YOLOXModeSwitchHook', 'mmdet.YOLOXModeSwitchHook')
"""Hooks that leave steps out and add a loss."""


def without_pipeline(key: str, dataset: Any) -> Finding:
    name = type(dataset).__name__
    return Finding(
        'warning',
        key,
        f'{name} has no pipeline of its own, so nothing is switched',
        f'the data set within {name} as train_dataloader.dataset',
    )


def replaced(key: str, dataset: Any, steps: Sequence) -> list[Finding]:
    """Give a data set another pipeline, or say why it cannot be built."""
    from mmdet.registry import TRANSFORMS
    from mmengine.dataset import Compose

    for number, step in enumerate(steps):
        try:
            TRANSFORMS.build(dict(step))
        except Exception as error:  # Whatever a constructor raises.
            return [explained(f'{key}[{number}]', error)]
    dataset.pipeline = Compose(steps)
    return []


def closed(key: str, hook: Mapping, dataset: Any, model: Any) -> list[Finding]:
    """Change a data set and a model as the hook does at its epoch."""
    from mmdet.registry import HOOKS

    settings = {x: hook[x] for x in hook if x != 'priority'}
    runner = SimpleNamespace(
        epoch=LATE,
        max_epochs=LATE,
        model=model,
        logger=SimpleNamespace(info=lambda *_: None),
        train_dataloader=SimpleNamespace(dataset=dataset),
    )
    try:
        with silence():
            HOOKS.build(settings).before_train_epoch(runner)
    except Exception as error:  # Of a data set or a model of another kind.
        fix = f'leave {key} out: it is for YOLOX and MultiImageMixDataset'
        return [explained(key, error, fix=fix)]
    return []


def step_after(
    key: str, model: Any, dataset: Any, there: Any
) -> list[Finding]:
    """Problems of samples and losses, as they are after a switch."""
    samples, findings = load_samples(key, dataset, there)
    if samples and not findings:
        findings = check_sample(key, samples, dataset, choose(dataset, there))
    if samples and not any_error(findings):
        findings += filter(is_error, check_loss_step(model, samples))
    return findings

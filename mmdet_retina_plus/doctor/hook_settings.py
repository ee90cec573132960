"""Check hooks, logging, visualisation and process settings of a run."""

import copy
import logging
import multiprocessing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

from mmdet_retina_plus.common.config_tree import kind, part, walk
from mmdet_retina_plus.common.suggestions import near_name
from mmdet_retina_plus.common.text import some

from .building import attempt, known_type
from .findings import Finding
from .reach import hooks_of


def check_hooks(cfg: Mapping) -> list[Finding]:
    """Build each hook, the log processor and the visualizer."""
    from mmengine.registry import HOOKS, LOG_PROCESSORS, VISUALIZERS

    findings: list[Finding] = []
    visualizer = dict(cfg.get('visualizer') or {'type': 'Visualizer'})
    backends = visualizer.pop('vis_backends', None) or ()
    visualizer['name'] = 'doctor'
    _, problems = attempt('visualizer', lambda: VISUALIZERS.build(visualizer))
    findings += problems + check_backends(backends)
    hooks = {
        f'default_hooks.{name}': hook
        for name, hook in (cfg.get('default_hooks') or {}).items()
    }
    for number, hook in enumerate(cfg.get('custom_hooks') or ()):
        hooks[f'custom_hooks[{number}]'] = hook
    for key, hook in hooks.items():
        if hook is not None:
            # The runner reads the priority itself.
            own = {x: hook[x] for x in hook if x != 'priority'}
            _, problems = attempt(key, partial(HOOKS.build, own))
            findings += problems + check_priority(key, hook)
    if cfg.get('log_processor') is not None:
        settings = {'type': 'LogProcessor'} | dict(cfg['log_processor'])
        _, problems = attempt(
            'log_processor', lambda: LOG_PROCESSORS.build(settings)
        )
        findings += problems
    return findings


PACKAGES = {
    'TensorboardVisBackend': 'tensorboard',
    'WandbVisBackend': 'wandb',
    'MLflowVisBackend': 'mlflow',
    'ClearMLVisBackend': 'clearml',
    'NeptuneVisBackend': 'neptune',
    'DVCLiveVisBackend': 'dvclive',
    'AimVisBackend': 'aim',
}
"""Packages that mmengine's backends import when they first write."""


def check_backends(backends: Any) -> list[Finding]:
    """Check names and packages: some backends connect to a server if built."""
    from mmengine.registry import VISBACKENDS

    findings = []
    for number, backend in enumerate(backends):
        key = f'visualizer.vis_backends[{number}]'
        _, problems = attempt(
            key,
            partial(known_type, VISBACKENDS, 'mmengine::vis_backend', backend),
        )
        findings += problems
        package = PACKAGES.get(kind(backend))
        if package and find_spec(package) is None:
            message = f'{kind(backend)} needs {package}, which is not there: '
            message += 'training stops as it starts'
            fix = f"pip install {package}, or dict(type='LocalVisBackend')"
            findings.append(Finding('error', key, message, fix))
    return findings


def check_priority(key: str, hook: Any) -> list[Finding]:
    """Check `priority`, which the runner reads, not the hook."""
    from mmengine.runner.priority import Priority, get_priority

    priority = part({'hook': hook}, 'hook').get('priority')
    if priority is None:
        return []
    try:
        get_priority(priority)
    except (KeyError, ValueError, TypeError):
        return check_choice(
            f'{key}.priority', priority, [x.name for x in Priority], 'NORMAL'
        )
    return []


def check_choice(
    key: str, value: Any, known: Iterable[str], usual: str
) -> list[Finding]:
    """Check a setting that must be one of a few strings."""
    if value in (names := list(known)):
        return []
    near = near_name(str(value), names) or usual
    message = f'{value!r} is none of {", ".join(names)}'
    return [Finding('error', key, message, f'{key}={near!r}')]


def check_absent_hooks(cfg: Mapping) -> list[Finding]:
    """Report default hooks of mmengine that are set to None."""
    hooks = part(cfg, 'default_hooks')
    absent = {
        'param_scheduler': (
            cfg.get('param_scheduler'),
            'no hook steps param_scheduler: the learning rate never changes',
            'ParamSchedulerHook',
        ),
        'checkpoint': (
            cfg.get('train_cfg'),
            'no hook saves a checkpoint: the weights are lost',
            'CheckpointHook',
        ),
    }
    return [
        Finding(
            'warning',
            f'default_hooks.{name}',
            message,
            f"default_hooks.{name}=dict(type='{hook}')",
        )
        for name, (needs, message, hook) in absent.items()
        if needs and hooks.get(name, hook) is None
    ]


COLLECTIVES = ('nccl', 'gloo', 'mpi', 'ucc', 'xccl', 'hccl', 'cncl')
"""Backends of torch.distributed, also of other accelerators."""


def check_process(cfg: Mapping) -> list[Finding]:
    """Check start method, log level and backend, which a run reads first."""
    key = 'env_cfg.mp_cfg'
    method = part(cfg, key).get('mp_start_method', 'fork')
    methods = multiprocessing.get_all_start_methods()
    findings = check_choice(f'{key}.mp_start_method', method, methods, 'fork')
    key = 'env_cfg.dist_cfg'
    backend = part(cfg, key).get('backend', 'nccl')
    findings += check_choice(f'{key}.backend', backend, COLLECTIVES, 'nccl')
    level = cfg.get('log_level', 'INFO')
    if isinstance(level, str):
        names = logging.getLevelNamesMapping()
        findings += check_choice('log_level', level, names, 'INFO')
    return findings


MIXED = ('Mosaic', 'MixUp')
"""Ends of the names of transforms that mix images."""
SKIPPED = ('Mosaic', 'RandomAffine', 'MixUp')
"""Default `skip_type_keys` of YOLOXModeSwitchHook."""


def check_mixing(cfg: Mapping) -> list[Finding]:
    """Report YOLOX and RTMDet that train on mixed images to the end."""
    detector = kind(part(cfg, 'model'))
    mixed = [
        kind(x)
        for x in walk(cfg.get('train_dataloader'))
        if kind(x).endswith(MIXED)
    ]
    hooks = {x: hook for x, hook in hooks_of(cfg).items() if hook}
    switches = {
        key: hook.get('skip_type_keys') or SKIPPED
        for key, hook in hooks.items()
        if kind(hook) == 'YOLOXModeSwitchHook'
    }
    left = {
        key: [x for x in mixed if x not in names]
        for key, names in switches.items()
    }
    findings = [
        Finding(
            'warning',
            key,
            f'it leaves {some(names)} in the pipeline: the last epochs train '
            'on mixed images',
            f'{key}.skip_type_keys={(*switches[key], *names)}',
        )
        for key, names in left.items()
        if names
    ]
    replaced = any(
        name.endswith('pipeline') for hook in hooks.values() for name in hook
    )
    if switches or replaced or not mixed or detector not in ENDED:
        return findings
    return [
        Finding(
            'warning',
            'custom_hooks',
            f'no hook ends {some(sorted({*mixed}))}: {detector} should see '
            'whole images in the last epochs',
            f'custom_hooks=[…, {ENDED[detector]}]',
        )
    ]


ENDED = {
    'YOLOX': "dict(type='YOLOXModeSwitchHook', num_last_epochs=15, "
    'priority=48)',
    'RTMDet': "dict(type='PipelineSwitchHook', switch_epoch=max_epochs - 20, "
    'switch_pipeline=train_pipeline_stage2)',
}
"""Hooks that end the mixing, by detector."""


def check_seed(cfg: Mapping) -> list[Finding]:
    seed = part(cfg, 'randomness').get('seed')
    if seed is None or (isinstance(seed, int) and 0 <= seed < 2**32):
        return []
    message = f'seed={seed!r} is not a whole number from 0 to 2 ** 32 - 1'
    return [Finding('error', 'randomness', message, 'randomness.seed=0')]


def check_tta(cfg: Mapping) -> list[Finding]:
    """Build what only `--tta` builds; warn, for training does not stop."""
    from mmdet.registry import MODELS, TRANSFORMS

    builds: dict[str, Callable[[], Any]] = {}
    model = cfg.get('tta_model')
    if model is not None:
        builds['tta_model'] = partial(
            known_type, MODELS, 'mmdet::model', model
        )
    for number, step in enumerate(cfg.get('tta_pipeline') or ()):
        builds[f'tta_pipeline[{number}]'] = partial(
            TRANSFORMS.build, copy.deepcopy(step)
        )
    return [
        replace(finding, level='warning')
        for key, build in builds.items()
        for finding in attempt(key, build)[1]
    ]


CHECKS = (
    check_hooks,
    check_absent_hooks,
    check_process,
    check_seed,
    check_tta,
)

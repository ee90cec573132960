"""Build loaders, optimizer, schedules and loops as a run does."""

import copy
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from types import SimpleNamespace
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmdet_retina_plus.common.config_file import READ_BY_MMDET, parts_read
from mmdet_retina_plus.common.config_tree import kind, part
from mmdet_retina_plus.common.text import verb

from .building import attempt
from .explanations import OLD_SETTINGS, explained
from .findings import Finding
from .old_settings import variables
from .optimizer_settings import check_accumulation, check_attention
from .paramwise_settings import check_multipliers, check_trained
from .rates import check_rates
from .reach import check_reach
from .schedules import check_plateaus, check_schedules, length_of

ALMOST = 0.85
"""Minimum similarity of a typo to the intended name."""
SHORTEST = 7
"""Minimum length of a module's name within a longer one, not `weight`."""
OF_FAMILIES = (
    'absolute_pos_embed',
    'reference_points',
    'relative_position_bias_table',
)
"""Keys in `custom_keys` of recipes that some of their models lack."""
NORMS = ('norm', 'bn', 'ln', 'gn')
"""Names of `custom_keys` for normalisation layers."""
LEAST = {'batch_size': 1, 'num_workers': 0}
TRAINING = ('train_dataloader', 'train_cfg', 'optim_wrapper')
RUNNER_KEYS = {
    *parts_read(),
    *READ_BY_MMDET,
    *(f'{name}_pipeline' for name in ('train', 'val', 'test')),
    'vis_backends',
}
"""Top-level keys that a run reads or that configs commonly have."""


class Parts(Runner):
    """Give access to mmengine's builders without starting a run."""

    def __init__(self, cfg: Mapping, model: Any) -> None:
        self.model = model
        self.cfg = cfg
        self._randomness_cfg: dict = {}
        self._seed = 0
        self._hooks: list = []
        self._train_dataloader = cfg.get('train_dataloader')
        self._train_loop = cfg.get('train_cfg')
        self._val_dataloader = self._test_dataloader = Length(None)
        self._val_evaluator = self._test_evaluator = Evaluator([])
        self.logger = SimpleNamespace(debug=lambda *_: None)
        self.visualizer = SimpleNamespace(dataset_meta=None)


def check_keys(cfg: Mapping, text: str) -> list[Finding]:
    """Report top-level keys that nothing reads and that look like a typo.

    Args:
        cfg: Config of the run.
        text: Text of the config and of the configs it inherits from.
    """
    findings = []
    used = variables(text)
    for key in cfg:
        if key in RUNNER_KEYS or key in OLD_SETTINGS or key in used:
            continue
        guess = near_key(key)
        if guess:
            findings.append(
                Finding(
                    'error',
                    key,
                    f'nothing reads {key}; did you mean {guess}?',
                    f'{guess}=… in place of {key}=…',
                )
            )
    return findings


def near_key(key: str) -> str:
    """Key that a run reads and that `key` may be a typo of; '' if none."""
    known = sorted({*parts_read(), *READ_BY_MMDET})
    near = next(iter(get_close_matches(key, known, 1, ALMOST)), '')
    # A variable may be a variant of a key: model_2, train_cfg_large.
    version = re.fullmatch(r'_\w*|\d+', key.removeprefix(near))
    return '' if near and version else near


def check_triples(cfg: Mapping) -> list[Finding]:
    """Check that three related settings are set together or not at all."""
    triples = (
        TRAINING,
        ('val_dataloader', 'val_cfg', 'val_evaluator'),
        ('test_dataloader', 'test_cfg', 'test_evaluator'),
    )
    return [
        Finding(
            'error',
            triple[1],
            f'{" and ".join(absent)} {verb(len(absent), "are")} not set, but '
            f'{" and ".join(there)} {verb(len(there), "are")}',
            f'set {", ".join(absent)}, or all three to None',
        )
        for triple in triples
        for absent in [[x for x in triple if cfg.get(x) is None]]
        for there in [[x for x in triple if cfg.get(x) is not None]]
        # Another check reports keys of mmdet 2.
        if not any(
            old in cfg and new in absent
            for old, (new, _) in OLD_SETTINGS.items()
        )
        if 0 < len(absent) < len(triple)
    ]


class Length:
    """Stand in for a loader, whose workers a loop would start."""

    def __init__(self, loader: Any) -> None:
        self.length = 100 if loader is None else len(loader)
        self.dataset = SimpleNamespace(metainfo={})

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def build_loader(
    cfg: Mapping, name: str, dataset: Any
) -> tuple[Any, list[Finding]]:
    """Build a loader, and draw its first batch of indices."""
    key = f'{name}_dataloader'
    for number, least in LEAST.items():
        value = cfg[key].get(number, least)
        if not isinstance(value, int) or value < least:
            message = (
                f'{number}={value!r} is not a whole number of at least {least}'
            )
            fix = f'{key}.{number}=2'
            return None, [Finding('error', key, message, fix)]
    settings = dict(copy.deepcopy({
        key: value for key, value in cfg[key].items() if key != 'dataset'
    }))  # fmt: skip
    settings['dataset'] = dataset
    # The builder deep-copies its settings, and a data set is large.
    dataset.__deepcopy__ = lambda memo: dataset
    loader, findings = attempt(
        key, lambda: Runner.build_dataloader(settings, seed=0)
    )
    del dataset.__deepcopy__
    if loader is not None and len(loader):
        _, findings = attempt(
            f'{key}.sampler', lambda: next(iter(loader.batch_sampler))
        )
    if loader is not None and not findings and not len(loader):
        findings = [
            Finding(
                'error',
                key,
                f'batch_size {cfg[key].get("batch_size")} with drop_last '
                f'leaves no batch of {len(dataset)} images',
                f'{key}.batch_size={len(dataset)}',
            )
        ]
    return loader, findings + check_end(cfg, name)


def check_batch(name: str, loader: Any, samples: Any) -> list[Finding]:
    """Collate samples with the loader's `collate_fn`."""
    if loader is None or not samples:
        return []
    key = f'{name}_dataloader.collate_fn'
    fix = f"{key}=dict(type='pseudo_collate')"
    try:
        loader.collate_fn(list(samples[:2]))
    except Exception as error:  # A function may raise anything.
        return [explained(key, error, fix=fix)]
    return []


def check_end(cfg: Mapping, name: str) -> list[Finding]:
    """Report an infinite sampler in a loop that waits for its end."""
    sampler = kind(part(cfg, f'{name}_dataloader.sampler'))
    by_epoch = 'max_epochs' in part(cfg, 'train_cfg')
    if not sampler.endswith('InfiniteSampler') or (
        name == 'train' and not by_epoch
    ):
        return []
    key = f'{name}_dataloader.sampler'
    what = 'the first epoch' if name == 'train' else 'the loop'
    return [
        Finding(
            'error',
            key,
            f'{sampler} has no end, so {what} never ends',
            f"{key}.type='DefaultSampler'",
        )
    ]


def check_run(cfg: Mapping, model: Any, loader: Any) -> list[Finding]:
    """Build and check loop, optimizer and schedules."""
    findings: list[Finding] = []
    parts = Parts(cfg, model)
    if cfg.get('train_cfg') is None:
        return findings
    batches = None if loader is None else len(loader)
    parts._train_dataloader = Length(loader)
    loop, problems = attempt(
        'train_cfg', lambda: parts.build_train_loop(cfg['train_cfg'])
    )
    findings += problems
    if loop is not None:
        parts._train_loop = loop
        findings += check_schedules(cfg, batches) or check_rates(cfg, batches)
        findings += check_plateaus(cfg)
        findings += check_reach(cfg, batches)
        findings += check_accumulation(cfg, length_of(cfg, batches).iterations)
    if model is None or cfg.get('optim_wrapper') is None:
        return findings
    settings = copy.deepcopy(dict(cfg['optim_wrapper']))
    if kind(settings) == 'AmpOptimWrapper':
        # The run may use another machine, with a GPU.
        settings = {
            key: value
            for key, value in settings.items()
            if key not in ('loss_scale', 'dtype')
        } | {'type': 'OptimWrapper'}
    several = any(isinstance(x, OptimWrapper) for x in settings.values())
    if not (settings.keys() & {'optimizer', 'constructor'} or several):
        message = 'it has no optimizer'
        fix = (
            "optim_wrapper.optimizer=dict(type='SGD', lr=0.01, momentum=0.9, "
            'weight_decay=0.0001)'
        )
        findings.append(Finding('error', 'optim_wrapper', message, fix))
        return findings
    if isinstance(part(settings, 'optimizer').get('lr'), str):
        return findings  # `check_rate` reports it.
    _, problems = attempt(
        'optim_wrapper.optimizer', lambda: check_optimizer(settings)
    )
    if problems:
        return findings + problems
    parts.optim_wrapper, problems = attempt(
        'optim_wrapper', lambda: parts.build_optim_wrapper(settings)
    )
    findings += problems
    findings += check_trained(cfg, model, parts.optim_wrapper)
    findings += check_parameter_names(cfg, model)
    findings += check_multipliers(cfg)
    findings += check_attention(cfg, model)
    schedule = cfg.get('param_scheduler')
    if not (schedule is None or loop is None or parts.optim_wrapper is None):
        _, problems = attempt(
            'param_scheduler', lambda: parts.build_param_scheduler(schedule)
        )
        findings += problems
    return findings


def check_parameter_names(cfg: Mapping, model: Any) -> list[Finding]:
    """Report `custom_keys` that match no parameter of the model."""
    key = 'optim_wrapper.paramwise_cfg.custom_keys'
    names = [name for name, _ in model.named_parameters()]
    steps = sorted({x for name in names for x in name.split('.')})
    findings = []
    for missing, given in part(cfg, key).items():
        if missing in OF_FAMILIES or any(missing in name for name in names):
            continue
        message = (
            f'no parameter has {missing!r} in its name, so it does nothing'
        )
        above = [missing[:at] for at, x in enumerate(missing) if x == '.']
        there = [x for x in above if any(x in name for name in names)]
        close = get_close_matches(missing, steps, 1, ALMOST)
        # For example `img_backbone` of mmdet3d.
        within = [x for x in steps if len(x) >= SHORTEST and x in missing]
        longest = sorted(within, key=len)[-1:]
        near = next(iter([*there[-1:], *close, *longest]), '')
        fix = f'leave {missing!r} out of {key}'
        decay = part({'given': given}, 'given').get('decay_mult')
        if near:
            message += f'; did you mean {near}?'
            fix = f'{near!r} in place of {missing!r} in {key}'
        elif missing in NORMS and decay is not None:
            fix = f'{key.rpartition(".")[0]}.norm_decay_mult={decay}'
        findings.append(Finding('warning', key, message, fix))
    return findings


def check_optimizer(settings: Mapping) -> None:
    """Look up the optimizer: mmengine's own error is misleading.

    Raises:
        KeyError: Its name is unknown.
    """
    from mmengine.registry import OPTIMIZERS

    name = part(settings, 'optimizer').get('type')
    if isinstance(name, str) and OPTIMIZERS.get(name) is None:
        raise KeyError(f'{name} is not in the mmengine::optimizer registry')


def check_loops(cfg: Mapping) -> list[Finding]:
    """Build the loops of validation and test, with empty loaders."""
    parts = Parts(cfg, None)
    builders = {
        'val_cfg': parts.build_val_loop,
        'test_cfg': parts.build_test_loop,
    }
    return [
        finding
        for key, build in builders.items()
        if cfg.get(key) is not None
        for finding in attempt(key, partial(build, dict(cfg[key])))[1]
    ]


CHECKS = (
    check_triples,
    check_loops,
)

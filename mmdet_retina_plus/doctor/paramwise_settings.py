"""Check which parameters train, and their learning rates."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from mmdet_retina_plus.common.config_tree import kind, part
from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.suggestions import did_you_mean

from .findings import Finding
from .optimizer_settings import KEY, RATES
from .weights import check_frozen, starting_weights

MULTIPLIERS = ('lr_mult', 'decay_mult')
PARAMWISE = (
    'custom_keys',
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'dwconv_decay_mult',
    'flat_decay_mult',
    'dcn_offset_lr_mult',
    'bypass_duplicate',
)
"""Keys that mmengine's DefaultOptimWrapperConstructor reads."""


def check_trained(cfg: Mapping, model: Any, wrapper: Any) -> list[Finding]:
    """Check that parameters train, and their learning rates.

    Args:
        cfg: Config of the run.
        model: Detector.
        wrapper: Built optimizer wrapper; None if that failed.
    """
    if not any(x.requires_grad for x in model.parameters()):
        return [
            Finding(
                'error',
                'model',
                'no parameter of the model trains, all are frozen',
                'model.backbone.frozen_stages=1',
            )
        ]
    backbone = getattr(model, 'backbone', None)
    weights = [] if backbone is None else list(backbone.parameters())
    # Frozen random weights have their own finding.
    fixed = weights and not any(x.requires_grad for x in weights)
    if fixed and not check_frozen(cfg):
        frozen = part(cfg, 'model.backbone').get('frozen_stages')
        return [
            Finding(
                'warning',
                'backbone',
                f'frozen_stages={frozen} freezes the whole backbone',
                'model.backbone.frozen_stages=1, unless only the heads are '
                'to train',
            )
        ]
    groups = getattr(getattr(wrapper, 'optimizer', None), 'param_groups', ())
    rates = {x['lr'] for x in groups if is_number(x.get('lr'))}
    key = 'optim_wrapper.paramwise_cfg'
    if rates == {0}:
        return [
            Finding(
                'error',
                key,
                'the learning rate of every parameter is 0',
                f'{key}=None, or an lr_mult above 0',
            )
        ]
    name = kind(part(cfg, KEY))
    high = RATES.get(name, (0, 1.0))[1]
    base = part(cfg, KEY).get('lr')
    if is_number(base) and base <= high < max(rates, default=0):
        return [
            Finding(
                'warning',
                key,
                f'lr_mult raises the learning rate to {max(rates):g}, too '
                f'high for {name}',
                f'{key}=None, or an lr_mult of at most {high / base:g}',
            )
        ]
    return []


def is_random(cfg: Mapping) -> bool:
    """Whether the backbone starts with random weights."""
    own = part(cfg, 'model.backbone').get('init_cfg')
    return not (own or starting_weights(cfg) or cfg.get('load_from'))


def check_odd_multipliers(cfg: Mapping) -> list[Finding]:
    """Report heads that do not train, and backbones faster than heads."""
    key = 'optim_wrapper.paramwise_cfg.custom_keys'
    findings = []
    for name, given in part(cfg, key).items():
        factor = part({'x': given}, 'x').get('lr_mult')
        message = ''
        if re.search('head|neck', name) and factor == 0:
            message = f'lr_mult=0: {name} keeps its initial weights'
        elif 'backbone' in name and factor == 0 and is_random(cfg):
            message = (
                f'lr_mult=0, and no weights are loaded: {name} keeps its '
                'random initial weights'
            )
        elif 'backbone' in name and is_number(factor) and factor > 1:
            message = (
                f'lr_mult={factor} trains {name} faster than the heads, not '
                'slower'
            )
        if message:
            right = 1.0 if factor == 0 else 0.1
            fix = f'{key}.{name}.lr_mult={right}'
            if '.' in name:  # Its dots would be parsed as nested keys.
                changed = {name: {**given, 'lr_mult': right}}
                fix = f'{key}={dict(part(cfg, key)) | changed}'
            findings.append(Finding('warning', key, message, fix))
    return findings


def check_multipliers(cfg: Mapping) -> list[Finding]:
    """Report `paramwise_cfg` keys that mmengine's constructor ignores."""
    from mmengine.registry import OPTIMIZERS

    wrapper = part(cfg, 'optim_wrapper')
    usual = 'DefaultOptimWrapperConstructor'
    if wrapper.get('constructor', usual) != usual:
        return []
    key = 'optim_wrapper.paramwise_cfg'
    settings = part(cfg, key)
    name = kind(part(cfg, KEY))
    options = OPTIMIZERS.get(name) if name else None
    if options is None:
        return []
    known = (*MULTIPLIERS, *inspect.signature(options).parameters)
    places: list[tuple[str, Mapping, tuple[str, ...]]]
    places = [(key, settings, PARAMWISE)]
    places += [
        (f'{key}.custom_keys.{name}', value, known)
        for name, value in part(settings, 'custom_keys').items()
        if isinstance(value, Mapping)
    ]
    return [
        Finding(
            'error',
            place,
            f'nothing reads {name}{did_you_mean(name, allowed, always=True)}',
            f'{name} of {place} renamed, or left out',
        )
        for place, value, allowed in places
        for name in value
        if name not in allowed
    ]


CHECKS = (check_odd_multipliers,)

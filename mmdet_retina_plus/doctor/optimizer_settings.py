"""Report implausible settings of the optimizer and its wrapper."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mmdet_retina_plus.common.config_tree import kind, part
from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.suggestions import hint, near_name
from mmdet_retina_plus.common.text import quantity

from .findings import Finding

RATES = {'SGD': (1e-5, 0.5), 'Adam': (1e-7, 0.005), 'AdamW': (1e-7, 0.005)}
"""Lowest and highest plausible learning rates."""
DECAYS = {
    'SGD': (0.005, 0.0001),
    'Adam': (0.005, 0.0001),
    'AdamW': (0.5, 0.05),
}
"""Highest plausible weight decay, and the default."""
SHORT = 0.01
"""Gradient norm below which SGD learns nothing."""
VANISH = 0.001
"""Fraction lost per step above which weights vanish."""
DTYPES = ('float16', 'bfloat16', 'float32', 'float64')
SLOW = 0.99
"""Highest plausible momentum."""
EMA = 0.5
"""Momentum of EMAHook above which nothing is averaged."""
LARGE = 0.001
"""Highest plausible `eps` of Adam."""
FEW_STEPS = 10
LARGEST_SCALE = 2**24
"""Loss scale above which float16 gradients always overflow."""
KEY = 'optim_wrapper.optimizer'
ATTENTION = ('WindowMSA', 'MultiScaleDeformableAttention')
"""Attention of transformers that is not torch's."""


def check_rate(cfg: Mapping) -> list[Finding]:
    """Report implausible learning rates."""
    optimizer = part(cfg, KEY)
    name = kind(optimizer)
    rate = optimizer.get('lr')
    low, high = RATES.get(name, (1e-8, 1.0))
    usual = 0.0001 if name.startswith('Adam') else 0.01
    if not optimizer:
        return []
    if rate is None:
        if name not in RATES:
            return []
        message = f'lr is not set, so {name} uses 0.001'
        return [Finding('warning', KEY, message, f'{KEY}.lr={usual}')]
    if not is_number(rate):
        message = f'lr is {rate!r}, not a number'
    elif not rate > 0:
        message = f'with lr={rate} nothing is learnt'
    elif rate > high:
        message = f'lr={rate} is too high for {name}, so losses grow'
    elif rate < low:
        message = f'lr={rate} is too low for {name} to learn'
    else:
        return []
    with suppress(ValueError, TypeError):
        usual = usual if is_number(rate) else float(rate)
    may_be = is_number(rate) and rate > 0
    level: Any = 'warning' if may_be else 'error'
    return [Finding(level, KEY, message, f'{KEY}.lr={usual}')]


def check_optimizer_options(cfg: Mapping) -> list[Finding]:
    """Report implausible weight decay, momentum and `eps`."""
    optimizer = part(cfg, KEY)
    name = kind(optimizer)
    findings = []
    epsilon = optimizer.get('eps')
    decay, momentum = optimizer.get('weight_decay'), optimizer.get('momentum')
    high, usual = DECAYS.get(name, (1.0, 0.0001))
    if is_number(decay) and decay > high:
        rate = optimizer.get('lr')
        vanish = is_number(rate) and rate * decay > VANISH
        message = f'weight_decay={decay} shrinks all weights to zero'
        if not vanish:
            message = (
                f'weight_decay={decay} is {decay / usual:,.0f} times the '
                f'usual {usual} of {name}: it outweighs the gradients'
            )
        findings.append(
            Finding(
                'error' if vanish else 'warning',
                KEY,
                message,
                f'{KEY}.weight_decay={usual}',
            )
        )
    if is_number(momentum) and not 0 <= momentum < 1:
        findings.append(
            Finding(
                'error',
                KEY,
                f'momentum={momentum} is not in [0, 1): steps grow without '
                'bound',
                f'{KEY}.momentum=0.9',
            )
        )
    elif is_number(momentum) and momentum > SLOW:
        findings.append(
            Finding(
                'warning',
                KEY,
                f'momentum={momentum} averages {1 / (1 - momentum):,.0f} '
                'gradients, so steps overshoot',
                f'{KEY}.momentum=0.9',
            )
        )
    elif name.startswith('Adam') and is_number(epsilon) and epsilon > LARGE:
        findings.append(
            Finding(
                'warning',
                KEY,
                f'eps={epsilon} is larger than most gradients, so {name} '
                'learns slowly',
                f'{KEY}.eps=1e-8',
            )
        )
    elif name == 'SGD' and 'lr' in optimizer and not momentum:
        findings.append(
            Finding(
                'warning',
                KEY,
                'SGD without momentum: its steps are a tenth of what the '
                'learning rates of recipes assume',
                f'{KEY}.momentum=0.9',
            )
        )
    return findings


def check_scaling(cfg: Mapping) -> list[Finding]:
    """Report `auto_scale_lr` without `base_batch_size`."""
    scaling = part(cfg, 'auto_scale_lr')
    if not scaling.get('enable') or scaling.get('base_batch_size'):
        return []
    return [
        Finding(
            'error',
            'auto_scale_lr',
            'enable=True without base_batch_size, the batch size that lr is '
            'meant for: training stops as it starts',
            'auto_scale_lr.base_batch_size=16',
        )
    ]


def check_precision(cfg: Mapping) -> list[Finding]:
    """Check AmpOptimWrapper, which can be built only on a GPU."""
    wrapper = part(cfg, 'optim_wrapper')
    if kind(wrapper) != 'AmpOptimWrapper':
        return []
    findings = []
    dtype, scale = wrapper.get('dtype'), wrapper.get('loss_scale', 'dynamic')
    if isinstance(dtype, str) and dtype not in DTYPES:
        near = near_name(dtype, DTYPES[:2], always=True) or DTYPES[0]
        findings.append(
            Finding(
                'error',
                'optim_wrapper',
                f'dtype={dtype!r} is none of {", ".join(DTYPES)}',
                f'optim_wrapper.dtype={near!r}',
            )
        )
    if is_number(scale) and scale > LARGEST_SCALE:
        message = f'loss_scale={scale} is beyond the range of float16'
        fix = "optim_wrapper.loss_scale='dynamic'"
        findings.append(Finding('error', 'optim_wrapper', message, fix))
    elif scale != 'dynamic' and not isinstance(scale, float | Mapping):
        findings.append(
            Finding(
                'error',
                'optim_wrapper',
                f"loss_scale={scale!r} is neither 'dynamic' nor a float such "
                'as 512.0',
                "optim_wrapper.loss_scale='dynamic'",
            )
        )
    return findings


def check_averages(cfg: Mapping) -> list[Finding]:
    """Check `momentum` of EMAHook: it is the fraction of the new weights."""
    return [
        Finding(
            'warning',
            'custom_hooks',
            f'momentum={momentum} of EMAHook is the weight of the newest '
            'weights, so nothing is averaged',
            f'custom_hooks.{number}.momentum={1 - momentum:.4g}',
        )
        for own in [cfg.get('custom_hooks')]
        for number, hook in enumerate(
            own if isinstance(own, list | tuple) else ()
        )
        if isinstance(hook, Mapping) and kind(hook) == 'EMAHook'
        for momentum in [hook.get('momentum')]
        if is_number(momentum) and momentum > EMA
    ]


def check_accumulation(cfg: Mapping, iterations: int | None) -> list[Finding]:
    """Report gradient accumulation that leaves too few steps.

    Args:
        cfg: Config of the run.
        iterations: Iterations of the whole training, None if unknown.
    """
    counts = part(cfg, 'optim_wrapper').get('accumulative_counts', 1)
    if not iterations or not is_number(counts) or counts <= 1:
        return []
    steps = -(-iterations // int(counts))
    if steps >= FEW_STEPS:
        return []
    right = max(iterations // 100, 1)
    return [
        Finding(
            'warning',
            'optim_wrapper',
            f'accumulative_counts={counts} leaves {quantity(steps, "step")} '
            f'of the {iterations} iterations of training',
            f'optim_wrapper.accumulative_counts={right}',
        )
    ]


def check_attention(cfg: Mapping, model: Any) -> list[Finding]:
    """Report SGD for transformers, which hardly learn with it."""
    from torch import nn

    optimizer = kind(part(cfg, KEY))
    names = {
        type(x).__name__
        for x in model.modules()
        if isinstance(x, nn.MultiheadAttention)
        or type(x).__name__ in ATTENTION
    }
    if optimizer != 'SGD' or not names:
        return []
    return [
        Finding(
            'warning',
            KEY,
            f'SGD hardly trains transformers, and the model has {min(names)}: '
            'their recipes have AdamW',
            "optim_wrapper=dict(_delete_=True, type='OptimWrapper', "
            "optimizer=dict(type='AdamW', lr=0.0001, weight_decay=0.05), "
            'clip_grad=dict(max_norm=1.0))',
        )
    ]


CLIPPING = {
    'norm': ('max_norm', 'norm_type', 'error_if_nonfinite', 'foreach'),
    'value': ('clip_value', 'foreach'),
}
"""Arguments that torch accepts, by the `type` of clip_grad."""


def check_clipping(cfg: Mapping) -> list[Finding]:
    """Report arguments that torch refuses in the first step."""
    key = 'optim_wrapper.clip_grad'
    given = part(cfg, key)
    known = CLIPPING.get(given.get('type', 'norm'), ())
    findings = []
    for name in given:
        if known and name not in ('type', *known):
            near = near_name(name, known, always=True)
            findings.append(
                Finding(
                    'error',
                    key,
                    f'clipping takes no {name}{hint(near)}',
                    f'{near}={given[name]} in place of {name}',
                )
            )
    return findings


def check_clipped_norm(cfg: Mapping) -> list[Finding]:
    """Report clipping that leaves no gradient."""
    key = 'optim_wrapper.clip_grad'
    norm = part(cfg, key).get('max_norm')
    if is_number(norm) and 0 < norm < SHORT:
        optimizer = kind(part(cfg, 'optim_wrapper.optimizer'))
        # Adam normalises gradients.
        if optimizer != 'SGD':
            return []
        message = f'max_norm={norm} leaves SGD next to no gradient'
        return [Finding('warning', key, message, f'{key}.max_norm=35')]
    if not is_number(norm) or norm > 0:
        return []
    message = f'max_norm={norm} leaves no gradient'
    return [Finding('error', key, message, f'{key}.max_norm=10')]


CHECKS = (
    check_clipping,
    check_clipped_norm,
    check_scaling,
    check_rate,
    check_optimizer_options,
    check_precision,
    check_averages,
)

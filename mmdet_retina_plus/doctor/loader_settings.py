"""Check data loader settings: resizing at test time, the batch size."""

from collections.abc import Mapping

from mmdet_retina_plus.common.config_tree import kind, part, walk
from mmdet_retina_plus.common.numbers import is_number

from .findings import Finding
from .inheritance import bases_of, is_set_later, value_before
from .model_traits import is_retina, scored_sets
from .weights import BATCH_NORMS, setting

OF_RECIPES = {'SGD': 0.02, 'AdamW': 0.0001}
"""Highest learning rates of common recipes, for batches of 16."""
EXCESS = 4
"""Ratio to these above which losses may diverge."""
LEAST_SGD, LEAST_ADAM = 0.01, 0.003
"""Learning rates up to which they hardly do, whatever the batch."""


def check_test_resize(cfg: Mapping) -> list[Finding]:
    if not is_retina(cfg):
        return []
    findings = []
    for name in scored_sets(cfg):
        loader = part(cfg, f'{name}_dataloader')
        pipelines = [x['pipeline'] for x in walk(loader) if x.get('pipeline')]
        steps = [kind(step) for step in walk(pipelines)]
        if pipelines and not any('Resize' in step for step in steps):
            message = f'no Resize in the {name} pipeline, so no scale_factor'
            fix = "add dict(type='Resize', scale=…, keep_ratio=True)"
            findings.append(Finding('error', 'pipeline', message, fix))
    return findings


def check_learning_rate(file: str, cfg: Mapping) -> list[Finding]:
    """Report a learning rate for another batch size, unless it was changed.

    Args:
        file: Config file.
        cfg: Values of the config.
    """
    size = 'auto_scale_lr.base_batch_size'
    scaling = part(cfg, 'auto_scale_lr')
    meant = scaling.get('base_batch_size')
    batch = part(cfg, 'train_dataloader').get('batch_size')
    if not meant or not batch or meant == batch:
        return []
    if scaling.get('enable'):
        return scaled_twice(file, cfg, batch / meant)
    if is_set_later(file, 'optim_wrapper.optimizer.lr', size, cfg):
        return []
    optimizer = part(cfg, 'optim_wrapper.optimizer')
    rate, highest = optimizer.get('lr'), OF_RECIPES.get(kind(optimizer), 0)
    # Without bases, only the value shows whether the rate is scaled.
    scaled = is_number(rate) and rate * meant / batch <= highest
    if scaled and not bases_of(file):
        return []
    message = (
        f'the learning rate is meant for batches of {meant}; on one device '
        f'they have {batch} images'
    )
    fix = (
        f'auto_scale_lr.enable=True, or {size}={batch} if lr is right for '
        f'one device; do nothing if you train on {meant / batch:g}'
    )
    return [Finding('warning', 'schedule', message, fix)]


def scaled_twice(file: str, cfg: Mapping, factor: float) -> list[Finding]:
    """Report a rate scaled by hand that `auto_scale_lr` scales again.

    Args:
        file: Config file.
        cfg: Values of the config.
        factor: By which `auto_scale_lr` multiplies the rate on one device.
    """
    key = 'optim_wrapper.optimizer.lr'
    # Another optimizer, or fine-tuning, has its own rate.
    if value_before(file, f'{key[:-3]}.type', cfg) or cfg.get('load_from'):
        return []
    before, rate = value_before(file, key, cfg), part(cfg, key[:-3]).get('lr')
    if not (is_number(before) and is_number(rate) and before * factor > 0):
        return []
    by_hand = rate / before
    if factor > 1 / 2 or not 0.9 < by_hand / factor < 1.1:
        return []
    return [
        Finding(
            'warning',
            'auto_scale_lr',
            f"lr={rate} is {by_hand:.3g} of the base's {before}, as the batch "
            f'size is; enable=True scales it to {rate * factor:.2g}',
            f'auto_scale_lr.enable=False, or {key}={before}',
        )
    ]


def check_small_batch(file: str, cfg: Mapping) -> list[Finding]:
    """Report a learning rate of large batches that nothing scales.

    Args:
        file: Config file.
        cfg: Values of the config.
    """
    size, key = 'auto_scale_lr.base_batch_size', 'optim_wrapper.optimizer.lr'
    scaling, loader = part(cfg, 'auto_scale_lr'), part(cfg, 'train_dataloader')
    meant, batch = scaling.get('base_batch_size'), loader.get('batch_size')
    optimizer = part(cfg, 'optim_wrapper.optimizer')
    rate, enabled = optimizer.get('lr'), scaling.get('enable')
    # Another check compares two sizes; without `enable` they are declared.
    if (meant and not (enabled and meant == batch)) or not (
        is_number(rate) and is_number(batch) and batch > 0
    ):
        return []
    before = value_before(file, size, cfg) if meant else None
    if before and is_set_later(file, size, key, cfg):
        return [
            Finding(
                'warning',
                'auto_scale_lr',
                f'base_batch_size={meant} is the batch size itself, so '
                f'lr={rate} is not scaled, which the base means for {before}',
                f'{size}={before}',
            )
        ]
    counts = part(cfg, 'optim_wrapper').get('accumulative_counts', 1)
    images = batch * (counts if is_number(counts) else 1)
    recipe = OF_RECIPES.get(kind(optimizer))
    if recipe is None:
        return []
    if kind(optimizer) == 'SGD':
        right, least = recipe * images / 16, LEAST_SGD
    else:
        right, least = recipe, LEAST_ADAM
    if rate <= least or rate < EXCESS * right:
        return []
    return [
        Finding(
            'warning',
            'schedule',
            f'lr={rate} of {kind(optimizer)} is high for batches of {images} '
            f'on one device: the loss may diverge; recipes for batches of 16 '
            f'have {recipe:g} or less',
            f'{key}={right:.2g}; do nothing if you train on more devices',
        )
    ]


def check_last_batch(cfg: Mapping) -> list[Finding]:
    """Report validation images that `drop_last` leaves out."""
    return [
        Finding(
            'error',
            f'{name}_dataloader',
            'drop_last=True: images of an incomplete last batch are not '
            'predicted, and count as missed',
            f'{name}_dataloader.drop_last=False',
        )
        for name in scored_sets(cfg)
        for loader in [part(cfg, f'{name}_dataloader')]
        if loader.get('drop_last') and loader.get('batch_size', 1) > 1
    ]


def check_cut_epochs(cfg: Mapping) -> list[Finding]:
    """Report `num_batch_per_epoch`, which mmengine has for trying things."""
    findings = []
    for name in ('train', *scored_sets(cfg)):
        key = f'{name}_dataloader'
        number = part(cfg, key).get('num_batch_per_epoch')
        if number is None:
            continue
        effect = 'are never trained' if name == 'train' else 'count as missed'
        message = f'num_batch_per_epoch={number}: objects of images after '
        message += f'the first {number} batches of the file {effect}'
        fix = f'{key}.num_batch_per_epoch=None'
        findings.append(Finding('warning', key, message, fix))
    return findings


def check_single_images(cfg: Mapping) -> list[Finding]:
    """Report batch norms that train on single images."""
    if part(cfg, 'train_dataloader').get('batch_size') != 1:
        return []
    backbone = part(cfg, 'model.backbone')
    norm = setting(backbone, 'norm_cfg', None)
    found = kind(norm) in BATCH_NORMS and not (
        setting(backbone, 'norm_eval', False)
    )
    others = [
        key
        for key in ('neck', 'bbox_head')
        if kind(part(cfg, f'model.{key}.norm_cfg')) in BATCH_NORMS
    ]
    if found:
        others.append('backbone')
    if not others:
        return []
    return [
        Finding(
            'warning',
            'train_dataloader',
            f'batch_size=1: the batch norms of the {" and ".join(others)} '
            'use the statistics of one image',
            'train_dataloader.batch_size=2 or more, or '
            f"model.{others[0]}.norm_cfg=dict(type='GN', num_groups=32)",
        )
    ]


CHECKS = (
    check_cut_epochs,
    check_last_batch,
    check_single_images,
    check_test_resize,
)

"""What a backbone starts from: pretrained weights that can be had, or not."""

import inspect
from collections.abc import Mapping
from typing import Any

from mmdet_retina_plus.common.config_tree import kind, part, walk

from .findings import Finding

FROM_SCRATCH = 'model.backbone.frozen_stages=-1 model.backbone.norm_eval=False'
BATCH_NORMS = ('BN', 'BN2d', 'SyncBN', 'MMSyncBN')


def import_failure(module: str) -> str:
    """Why a module cannot be imported, or ''."""
    try:
        __import__(module)
    # A torchvision of another torch fails with a RuntimeError.
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return ''


def starting_weights(cfg: Mapping) -> list[str]:
    """Files that the backbone's weights come from, or those of the model."""
    owners = (part(cfg, 'model.backbone'), part(cfg, 'model'))
    named = [
        settings.get('checkpoint')
        for owner in owners
        for settings in walk(owner.get('init_cfg'))
    ]
    named += [owner.get('pretrained') for owner in owners]
    return [name for name in named if isinstance(name, str)]


def check_torchvision(cfg: Mapping) -> list[Finding]:
    """mmengine asks torchvision where the weights of that name lie."""
    wanted = [
        name
        for name in starting_weights(cfg)
        if name.startswith(('torchvision://', 'modelzoo://'))
    ]
    failure = import_failure('torchvision') if wanted else ''
    if not failure:
        return []
    import torch

    message = f'{wanted[0]} needs torchvision, which fails: {failure}'
    way_out = (
        '`pip install torchvision`, the release made for torch '
        f'{torch.__version__} and from the same index, or a local file: '
        'model.backbone.init_cfg.checkpoint=FILE'
    )
    return [Finding('error', 'backbone', message, way_out)]


def setting(config: Mapping, key: str, otherwise: Any) -> Any:
    """A backbone's setting, or else the default of its class."""
    from mmdet.registry import MODELS

    if key in config:
        return config[key]
    built = MODELS.module_dict.get(kind(config))
    # ResNeXt and others hand their settings on to ResNet.
    for owner in inspect.getmro(built) if isinstance(built, type) else ():
        parameters = inspect.signature(owner).parameters
        if key in parameters:
            return parameters[key].default
    return otherwise


def check_frozen(cfg: Mapping) -> list[Finding]:
    backbone = part(cfg, 'model.backbone')
    if not backbone or starting_weights(cfg) or cfg.get('load_from'):
        return []
    if backbone.get('init_cfg') is not None:
        return []
    frozen = setting(backbone, 'frozen_stages', -1)
    norm = kind(setting(backbone, 'norm_cfg', None)) in BATCH_NORMS
    fixed = []
    if isinstance(frozen, int) and frozen >= 0:
        fixed.append(f'frozen_stages={frozen}')
    if norm and setting(backbone, 'norm_eval', False) is True:
        fixed.append('norm_eval=True')
    if not fixed:
        return []
    message = (
        f'{" and ".join(fixed)} without pretrained weights: what is fixed '
        'stays as random as it begins'
    )
    return [Finding('warning', 'backbone', message, FROM_SCRATCH)]


CHECKS = (check_torchvision, check_frozen)

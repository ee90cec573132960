"""Check the weights that training starts from: they exist and fit."""

import inspect
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from mmdet_retina_plus.common.config_tree import kind, part, walk

from .findings import Finding

STAGES = 4
COLOURS = 3
"""Input channels of published weights."""
PUBLISHED = (
    'torchvision://',
    'open-mmlab://',
    'https://download.openmmlab.com/',
    'https://download.pytorch.org/',
)
"""Starts of the names of published weights."""
BATCH_NORMS = ('BN', 'BN2d', 'SyncBN', 'MMSyncBN')


def import_failure(module: str) -> str:
    """Why a module cannot be imported, or ''."""
    try:
        __import__(module)
    # A torchvision built for another torch fails with a RuntimeError.
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return ''


def starting_weights(cfg: Mapping) -> list[str]:
    """Files that initialise the backbone or the whole model."""
    owners = (part(cfg, 'model.backbone'), part(cfg, 'model'))
    named = [
        settings.get('checkpoint')
        for owner in owners
        for settings in walk(owner.get('init_cfg'))
    ]
    named += [owner.get('pretrained') for owner in owners]
    return [name for name in named if isinstance(name, str)]


def check_torchvision(cfg: Mapping) -> list[Finding]:
    """Check torchvision, which mmengine needs to locate its weights."""
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
    fix = (
        '`pip install torchvision`, the release made for torch '
        f'{torch.__version__} and from the same index, or a local file: '
        'model.backbone.init_cfg.checkpoint=FILE'
    )
    return [Finding('error', 'backbone', message, fix)]


def setting(config: Mapping, key: str, otherwise: Any) -> Any:
    """Setting of a config, or else the default of its class."""
    from mmdet.registry import MODELS

    if key in config:
        return config[key]
    built = MODELS.module_dict.get(kind(config))
    # ResNeXt and others pass settings on to ResNet.
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
    fixed: dict[str, str] = {}
    # Another check reports too many stages.
    if isinstance(frozen, int) and 0 <= frozen <= STAGES:
        fixed[f'frozen_stages={frozen}'] = 'frozen_stages=-1'
    if norm and setting(backbone, 'norm_eval', False) is True:
        fixed['norm_eval=True'] = 'norm_eval=False'
    affine = part(backbone, 'norm_cfg').get('requires_grad', True)
    if norm and affine is False:
        given = 'norm_cfg.requires_grad=False'
        fixed[given] = 'norm_cfg.requires_grad=True'
    if not fixed:
        return []
    message = (
        f'{" and ".join(fixed)} without pretrained weights: frozen layers '
        'keep their random initial weights'
    )
    fix = ' '.join(f'model.backbone.{right}' for right in fixed.values())
    return [Finding('warning', 'backbone', message, fix)]


def check_frozen_stem(cfg: Mapping) -> list[Finding]:
    """Report a frozen first layer that published weights cannot fill."""
    backbone = part(cfg, 'model.backbone')
    channels = setting(backbone, 'in_channels', COLOURS)
    frozen = setting(backbone, 'frozen_stages', -1)
    names = starting_weights(cfg)
    # Users' own files may have more channels, and their backbones may
    # convert the weights.
    published = names and all(x.startswith(PUBLISHED) for x in names)
    if channels == COLOURS or not (published and is_known(backbone)):
        return []
    if not isinstance(frozen, int) or frozen < 0 or cfg.get('load_from'):
        return []
    message = (
        f'{names[0]} has a first layer for {COLOURS} channels, the backbone '
        f'one for {channels}: it starts with random weights, and '
        f'frozen_stages={frozen} keeps them'
    )
    fix = 'model.backbone.frozen_stages=-1'
    if setting(backbone, 'norm_eval', False) is True:
        fix += ' model.backbone.norm_eval=False'
    return [Finding('error', 'backbone', message, fix)]


def is_known(config: Mapping) -> bool:
    """Whether a config names a module of mmdet or of this package."""
    from mmdet.registry import MODELS

    built = MODELS.module_dict.get(kind(config))
    known = ('mmdet.', 'mmdet_retina_plus.')
    return getattr(built, '__module__', '').startswith(known)


def is_local(name: object) -> TypeGuard[str]:
    """Whether a name is that of a file, which needs no download."""
    return isinstance(name, str) and '://' not in name


def check_depth(cfg: Mapping) -> list[Finding]:
    """Report weights of a ResNet of another depth, which load in part."""
    backbone = part(cfg, 'model.backbone')
    depth = setting(backbone, 'depth', None)
    for name in starting_weights(cfg):
        named = re.search(r'res(?:net|next|nest)(\d+)', name)
        # A local file is compared weight by weight.
        if named is None or is_local(name) or not isinstance(depth, int):
            continue
        if int(named[1]) == depth:
            continue
        right = name.replace(named[1], str(depth), 1)
        return [
            Finding(
                'error',
                'backbone',
                f'{name} has weights of depth {named[1]}, the backbone has '
                f'depth={depth}',
                f'model.backbone.init_cfg.checkpoint={right!r}',
            )
        ]
    return []


def check_style(cfg: Mapping) -> list[Finding]:
    """Check which convolution has the stride: weight shapes cannot tell."""
    backbone = part(cfg, 'model.backbone')
    depth = setting(backbone, 'depth', 0)
    if kind(backbone) != 'ResNet' or not isinstance(depth, int) or depth < 50:
        return []
    style = backbone.get('style', 'pytorch')
    for name in starting_weights(cfg):
        theirs = 'caffe' if 'resnet' in name and '_caffe' in name else ''
        theirs = 'pytorch' if name.startswith('torchvision://') else theirs
        if theirs and theirs != style:
            return [
                Finding(
                    'error',
                    'backbone',
                    f'{name} has style {theirs!r}, the backbone has '
                    f'{style!r}: other convolutions have the stride',
                    f'model.backbone.style={theirs!r}',
                )
            ]
    return []


def check_norms(cfg: Mapping) -> list[Finding]:
    """Report group norms with weights that were trained with batch norms."""
    backbone = part(cfg, 'model.backbone')
    name = next(iter(starting_weights(cfg)), '')
    if kind(backbone.get('norm_cfg')) != 'GN' or not (
        name.startswith('torchvision://') or 'caffe' in name
    ):
        return []
    return [
        Finding(
            'warning',
            'backbone',
            f'{name} was trained with batch norms: those of the backbone, '
            'GN, keep their initial weights',
            "model.backbone.norm_cfg=dict(type='BN', requires_grad=True), or "
            "checkpoint='open-mmlab://detectron/resnet50_gn'",
        )
    ]


CHECKS = (
    check_torchvision,
    check_frozen,
    check_frozen_stem,
    check_depth,
    check_style,
    check_norms,
)

"""Find parts of a model that do not match: channels, strides and levels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmdet_retina_plus.common.config_tree import part
from mmdet_retina_plus.common.numbers import is_number

from .explanations import explained
from .findings import Finding
from .model_traits import counts_channels

EXTRACTORS = ('bbox', 'mask')
"""Prefixes of parts of a RoI head: `bbox_roi_extractor`, `bbox_head`."""


def channels_of(features: Sequence[Any]) -> list[int]:
    return [feature.shape[1] for feature in features]


def misfit(key: str, wanted: Any, giver: str, given: Any) -> Finding:
    return Finding(
        'error',
        'model',
        f'{key}={wanted}, but {giver} gives {given} channels',
        f'{key}={given}',
    )


def explain_features(model: Any, image: Any, error: Exception) -> Finding:
    """Explain why backbone and neck fail.

    Args:
        model: Detector.
        image: Shape (1, C, H, W).
        error: What `extract_feat` raised.
    """
    import torch
    from torch import nn

    try:
        with torch.no_grad():
            given = channels_of(model.backbone(image))
    except Exception:
        channels = image.shape[1]
        fix = f'model.backbone.in_channels={channels}'
        fits = f'but got {channels} channels' not in str(error)
        return explained('model.backbone', error, fix='' if fits else fix)
    neck, key = model.neck, 'model.neck'
    if isinstance(neck, nn.Sequential):
        neck, key = neck[0], 'model.neck.0'
    wanted = getattr(neck, 'in_channels', None)
    if isinstance(wanted, int) and wanted != given[-1]:
        name = f'{key}.in_channels'
        return misfit(name, wanted, 'the backbone', given[-1])
    if not isinstance(wanted, list | tuple) or list(wanted) == given:
        return explained(key, error)
    found = misfit(f'{key}.in_channels', list(wanted), 'the backbone', given)
    indices = getattr(model.backbone, 'out_indices', None)
    if len(given) < len(wanted) and set(given) < set(wanted) and indices:
        return Finding(
            found.level,
            found.subject,
            f'{found.message}, by out_indices={tuple(indices)}',
            f'model.backbone.out_indices={tuple(range(len(wanted)))}',
        )
    return found


def explain_heads(model: Any, features: Sequence[Any]) -> list[Finding]:
    """Find heads whose number of input channels does not match.

    Args:
        model: Detector whose heads failed.
        features: Levels of its neck.
    """
    given = channels_of(features)
    for name in ('bbox_head', 'rpn_head'):
        wanted = getattr(getattr(model, name, None), 'in_channels', None)
        if isinstance(wanted, int) and {wanted} != set(given):
            one = given[0] if len(set(given)) == 1 else given
            key = f'model.{name}.in_channels'
            return [misfit(key, wanted, 'the neck', one)]
    for key, name, head, extractor in roi_parts(model):
        wanted = extractor.out_channels
        if isinstance(wanted, int) and wanted != given[0]:
            owner = f'{key}.{name}_roi_extractor.out_channels'
            return [misfit(owner, wanted, 'the neck', given[0])]
        taken = getattr(head, 'in_channels', wanted)
        if isinstance(taken, int) and taken != wanted:
            owner, giver = f'{key}.{name}_head', f'{name}_roi_extractor'
            return [misfit(f'{owner}.in_channels', taken, giver, wanted)]
        pooled = extractor.roi_layers[0].output_size
        size = getattr(head, 'roi_feat_size', pooled)
        if tuple(size) != tuple(pooled):
            right = f'{key}.{name}_head.roi_feat_size={pooled[0]}'
            message = f'{name}_roi_extractor pools {tuple(pooled)} cells, but '
            message += f'the head takes {tuple(size)}'
            return [Finding('error', 'model', message, right)]
    return []


def roi_parts(model: Any) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield key of the RoI head, 'bbox' or 'mask', the head, the extractor.

    Of a cascade, only the extractor of its first stage, without the head:
    its config may be a list or not, so its key is unknown.
    """
    from torch import nn

    roi_head = getattr(model, 'roi_head', None)
    for name in EXTRACTORS:
        head = getattr(roi_head, f'{name}_head', None)
        extractor = getattr(roi_head, f'{name}_roi_extractor', None)
        if isinstance(extractor, nn.ModuleList):
            head, extractor = None, extractor[0]
        if hasattr(extractor, 'featmap_strides'):
            yield 'model.roi_head', name, head, extractor


def check_roi_strides(model: Any, strides: Sequence[int]) -> list[Finding]:
    """Compare `featmap_strides` with the strides of the pooled levels.

    Args:
        model: Detector.
        strides: Strides of the levels of its neck.
    """
    findings = []
    for key, name, _, extractor in roi_parts(model):
        told = list(extractor.featmap_strides)
        start = getattr(model.roi_head, 'start_level', 0)
        levels = list(strides[start : start + len(told)])
        if told == levels:
            continue
        owner = f'{key}.{name}_roi_extractor.featmap_strides'
        findings.append(
            Finding(
                'error',
                'model',
                f'{owner} are {told}, but the levels from start_level={start} '
                f'on have strides {levels}',
                f'{owner}={levels}',
            )
        )
    return findings


def check_levels(cfg: Mapping) -> list[Finding]:
    """Report a neck that is to return fewer levels than it gets."""
    neck = part(cfg, 'model.neck')
    outs, channels = neck.get('num_outs'), neck.get('in_channels')
    if not isinstance(outs, int) or not isinstance(channels, list | tuple):
        return []
    given = len(channels) - neck.get('start_level', 0)
    if outs >= given or neck.get('end_level', -1) not in (-1, None):
        return []
    anchors = part(cfg, 'model.bbox_head.anchor_generator').get('strides', ())
    return [
        Finding(
            'error',
            'model',
            f'num_outs={outs} of the neck is less than the {given} levels of '
            f'in_channels from start_level={neck.get("start_level", 0)} on',
            f'model.neck.num_outs={max(given, len(anchors))}',
        )
    ]


def check_anchor_settings(cfg: Mapping) -> list[Finding]:
    """Report anchor sizes and ratios that are not above 0."""
    key = 'model.bbox_head.anchor_generator'
    generator = part(cfg, key)
    usual = {'ratios': [0.5, 1.0, 2.0], 'scales': [8]}
    findings = []
    for name, right in usual.items():
        given = generator.get(name)
        if not isinstance(given, list | tuple):
            continue
        if all(x > 0 for x in given if is_number(x)):
            continue
        message = f'{name}={given} of anchors are not all above 0'
        findings.append(
            Finding('error', 'anchors', message, f'{key}.{name}={right}')
        )
    for name in ('octave_base_scale', 'scales_per_octave'):
        given = generator.get(name)
        if is_number(given) and given <= 0:
            message = f'{name}={given} of anchors is not above 0'
            fix = f'{key}.{name}={4 if name == "octave_base_scale" else 3}'
            findings.append(Finding('error', 'anchors', message, fix))
    return findings


def check_test_cfg(cfg: Mapping) -> list[Finding]:
    model = part(cfg, 'model')
    owners = (model, part(model, 'bbox_head'))
    if not counts_channels(cfg) or any(x.get('test_cfg') for x in owners):
        return []
    return [
        Finding(
            'error',
            'model',
            'test_cfg is not set, so validation stops',
            'model.test_cfg=dict(nms_pre=1000, min_bbox_size=0, '
            "score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), "
            'max_per_img=100)',
        )
    ]


CHECKS = (check_levels, check_anchor_settings, check_test_cfg)

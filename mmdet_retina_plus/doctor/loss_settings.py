"""Check settings of losses that silently harm training."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mmdet_retina_plus.common.config_tree import (
    dotted_items,
    kind,
    part,
    walk,
)
from mmdet_retina_plus.common.numbers import is_finite, is_number
from mmdet_retina_plus.common.python_code import one_line

from .findings import Finding, Level
from .model_traits import counts_channels, divides_losses, head_of, is_retina
from .weights import setting


def check_classifier(cfg: Mapping) -> list[Finding]:
    """Check `use_sigmoid`, which the head reads in the config."""
    head = part(cfg, 'model.bbox_head')
    loss = part(head, 'loss_cls')
    if not counts_channels(cfg) or loss.get('use_sigmoid', False):
        return []
    # Losses for Gaussian maps have neither this argument nor a background.
    default = setting({'type': loss.get('type')}, 'use_sigmoid', None)
    if 'Focal' in kind(loss) and default is not None:
        message = (
            f'{kind(loss)} without use_sigmoid=True: the head adds a '
            'background channel and trains it wrongly'
        )
        fix = 'loss_cls=dict(use_sigmoid=True)'
        return [Finding('error', 'loss_cls', message, fix)]
    if kind(loss) == 'CrossEntropyLoss' and kind(head) == 'RetinaHead':
        message = (
            'a softmax starts without prior, so the loss is in the hundreds'
        )
        fix = "bbox_head=dict(type='RetinaPlusHead')"
        return [Finding('warning', 'loss_cls', message, fix)]
    return []


def check_box_scale(cfg: Mapping) -> list[Finding]:
    head = part(cfg, 'model.bbox_head')
    if kind(head.get('loss_bbox')) != 'SelfAdjustingSmoothL1Loss':
        return []
    stds = part(head, 'bbox_coder').get('target_stds') or (1.0,) * 4
    if any(std != 1 for std in stds):
        return []
    message = (
        'with target_stds of 1 the errors are about ten times smaller than '
        'the self-adjusting loss expects, so its cap has no effect'
    )
    fix = 'bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2])'
    return [Finding('warning', 'loss_bbox', message, fix)]


def check_box_losses(cfg: Mapping) -> list[Finding]:
    """Report IoU losses that get deltas instead of decoded boxes."""
    findings = []
    for path, key, head in heads(cfg):
        if head.get('reg_decoded_bbox') is False and has_loss_of_atss(head):
            message = f'reg_decoded_bbox=False: {kind(head)} compares boxes '
            message += 'with targets that are deltas'
            fix = f'{path}.reg_decoded_bbox=True'
            findings.append(Finding('error', key, message, fix))
            continue
        loss = kind(head.get('loss_bbox'))
        encodes = path == 'model.bbox_head' and is_retina(cfg)
        if not (encodes or encodes_boxes(head)):
            continue
        if not loss.endswith('IoULoss') and loss != 'EIoULoss':
            continue
        if setting(head, 'reg_decoded_bbox', False):
            continue
        findings.append(
            Finding(
                'error',
                key,
                f'{loss} gets deltas, not boxes: the loss falls below 0 '
                'without bound',
                f'{path}.reg_decoded_bbox=True',
            )
        )
    return findings


def check_start(cfg: Mapping) -> list[Finding]:
    """Check the `init_cfg` of a head against the default of its class."""
    key, head = 'model.bbox_head.init_cfg', part(cfg, 'model.bbox_head')
    given = list(walk(head.get('init_cfg')))
    usual = setting({'type': head.get('type')}, 'init_cfg', None)
    if not given or not any('bias_prob' in x for x in walk(usual)):
        return []
    # Heads such as RTMDet's set the prior in code.
    if 'bias_init' in inspect.getsource(head_of(cfg).init_weights):
        return []
    right = one_line(usual)
    wide = [x['std'] for x in given if is_number(x.get('std'))]
    if wide and max(wide) > SPREAD:
        message = f'std={max(wide)} of initial weights: losses start huge'
        return [Finding('warning', 'bbox_head', message, f'{key}={right}')]
    loss = setting(head, 'loss_cls', {})
    # With gamma=0 it is a cross entropy, which starts lower.
    focal = 'focal' in kind(loss).lower() and loss.get('gamma', 2) > 0
    priors = [x['bias_prob'] for x in given if is_number(x.get('bias_prob'))]
    if priors and max(priors) > HALF:
        message = (
            f'bias_prob={max(priors)}: all anchors start as objects, but '
            'nearly all are background'
        )
        return [Finding('warning', 'bbox_head', message, f'{key}={right}')]
    if not focal or any('bias_prob' in x for x in given):
        return []
    if any(kind(x) == 'Pretrained' for x in given):
        return []
    message = (
        'no bias_prob in init_cfg: all locations start with a score of 0.5, '
        'and the focal loss starts far too high'
    )
    return [Finding('warning', 'bbox_head', message, f'{key}={right}')]


HALF = 0.5
"""Maximum initial score of anchors."""
SPREAD = 0.1
"""Maximum standard deviation of a head's initial weights."""


def check_pixel_losses(cfg: Mapping) -> list[Finding]:
    """Report losses for deltas that get boxes in pixels."""
    return [
        Finding(
            'error' if loss_weight(head) > SMALL else 'warning',
            key,
            f'reg_decoded_bbox=True{" of its class" * implied} gives '
            f'{kind(head["loss_bbox"])} boxes in pixels, but it is for deltas',
            f'{path}.reg_decoded_bbox=False, or '
            * (not implied)
            + f"{path}.loss_bbox=dict(_delete_=True, type='GIoULoss', "
            'loss_weight=2.0)',
        )
        for path, key, head in heads(cfg)
        if setting(head, 'reg_decoded_bbox', False) is True
        and kind(head.get('loss_bbox')).endswith(('L1Loss', 'MSELoss'))
        for implied in [always_decodes(head)]
    ]


def check_box_classifier(cfg: Mapping) -> list[Finding]:
    """Report a sigmoid loss of a RoI head that predicts with a softmax."""
    from mmdet.models import BBoxHead, ConvFCBBoxHead
    from mmdet.registry import MODELS

    findings = []
    for path, key, head in heads(cfg):
        built = MODELS.module_dict.get(kind(head))
        loss = part(head, 'loss_cls')
        softmax = built is BBoxHead or (
            isinstance(built, type) and issubclass(built, ConvFCBBoxHead)
        )
        # Other losses may define their own channels and scores.
        plain = kind(loss) in ('CrossEntropyLoss', 'FocalLoss')
        # These want scores of another shape, so training stops.
        level: Level = 'warning' if plain else 'error'
        plain |= kind(loss) in ('QualityFocalLoss', 'VarifocalLoss')
        if softmax and plain and setting(loss, 'use_sigmoid', False):
            message = 'trained with a sigmoid, but predicted with a softmax '
            message += 'over classes and background'
            fix = (
                f"{path}.loss_cls=dict(_delete_=True, type='CrossEntropyLoss'"
            )
            fix += ', use_sigmoid=False, loss_weight=1.0)'
            findings.append(Finding(level, f'{key}.loss_cls', message, fix))
    return findings


def check_point_losses(cfg: Mapping) -> list[Finding]:
    """Report losses for deltas in FCOS, whose head decodes its boxes."""
    from mmdet.models import FCOSHead

    return [
        Finding(
            'error',
            key,
            f'{kind(head)} decodes boxes, so its loss must be an IoU loss, '
            f'not {kind(head["loss_bbox"])}',
            f"{path}.loss_bbox=dict(_delete_=True, type='IoULoss', "
            'loss_weight=1.0)',
        )
        for path, key, head in heads(cfg)
        if kind(head.get('loss_bbox')).endswith(('L1Loss', 'MSELoss'))
        and inherits(head, FCOSHead, 'loss_by_feat')
        and not always_decodes(head)
    ]


SMALL = 0.1
"""Loss weight above which errors in pixels dominate the class loss."""


def loss_weight(head: Mapping) -> float:
    weight = part(head, 'loss_bbox').get('loss_weight', 1.0)
    return weight if is_number(weight) else 1.0


def always_decodes(head: Mapping) -> bool:
    """Whether boxes are the default of a head's loss, as in ATSS."""
    usual = {'type': head.get('type')}
    return bool(setting(usual, 'reg_decoded_bbox', False))


def has_loss_of_atss(head: Mapping) -> bool:
    """Whether a head decodes boxes whatever `reg_decoded_bbox` is.

    Heads of other packages may read it in a loss of their own.
    """
    from mmdet.models import ATSSHead

    return inherits(head, ATSSHead, 'loss_by_feat_single')


def inherits(head: Mapping, parent: type, method: str) -> bool:
    """Whether a head has a parent, and a method from mmdet itself."""
    from mmdet.registry import MODELS

    built = MODELS.module_dict.get(kind(head))
    found = getattr(built, method, None)
    return (
        isinstance(built, type)
        and issubclass(built, parent)
        and getattr(found, '__module__', '').startswith('mmdet.')
    )


def encodes_boxes(head: Mapping) -> bool:
    """Whether a head is that of an RPN or a RoI box head."""
    from mmdet.models import BBoxHead, RPNHead
    from mmdet.registry import MODELS

    built = MODELS.module_dict.get(kind(head))
    return isinstance(built, type) and issubclass(built, (BBoxHead, RPNHead))


def heads(cfg: Mapping) -> list[tuple[str, str, Mapping]]:
    """Dotted key, name and config of the heads that have losses."""
    return [
        (path, [x for x in path.split('.') if not x.isdigit()][-1], value)
        for path, value in dotted_items(cfg.get('model'), 'model.')
        if isinstance(value, Mapping)
        and any(f'loss_{name}' in value for name in ('cls', 'bbox', 'mask'))
    ]


def background_first(
    key: str, values: Sequence, background: bool
) -> list[Finding]:
    """Report class weights that have the background first, not last.

    Args:
        key: Dotted key of the weights.
        values: One weight per class, and one for the background.
        background: Whether there is a background weight.
    """
    if not background or not all(map(is_number, values)):
        return []
    first, *others = values
    if {*others} != {max(others)} or not 0 <= 2 * first <= max(others):
        return []
    return [
        Finding(
            'warning',
            f'{key.split(".")[-3]}.loss_cls',
            f'class_weight={list(values)}: {first} is the weight of the first '
            'class, because mmdet has the background last',
            f'{key}={[*others, first]}',
        )
    ]


def check_class_weights(cfg: Mapping) -> list[Finding]:
    """Check the number of `class_weight` and `alpha` values."""
    findings = []
    for path, key, head in heads(cfg):
        number = head.get('num_classes')
        loss = part(head, 'loss_cls')
        if not isinstance(number, int) or not loss:
            continue
        softmax = not setting(loss, 'use_sigmoid', False)
        for name in ('class_weight', 'alpha'):
            values = loss.get(name)
            background = softmax and name == 'class_weight'
            wanted = number + background
            if not isinstance(values, list | tuple):
                continue
            if len(values) == wanted:
                findings += background_first(
                    f'{path}.loss_cls.{name}', values, background
                )
                continue
            rest = ', including the background' if background else ''
            findings.append(
                Finding(
                    'error',
                    f'{key}.loss_cls',
                    f'{name} has {len(values)} values, but {number} classes '
                    f'need {wanted}{rest}',
                    f'{path}.loss_cls.{name}='
                    f'{(list(values) + [1.0] * wanted)[:wanted]}',
                )
            )
    return findings


NO_OBJECT = 0.5
"""Weight of the background, relative to classes, above which queries that
match nothing outweigh those that do; recipes have 0.1."""


def check_no_object(cfg: Mapping) -> list[Finding]:
    """Report the weight of queries without an object, which are most."""
    from mmdet.models import DETRHead, MaskFormerHead
    from mmdet.registry import MODELS

    findings = []
    for path, key, head in heads(cfg):
        built = MODELS.module_dict.get(kind(head))
        loss, name = part(head, 'loss_cls'), f'{path}.loss_cls'
        if not loss or setting(loss, 'use_sigmoid', False):
            continue
        given: Any = loss.get('class_weight')
        if built is DETRHead:
            # Without `class_weight` it does not read the other one.
            other = given if is_number(given) else 1.0
            weight = loss.get('bg_cls_weight', other) if given else other
            fix = f'{name}.class_weight=1.0 {name}.bg_cls_weight=0.1'
        elif isinstance(built, type) and issubclass(built, MaskFormerHead):
            if not isinstance(given, list | tuple) or len(given) < 2:
                continue
            if not all(map(is_number, given)):
                continue
            *others, weight = given
            other = max(others)
            fix = f'{name}.class_weight={[*others, other / 10]}'
        else:
            continue
        if not is_number(weight) or not weight > NO_OBJECT * other:
            continue
        message = (
            f'queries without an object, which are most, have a weight of '
            f'{weight}, classes one of {other}: the head hardly learns to '
            'find any'
        )
        if given is None and 'bg_cls_weight' in loss:
            message += '; without class_weight nothing reads bg_cls_weight'
        findings.append(Finding('warning', f'{key}.loss_cls', message, fix))
    return findings


CODERS = ('DeltaXYWHBBoxCoder', 'LegacyDeltaXYWHBBoxCoder')
DEFAULT_CODER = {
    'target_means': [0.0, 0.0, 0.0, 0.0],
    'target_stds': [1.0, 1.0, 1.0, 1.0],
}


def check_coder(cfg: Mapping) -> list[Finding]:
    """Check for four means and four standard deviations of box deltas."""
    findings = []
    for path, value in dotted_items(cfg.get('model'), 'model.'):
        if kind(value) not in CODERS:
            continue
        for name, usual in DEFAULT_CODER.items():
            given = value.get(name, usual)
            four = (
                isinstance(given, list | tuple)
                and len(given) == len(usual)
                and all(map(is_finite, given))
            )
            above = name == 'target_means' or (four and 0 < min(given) < 5)
            if four and above:
                continue
            kinds = (
                'numbers' if name == 'target_means' else 'numbers from 0 to 5'
            )
            right = usual
            if four and min(given) > 1:  # Others multiply by their inverse.
                right = [round(1 / x, 4) for x in given]
            findings.append(
                Finding(
                    'error',
                    'bbox_coder',
                    f'{name} is {given}, not four {kinds}',
                    f'{path}.{name}={right}',
                )
            )
    return findings


STEEP, ONE_SIDED, HEAVY, BLUNT = 6, 0.03, 100, 2
"""Limits for gamma, the distance of alpha from 0 or 1, weight and beta."""


def check_focal(cfg: Mapping) -> list[Finding]:
    """Report gamma, alpha, beta and weights outside their plausible range."""
    findings = []
    for path, loss in dotted_items(cfg.get('model'), 'model.'):
        name = path.rpartition('.')[2]
        if not name.startswith('loss_') or not isinstance(loss, Mapping):
            continue
        alpha, gamma = loss.get('alpha'), loss.get('gamma')
        weight = loss.get('loss_weight')
        rest = 1 - alpha if is_number(alpha) else 0
        focal = 'Focal' in kind(loss) and 'Gaussian' not in kind(loss)
        problems: tuple[tuple[Any, Any, str, str], ...] = (
            (
                focal and is_number(alpha) and not 0 <= alpha <= 1,
                'error',
                f'alpha={alpha} is not between 0 and 1',
                'alpha=0.25',
            ),
            (
                'Focal' in kind(loss) and is_number(gamma) and gamma < 0,
                'error',
                f'gamma={gamma} is below 0: easy examples get more weight',
                'gamma=2.0',
            ),
            (
                focal and is_number(gamma) and gamma > STEEP,
                'warning',
                f'gamma={gamma} leaves next to no gradient',
                'gamma=2.0',
            ),
            (
                focal
                and is_number(alpha)
                and (0 <= alpha < ONE_SIDED or 1 - ONE_SIDED < alpha <= 1),
                'warning',
                f'alpha={alpha} weights objects, and {rest:.2g} the '
                'background: one of them is hardly learnt',
                'alpha=0.25',
            ),
            (
                divides_losses(cfg)
                and loss.get('reduction', 'mean') not in ('mean', 'sum'),
                'warning',
                f'reduction={loss.get("reduction")!r}: the loss is divided by '
                'the number of priors, not of positives',
                "reduction='mean'",
            ),
            (
                kind(loss) == 'SmoothL1Loss' and loss.get('beta', 1) > BLUNT,
                'warning',
                f'beta={loss.get("beta")}: the loss is quadratic for nearly '
                'all deltas, so small errors have next to no gradient',
                'beta=0.11',
            ),
            (
                is_number(weight) and weight > HEAVY,
                'warning',
                f'loss_weight={weight} dominates all other losses',
                'loss_weight=1.0',
            ),
            (
                is_number(weight) and weight <= 0,
                'error' if is_number(weight) and weight < 0 else 'warning',
                f'loss_weight={weight}: this loss trains nothing',
                'loss_weight=1.0',
            ),
        )
        findings += [
            Finding(level, name, message, f'{path}.{fix}')
            for is_so, level, message, fix in problems
            if is_so
        ]
    return findings


def check_reductions(cfg: Mapping) -> list[Finding]:
    """Report means in place of the sums that a head divides itself.

    The defaults of its class tell which losses those are.
    """
    key, head = 'model.bbox_head', part(cfg, 'model.bbox_head')
    findings = []
    for name in head:
        usual = setting({'type': head.get('type')}, name, None)
        given = part(head, name)
        if not (given and isinstance(usual, Mapping)):
            continue
        wanted = usual.get('reduction')
        if wanted != 'sum' or setting(given, 'reduction', wanted) == wanted:
            continue
        findings.append(
            Finding(
                'error',
                name,
                f'{kind(head)} divides the sum of this loss by the number of '
                f'positives, but {kind(given)} has reduction='
                f'{setting(given, "reduction", "")!r}: it is too small by a '
                'factor of at least the number of positives',
                f"{key}.{name}.reduction='sum'",
            )
        )
    return findings


CHECKS = (
    check_reductions,
    check_coder,
    check_focal,
    check_classifier,
    check_box_scale,
    check_box_losses,
    check_pixel_losses,
    check_point_losses,
    check_start,
    check_class_weights,
    check_no_object,
    check_box_classifier,
)

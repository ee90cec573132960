"""Check settings of assigner and sampler that silently harm training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmdet_retina_plus.common.config_tree import (
    dotted_items,
    kind,
    part,
    walk,
)
from mmdet_retina_plus.common.numbers import is_number

from .findings import Finding
from .model_traits import is_retina, samples
from .weights import setting

KEY = 'model.train_cfg.assigner'
CROPS = ('Crop', 'Affine', 'Shift', 'Translate', 'TranslateX', 'TranslateY')
"""Ends of the names of transforms that cut objects off."""
OUR_SAMPLER = "model.train_cfg.sampler=dict(type='PseudoSampler')"
CHOOSE_AGAIN = ('FreeAnchorRetinaHead', 'PAAHead')
"""Heads that replace most or all positives of their assigner."""
HIGHEST = 0.8
"""Highest `pos_iou_thr` of any recipe."""
NUMBERS = {
    'pos_fraction': (0.01, 1, 'is not a fraction of the samples', 0.25),
    'finest_scale': (
        14,
        224,
        'sends the boxes of nearly all sizes to one level',
        56,
    ),
    'center_sample_radius': (
        0.5,
        10,
        'in strides: no point of an object is positive, or all are',
        1.5,
    ),
    'norm_cfg.momentum': (
        1e-4,
        0.5,
        'of batch norms is the weight of the newest batch, not of the average',
        0.1,
    ),
}
"""Lowest and highest plausible value, the effect of others, the default."""
WIDE = 0.45
"""Width of the ignored IoU range above which no recipe goes."""
IOUS = {'pos_iou_thr': 0.5, 'neg_iou_thr': 0.4, 'min_pos_iou': 0.0}
MISFITS = {
    'ATSSAssigner': (
        'RetinaHead does not pass it the level sizes, training crashes',
        "assigner=dict(_delete_=True, type='StreamingATSSAssigner')",
    ),
    'GridAssigner': (
        "it needs YOLO's responsible_flags, training crashes",
        "assigner=dict(_delete_=True, type='BestPriorAssigner')",
    ),
    'PointAssigner': (
        'it treats anchors as points and assigns wrongly',
        "assigner=dict(_delete_=True, type='PointRangeAssigner')",
    ),
    'OHEMSampler': (
        'it needs the box head of a two-stage detector, training crashes',
        f"{OUR_SAMPLER} with loss_cls=dict(type='FocalLoss', "
        'use_sigmoid=True), which already emphasises hard anchors',
    ),
}
"""Parts of `train_cfg` that RetinaHead cannot use: reason and replacement."""


def check_misfits(cfg: Mapping) -> list[Finding]:
    used = part(cfg, 'model.train_cfg')
    misfits = dict(MISFITS)
    if kind(part(cfg, 'model.bbox_head')) == 'RetinaPlusHead':
        del misfits['ATSSAssigner']  # This head passes the level sizes.
    return [
        Finding('error', key, f'{kind(used.get(key))}: {why}', fix)
        for key in ('assigner', 'sampler')
        if is_retina(cfg) and kind(used.get(key)) in misfits
        for why, fix in [misfits[kind(used.get(key))]]
    ]


def check_negative_threshold(cfg: Mapping) -> list[Finding]:
    """Report thresholds of any stage that are neither floats nor tuples."""
    findings = []
    for path, assigner in assigners(cfg):
        threshold = assigner.get('neg_iou_thr')
        if kind(assigner) != 'MaxIoUAssigner' or isinstance(
            threshold, float | tuple
        ):
            continue
        right = IOUS['neg_iou_thr']
        if '.rcnn' in path:  # Stages of RoI heads ignore no proposal.
            right = assigner.get('pos_iou_thr', right)
        if isinstance(threshold, list) and threshold:
            right = threshold[-1]
        message = (
            f'with neg_iou_thr={threshold!r}, neither a float nor a tuple, '
            'MaxIoUAssigner assigns no anchor to the background'
        )
        fix = f'{path}.neg_iou_thr={right}'
        findings.append(Finding('error', 'assigner', message, fix))
    return findings


def assigners(cfg: Mapping) -> Iterator[tuple[str, Mapping]]:
    """Yield dotted key and config of the assigners of all stages."""
    for path, value in dotted_items(cfg.get('model'), 'model.'):
        if path.endswith('.assigner') and isinstance(value, Mapping):
            yield path, value


def check_threshold_order(cfg: Mapping) -> list[Finding]:
    """Check the thresholds of the assigners of all stages."""
    return [
        finding
        for path, assigner in assigners(cfg)
        for finding in wrong_thresholds(path, assigner)
    ]


def wrong_thresholds(key: str, assigner: Mapping) -> list[Finding]:
    """Check thresholds of one assigner; anchors between them are ignored."""
    positive, negative = (
        assigner.get(f'{name}_iou_thr') for name in ('pos', 'neg')
    )
    for name, usual in IOUS.items():
        given = assigner.get(name)
        if is_number(given) and not 0 <= given <= 1:
            message = f'{name}={given} is not an IoU in [0, 1]'
            fix = f'{key}.{name}={usual}'
            return [Finding('error', 'assigner', message, fix)]
    if is_number(positive) and positive > HIGHEST:
        return [
            Finding(
                'warning',
                'assigner',
                f'pos_iou_thr={positive}: hardly any anchor overlaps an '
                'object that much, so few are positive',
                f'{key}.pos_iou_thr=0.5 {key}.neg_iou_thr=0.4',
            )
        ]
    if isinstance(negative, tuple) and is_gap(positive, negative):
        return [
            Finding(
                'warning',
                'assigner',
                f'neg_iou_thr={tuple(negative)} ignores anchors with an IoU '
                f'below {negative[0]}: background that no object overlaps is '
                'not learnt',
                f'{key}.neg_iou_thr={negative[1]}',
            )
        ]
    if not (is_number(positive) and is_number(negative)):
        return []
    # An int has its own finding.
    if isinstance(negative, float) and positive - negative > WIDE:
        return [
            Finding(
                'warning',
                'assigner',
                f'anchors with an IoU from {negative} to {positive} are '
                'ignored: most anchors near objects',
                f'{key}.pos_iou_thr=0.5 {key}.neg_iou_thr=0.4',
            )
        ]
    if positive >= negative:
        return []
    return [
        Finding(
            'error',
            'assigner',
            f'pos_iou_thr={positive} is below neg_iou_thr={negative}',
            f'{key}.pos_iou_thr=0.5 {key}.neg_iou_thr=0.4',
        )
    ]


def is_gap(positive: Any, negative: Sequence) -> bool:
    """Whether a range of negatives starts above 0 and ends at positives."""
    return (
        len(negative) == 2
        and all(map(is_number, negative))
        and negative[0] > 0
        and not (is_number(positive) and negative[1] > positive)
    )


def check_numbers(cfg: Mapping) -> list[Finding]:
    """Report numbers of a model outside their plausible range."""
    return [
        Finding(
            'warning',
            path.rpartition('.')[0],
            f'{name.rpartition(".")[2]}={value} {message}',
            f'{path}={usual}',
        )
        for path, value in dotted_items(cfg.get('model'), 'model.')
        if is_number(value)
        for name, (low, high, message, usual) in NUMBERS.items()
        if path.endswith(f'.{name}') and not low <= value <= high
    ]


def crops(cfg: Mapping) -> bool:
    """Whether a training step may crop an object to zero area."""
    return any(
        kind(step).endswith(CROPS)
        for step in walk(part(cfg, 'train_dataloader'))
    )


def floods(assigner: Mapping) -> bool:
    """Whether an object that overlaps no anchor makes all of them positive.

    Its highest IoU, 0, is that of all anchors, and not below `min_pos_iou`.
    """
    lowest = assigner.get('min_pos_iou', 0)
    return bool(
        kind(assigner) == 'MaxIoUAssigner'
        and is_number(lowest)
        and lowest <= 0
        and assigner.get('gt_max_assign_all', True)
        and assigner.get('match_low_quality', True)
    )


def check_low_quality(cfg: Mapping) -> list[Finding]:
    chosen = kind(part(cfg, 'model.bbox_head')) in CHOOSE_AGAIN
    if not floods(part(cfg, KEY)) or chosen or not crops(cfg):
        return []
    return [
        Finding(
            'warning',
            'assigner',
            'an object that overlaps no anchor, as a crop may leave it, makes '
            'all anchors of its image positive',
            f'{KEY}.min_pos_iou=0.001',
        )
    ]


def check_ignore_regions(cfg: Mapping) -> list[Finding]:
    assigner = part(cfg, 'model.train_cfg.assigner')
    share = assigner.get('ignore_iof_thr', -1)
    if share == 0:
        message = 'ignore_iof_thr=0 switches ignore regions off, as -1 does'
        fix = (
            f'{KEY}.ignore_iof_thr=0.5, or 1e-6 for any overlap; -1 if '
            'intended'
        )
    elif share > 0 and kind(assigner) == 'MaxIoUAssigner':
        message = (
            'MaxIoUAssigner trains ignore regions as background in images '
            'without objects'
        )
        fix = f"{KEY}.type='StreamingMaxIoUAssigner'"
    else:
        return []
    return [Finding('warning', 'assigner', message, fix)]


def check_candidates(cfg: Mapping) -> list[Finding]:
    """Report `topk` of ATSS if locations have several anchors."""
    assigner = part(cfg, 'model.train_cfg.assigner')
    topk = assigner.get('topk', 9)
    anchors = part(cfg, 'model.bbox_head.anchor_generator')
    scales = anchors.get('scales_per_octave') or len(anchors.get('scales', ()))
    count = scales * len(anchors.get('ratios', ()))
    if (
        kind(assigner) != 'StreamingATSSAssigner'
        or assigner.get('topk_per_location', False)
        or topk > 9
        or count < 2
    ):
        return []
    message = (
        f'topk={topk} counts anchors: with {count} per location, an object '
        f'has candidates at {-(-topk // count)} locations of a level'
    )
    fix = f'{KEY}.topk_per_location=True, or one anchor per location'
    return [Finding('warning', 'assigner', message, fix)]


def check_sampler(cfg: Mapping) -> list[Finding]:
    """Report samplers of heads that train all anchors with a focal loss."""
    sampler = part(cfg, 'model.train_cfg.sampler')
    name = kind(sampler)
    # PISA's ISRPseudoSampler does not sample either.
    if not samples(cfg) or not name or name.endswith('PseudoSampler'):
        return []
    if name in MISFITS:
        return []
    if sampler.get('add_gt_as_proposals', True):
        message = 'objects added as proposals shift the indices of anchors'
        fix = (
            'model.train_cfg.sampler.add_gt_as_proposals=False, or '
            f'{OUR_SAMPLER}'
        )
        return [Finding('error', 'sampler', message, fix)]
    loss = setting(part(cfg, 'model.bbox_head'), 'loss_cls', {})
    # With gamma=0 it is a cross entropy, which samplers are made for.
    if 'Focal' not in kind(loss) or loss.get('gamma') == 0:
        return []
    message = (
        f'with {name} the focal loss is divided by positives plus negatives, '
        'not by positives alone'
    )
    return [Finding('warning', 'sampler', message, OUR_SAMPLER)]


def check_ranges(cfg: Mapping) -> list[Finding]:
    """Report gaps between the `regress_ranges` of levels."""
    findings = []
    for key, ranges in dotted_items(part(cfg, 'model'), 'model.'):
        if not key.endswith('.regress_ranges') or not are_pairs(ranges):
            continue
        ends = [-1, *(high for _, high in sorted(ranges))]
        starts = [*(low for low, _ in sorted(ranges)), 1e8]
        gaps = [
            f'{end:g} to {start:g}'
            for end, start in zip(ends, starts, strict=True)
            # The last range may end at any size beyond that of images.
            if start > max(end, 0) and end < 1e4
        ]
        if gaps:
            message = (
                f'no level covers distances of {", ".join(gaps)} px: such '
                'objects have no positives, or those of another level'
            )
            closed = [(-1, ranges[0][1])]
            for low, high in ranges[1:]:
                closed.append((min(low, closed[-1][1]), high))
            closed[-1] = (closed[-1][0], 1e8)
            fix = f'{key}={tuple(closed)}'
            findings.append(Finding('error', key, message, fix))
    return findings


def are_pairs(ranges: Any) -> bool:
    return (
        isinstance(ranges, list | tuple)
        and len(ranges) > 0
        and all(
            isinstance(x, list | tuple)
            and len(x) == 2
            and all(map(is_number, x))
            for x in ranges
        )
    )


def check_costs(cfg: Mapping) -> list[Finding]:
    """Report costs of classes that read scores in another way than the loss.

    Losses with a sigmoid go with FocalLossCost, those with a softmax with
    ClassificationCost.
    """
    loss = part(cfg, 'model.bbox_head.loss_cls')
    key = f'{KEY}.match_costs'
    costs = part(cfg, KEY).get('match_costs') or ()
    sigmoid = bool(setting(loss, 'use_sigmoid', False))
    if not isinstance(costs, list | tuple):
        return []
    return [
        Finding(
            'warning',
            'assigner',
            f'{kind(cost)} reads scores through a {read}, but '
            f'use_sigmoid={sigmoid} of {kind(loss)}: predictions are matched '
            'by other scores than are trained',
            f"{key}.{at}=dict(type='{right}', weight={cost.get('weight', 1)})",
        )
        for at, cost in enumerate(costs)
        for wrong, read, right in [
            ('ClassificationCost', 'softmax', 'FocalLossCost')
            if sigmoid
            else ('FocalLossCost', 'sigmoid', 'ClassificationCost')
        ]
        if kind(cost) == wrong and loss
    ]


def check_roi_levels(cfg: Mapping) -> list[Finding]:
    """Report boxes of all sizes that are pooled from one level of several."""
    key = 'model.roi_head.bbox_roi_extractor.featmap_strides'
    strides = part(cfg, key.rpartition('.')[0]).get('featmap_strides')
    levels = part(cfg, 'model.neck').get('num_outs')
    if not (is_number(levels) and levels > 2 and isinstance(strides, list)):
        return []
    if len(strides) != 1 or not is_number(strides[0]):
        return []
    return [
        Finding(
            'warning',
            'bbox_roi_extractor',
            f'featmap_strides={strides} pools boxes of all sizes from one of '
            f'{levels} levels',
            f'{key}=[4,8,16,32]',
        )
    ]


def check_stages(cfg: Mapping) -> list[Finding]:
    """Check the sampler of an RPN, and the order of the stages after it."""
    findings = []
    path = 'model.train_cfg.rpn.sampler'
    sampler, added = part(cfg, path), 'add_gt_as_proposals'
    chosen = kind(sampler) and not kind(sampler).endswith('PseudoSampler')
    if chosen and sampler.get(added, True):
        message = 'objects added as proposals shift the indices of anchors'
        fix = f'{path}.{added}=False'
        findings.append(Finding('error', 'sampler', message, fix))
    path = 'model.train_cfg.rcnn'
    given = part(cfg, 'model.train_cfg').get('rcnn')
    stages = {path: given} if isinstance(given, Mapping) else {}
    if isinstance(given, list | tuple):
        stages = {f'{path}.{at}': x for at, x in enumerate(given)}
    thresholds = [
        part(x, 'assigner').get('pos_iou_thr') for x in stages.values()
    ]
    numbers = [x for x in thresholds if is_number(x)]
    if len(numbers) == len(stages) > 1 and numbers != sorted(numbers):
        right = ' '.join(
            f'{key}.assigner.{name}_iou_thr={value}'
            for key, value in zip(stages, sorted(numbers), strict=True)
            for name in ('pos', 'neg')
        )
        findings.append(
            Finding(
                'warning',
                'assigner',
                f'pos_iou_thr of the stages are {numbers}: later stages get '
                'better boxes, so theirs must not be lower',
                right,
            )
        )
    return findings


CHECKS = (
    check_stages,
    check_costs,
    check_roi_levels,
    check_misfits,
    check_ranges,
    check_negative_threshold,
    check_threshold_order,
    check_numbers,
    check_low_quality,
    check_ignore_regions,
    check_candidates,
    check_sampler,
)

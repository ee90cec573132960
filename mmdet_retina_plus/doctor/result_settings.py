"""Check settings that limit predictions: thresholds, NMS and metrics."""

from collections.abc import Mapping
from math import inf
from typing import Any

from mmdet_retina_plus.common.config_tree import kind, part, walk
from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.suggestions import hint, near_name

from .findings import Finding
from .model_traits import scored_sets

HIGH_SCORE = 0.15
LOOSE, STRICT = 0.9, 0.15
"""IoU thresholds of NMS beyond which duplicates stay or neighbours go."""
FEWEST = {'max_per_img': 10, 'nms_pre': 50}
"""Limits below which too few boxes are left for AP."""
LARGEST_BOX = 8
"""`min_bbox_size` in pixels above which real objects are dropped."""


def check_thresholds(cfg: Mapping) -> list[Finding]:
    """Report high score thresholds for validation."""
    findings: list[Finding] = []
    # Panoptic fusion does not rank masks, so few suffice.
    if part(cfg, 'model.panoptic_fusion_head'):
        return findings
    for path in ('model.test_cfg', 'model.test_cfg.rcnn'):
        score = part(cfg, path).get('score_thr')
        if is_number(score) and score >= HIGH_SCORE:
            findings.append(
                Finding(
                    'warning',
                    path,
                    f'score_thr={score} drops most boxes before they are '
                    'scored, so AP is too low',
                    f'{path}.score_thr=0.05',
                )
            )
        score = part(cfg, f'{path}.nms').get('min_score')
        if is_number(score) and score >= HIGH_SCORE:
            findings.append(
                Finding(
                    'warning',
                    f'{path}.nms',
                    f'min_score={score} of {kind(part(cfg, f"{path}.nms"))} '
                    'drops most boxes, so AP is too low',
                    f'{path}.nms.min_score=0.001',
                )
            )
    return findings


def check_suppression(cfg: Mapping) -> list[Finding]:
    """Report invalid NMS, mask thresholds and box limits."""
    from mmcv import ops

    findings = []
    for path in (
        'model.test_cfg',
        'model.test_cfg.rcnn',
        'model.roi_head.test_cfg',
    ):
        nms = part(cfg, f'{path}.nms')
        threshold, name = nms.get('iou_threshold'), nms.get('type', 'nms')
        key = f'{path}.nms'
        problem = None
        if is_number(threshold) and not 0 < threshold <= 1:
            problem = (
                key,
                f'iou_threshold={threshold} is not in (0, 1]',
                f'{key}.iou_threshold=0.5',
            )
        elif isinstance(name, str) and not hasattr(ops, name):
            near = near_name(name, ('nms', 'soft_nms'))
            problem = (
                key,
                f'no NMS is called {name}{hint(near)}',
                f'{key}.type={near or "nms"!r}',
            )
        for name in ('mask_thr_binary', 'mask_thr'):
            threshold = part(cfg, path).get(name)
            if not is_number(threshold) or 0 < threshold < 1:
                continue
            what = 'leaves every mask empty'
            if threshold <= 0:
                what = 'fills the whole box: every pixel is above it'
            problem = (
                path,
                f'{name}={threshold} {what}',
                f'{path}.{name}=0.5',
            )
        for count, usual in (('max_per_img', 100), ('nms_pre', 1000)):
            if part(cfg, path).get(count) == 0:
                problem = (
                    path,
                    f'{count}=0 leaves no box',
                    f'{path}.{count}={usual}',
                )
        if problem:
            findings.append(Finding('error', *problem))
    return findings


def within(value: Any, low: float, high: float) -> bool:
    """Whether a value is a number in an open interval."""
    return is_number(value) and low < value < high


def check_cut_results(cfg: Mapping) -> list[Finding]:
    """Report valid NMS settings and box limits that lower AP."""
    findings = []
    for path in (
        'model.test_cfg',
        'model.test_cfg.rcnn',
        'model.roi_head.test_cfg',
        'model.test_cfg.rpn',
        'model.train_cfg.rpn_proposal',
    ):
        settings, nms = part(cfg, path), part(cfg, f'{path}.nms')
        threshold, smallest = (
            nms.get('iou_threshold'),
            settings.get('min_bbox_size'),
        )
        plain = kind(nms) in ('nms', '')
        problems = [
            (
                plain and within(threshold, LOOSE, 1.001),
                f'iou_threshold={threshold} of NMS keeps duplicates of boxes',
                'nms.iou_threshold=0.5',
            ),
            (
                plain and within(threshold, 0, STRICT),
                f'iou_threshold={threshold} of NMS removes neighbours that '
                'barely overlap',
                'nms.iou_threshold=0.5',
            ),
            (
                within(smallest, LARGEST_BOX, inf),
                f'min_bbox_size={smallest} drops predictions of small objects',
                'min_bbox_size=0',
            ),
        ]
        for name, usual in (('max_per_img', 100), ('nms_pre', 1000)):
            count = settings.get(name)
            what, times = 'predictions', 1
            if 'rpn' in path:
                what, times, usual = 'proposals', 5, 1000
            problems.append(
                (
                    within(count, 0, times * FEWEST[name]),
                    f'{name}={count} cuts {what}, so AP is too low',
                    f'{name}={usual}',
                )
            )
        findings += [
            Finding('warning', path, message, f'{path}.{fix}')
            for is_so, message, fix in problems
            if is_so
        ]
    return findings


def check_metric(cfg: Mapping) -> list[Finding]:
    """Report detectors that are scored only by recall of proposals."""
    if kind(part(cfg, 'model')) == 'RPN':
        return []
    return [
        Finding(
            'warning',
            f'{name}_evaluator',
            f'metric={scored[0]!r} scores class-agnostic recall, not AP',
            f"{name}_evaluator.metric='bbox'",
        )
        for name in scored_sets(cfg)
        for scored in [
            [
                one.get('metric', 'bbox')
                for one in walk(cfg.get(f'{name}_evaluator'))
                if 'type' in one
            ]
        ]
        if scored and all(x in ('proposal', ['proposal']) for x in scored)
    ]


CHECKS = (
    check_metric,
    check_cut_results,
    check_thresholds,
    check_suppression,
)

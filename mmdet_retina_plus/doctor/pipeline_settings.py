"""Check pipelines that run but return wrong samples."""

import re
from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from mmdet_retina_plus.common.config_tree import (
    dataset_chains,
    kind,
    part,
    walk,
    without_scopes,
)
from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.suggestions import did_you_mean, hint, near_name

from .findings import Finding
from .model_traits import scored_sets
from .pipeline_trials import FOR_GOOD
from .unread_settings import source_of

MOVES = ('Resize', *FOR_GOOD)
"""Suffixes of transforms that move pixels and boxes."""
FILTERS = ('filter_empty_gt', 'min_size', 'bbox_min_size')
"""Filters that some data set of mmdet reads."""
HIGH_SCORE = 0.15
LOOSE, STRICT = 0.9, 0.15
"""IoU thresholds of NMS beyond which duplicates stay or neighbours go."""
FEWEST = {'max_per_img': 10, 'nms_pre': 50}
"""Limits below which too few boxes are left for AP."""
LARGEST_BOX = 8
"""`min_bbox_size` in pixels above which real objects are dropped."""


def pipelines_of(cfg: Mapping, name: str) -> Iterator[tuple[str, list]]:
    """Key and steps of each pipeline of a loader."""
    loader = part(cfg, f'{name}_dataloader')
    for chain in dataset_chains(loader.get('dataset')):
        for link in chain:
            steps = link.get('pipeline')
            if isinstance(steps, list | tuple):
                yield f'{name}_dataloader.dataset.pipeline', list(steps)


def kinds_of(cfg: Mapping, name: str) -> Iterator[tuple[str, list[str]]]:
    """Key and names of the steps of each pipeline of a loader."""
    for key, steps in pipelines_of(cfg, name):
        yield key, [kind(step) for step in steps]


def as_call(step: Mapping) -> str:
    """Write a step as in a config: dict(type='Resize', scale=(96, 80))."""
    arguments = without_scopes(step).items()
    return f'dict({", ".join(f"{key}={x!r}" for key, x in arguments)})'


def check_order(cfg: Mapping) -> list[Finding]:
    """Report boxes that are loaded after their image was moved."""
    findings = []
    for key, pipeline in pipelines_of(cfg, 'train'):
        steps = [kind(step) for step in pipeline]
        places = [at for at, x in enumerate(steps) if x == 'LoadAnnotations']
        # The last one overwrites the others.
        for place in places[-1:]:
            moved = [step for step in steps[:place] if step.endswith(MOVES)]
            if not moved:
                continue
            findings.append(
                Finding(
                    'error',
                    key,
                    f'{moved[0]} comes before LoadAnnotations: the image is '
                    'moved, its boxes are not',
                    f'{as_call(pipeline[place])} directly after the step that '
                    f'loads the image{", only once" * (len(places) > 1)}',
                )
            )
    return findings


def check_normalized_twice(cfg: Mapping) -> list[Finding]:
    """Report images normalised twice, or only in some pipelines."""
    preprocessor = part(cfg, 'model.data_preprocessor')
    has = {
        name: any('Normalize' in steps for _, steps in kinds_of(cfg, name))
        for name in ('train', *scored_sets(cfg))
        if any(True for _ in pipelines_of(cfg, name))
    }
    if preprocessor.get('mean') is None and len({*has.values()}) > 1:
        without = next(name for name in has if not has[name])
        return [
            Finding(
                'error',
                f'{without}_dataloader.dataset.pipeline',
                'images are not normalised here, but those of '
                f'{next(name for name in has if has[name])} are',
                'the same Normalize in all pipelines, or mean and std in '
                'model.data_preprocessor in place of it',
            )
        ]
    return [
        Finding(
            'error',
            key,
            'images are normalised twice, here and by data_preprocessor',
            'leave Normalize out, or '
            'model.data_preprocessor.mean=None and std=None',
        )
        for name in ('train', *scored_sets(cfg))
        for key, steps in kinds_of(cfg, name)
        if 'Normalize' in steps and preprocessor.get('mean') is not None
    ]


COLOURS = ('Distortion', 'HSVRandomAug', 'Brightness', 'Contrast', 'Equalize')
"""Suffixes of transforms for values from 0 to 255."""


def check_colours(cfg: Mapping) -> list[Finding]:
    """Report colour transforms after `Normalize`."""
    return [
        Finding(
            'error',
            key,
            f'{step} comes after Normalize, but expects values from 0 to 255',
            f'{step} before Normalize, or mean and std of '
            'model.data_preprocessor in place of Normalize',
        )
        for key, steps in kinds_of(cfg, 'train')
        if 'Normalize' in steps
        for step in steps[steps.index('Normalize') + 1 :]
        if step.endswith(COLOURS)
    ]


def check_albu(cfg: Mapping) -> list[Finding]:
    """Check that Albumentations gets boxes, in the format of mmdet."""
    findings = []
    for key, steps in pipelines_of(cfg, 'train'):
        for number, step in enumerate(steps):
            where = f'{key}[{number}] (Albu)'
            given = part(step, 'bbox_params').get('format', 'pascal_voc')
            keys = part(step, 'keymap') or {'gt_bboxes': ''}
            if kind(step) != 'Albu':
                continue
            if given != 'pascal_voc':
                message = f'format={given!r}, but boxes of mmdet are x1, y1, '
                message += "x2, y2: 'pascal_voc'"
                fix = "bbox_params.format='pascal_voc'"
            elif 'gt_bboxes' not in keys:
                message = 'keymap has no gt_bboxes: the image is moved, its '
                message += 'boxes are not'
                fix = "keymap={'img': 'image', 'gt_bboxes': 'bboxes'}"
            else:
                continue
            findings.append(
                Finding('error', where, message, f'{fix} of {where}')
            )
    return findings


def filters_of(config: Mapping) -> list[str]:
    """Filters that a data set of mmdet reads; [] for other data sets."""
    from mmdet.registry import DATASETS

    # `Registry.get` logs names that it does not know.
    built = DATASETS.module_dict.get(kind(config))
    method = getattr(built, 'filter_data', None)
    if not getattr(method, '__module__', '').startswith('mmdet.'):
        return []
    return re.findall(r"filter_cfg\.get\('(\w+)'", source_of(built))


def check_filters(cfg: Mapping) -> list[Finding]:
    """Report filters that nothing reads."""
    findings = []
    for parent in walk(part(cfg, 'train_dataloader')):
        known = filters_of(parent)
        for name in part(parent, 'filter_cfg'):
            if known and name not in known:
                guess = did_you_mean(name, known, always=True)
                findings.append(
                    Finding(
                        'warning' if name in FILTERS else 'error',
                        'train_dataloader.dataset.filter_cfg',
                        f'nothing reads {name}{guess}',
                        'filter_cfg=dict(filter_empty_gt=True, min_size=32)',
                    )
                )
    return findings


def check_shuffle(cfg: Mapping) -> list[Finding]:
    sampler = part(cfg, 'train_dataloader.sampler')
    if sampler.get('shuffle', True):
        return []
    key = 'train_dataloader.sampler'
    message = 'training sees the images in the order of the file'
    return [Finding('warning', key, message, f'{key}.shuffle=True')]


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


def check_ratios(cfg: Mapping) -> list[Finding]:
    """Report aspect ratios of objects that differ from training."""
    train = resizing_steps(cfg, 'train')
    ratios = {step.get('keep_ratio', False) for step in train}
    scales = [tuple_of_scale(step) for step in train]
    turned = [
        Finding(
            'warning',
            f'{name}_dataloader.dataset.pipeline',
            f'scale={own} of Resize, (width, height), is {scales[0]} in '
            'training: objects have other shapes',
            f"dict(type='Resize', scale={scales[0]}, keep_ratio=False)",
        )
        for name in scored_sets(cfg)
        for step in resizing_steps(cfg, name)[:1]
        for own in [tuple_of_scale(step)]
        if ratios == {False}
        and len(train) == 1
        and own
        and own[0] != own[1]
        and own == scales[0][::-1]
    ]
    return turned + [
        Finding(
            'warning',
            f'{name}_dataloader.dataset.pipeline',
            f'keep_ratio={step.get("keep_ratio", False)} of Resize, and '
            f'{ratio} in training: objects have other shapes',
            f"dict(type='Resize', scale={step.get('scale')}, "
            f'keep_ratio={ratio})',
        )
        for name in scored_sets(cfg)
        for step in resizing_steps(cfg, name)[:1]
        if len(ratios) == 1
        for ratio in ratios
        if step.get('keep_ratio', False) is not ratio
    ]


def tuple_of_scale(step: Mapping) -> tuple:
    """Width and height of a step, () if it has several or none."""
    scale: Any = step.get('scale')
    if not isinstance(scale, list | tuple) or len(scale) != 2:
        return ()
    return tuple(scale) if all(map(is_number, scale)) else ()


def resizing_steps(cfg: Mapping, name: str) -> list[Mapping]:
    loader = part(cfg, f'{name}_dataloader')
    return [
        step
        for step in walk(loader)
        if kind(step).endswith('Resize') and 'scale_factor' not in step
    ]


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
    check_ratios,
    check_order,
    check_colours,
    check_albu,
    check_normalized_twice,
    check_filters,
    check_shuffle,
    check_thresholds,
    check_suppression,
)

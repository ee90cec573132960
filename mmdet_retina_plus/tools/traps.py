"""Settings that a config accepts and that spoil its training in silence."""

from collections.abc import Iterator, Mapping
from typing import Any

from .findings import Finding

RETINA_HEADS = {'RetinaHead', 'RetinaPlusHead', 'RetinaSepBNHead'}
OUR_SAMPLER = "sampler=dict(type='PseudoSampler')"
MISFITS = {
    'ATSSAssigner': (
        'RetinaHead does not tell it the level sizes, training crashes',
        "assigner=dict(_delete_=True, type='StreamingATSSAssigner')",
    ),
    'GridAssigner': (
        "it wants YOLO's responsible_flags, training crashes",
        "assigner=dict(_delete_=True, type='BestPriorAssigner')",
    ),
    'PointAssigner': (
        'it takes anchors for points and assigns nonsense',
        "assigner=dict(_delete_=True, type='StreamingMaxIoUAssigner', "
        'pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0)',
    ),
    'OHEMSampler': (
        'it asks for the box head of a two-stage detector, training crashes',
        f"{OUR_SAMPLER} and mining=dict(type='DenseOHEM') in RetinaPlusHead",
    ),
}
"""Parts of `train_cfg` that RetinaHead cannot use: why, and what instead."""


def kind(config: Any) -> str:
    """Class name of a config's `type`, without its scope; '' if none."""
    name = config.get('type', '') if isinstance(config, Mapping) else ''
    name = name if isinstance(name, str) else name.__name__
    return name.rpartition('.')[2]


def part(config: Any, path: str) -> Mapping:
    """What lies below dotted keys, an empty mapping where one is missing."""
    for key in path.split('.'):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config if isinstance(config, Mapping) else {}


def walk(config: Any) -> Iterator[Mapping]:
    """The mappings in a config, from the outside to the inside."""
    if isinstance(config, Mapping):
        yield config
        config = list(config.values())
    if isinstance(config, list | tuple):
        for item in config:
            yield from walk(item)


def is_retina(cfg: Mapping) -> bool:
    return kind(part(cfg, 'model.bbox_head')) in RETINA_HEADS


def check_misfits(cfg: Mapping) -> list[Finding]:
    used = part(cfg, 'model.train_cfg')
    return [
        Finding('error', key, f'{kind(used.get(key))}: {why}', way_out)
        for key in ('assigner', 'sampler')
        if is_retina(cfg) and kind(used.get(key)) in MISFITS
        for why, way_out in [MISFITS[kind(used.get(key))]]
    ]


def check_negative_threshold(cfg: Mapping) -> list[Finding]:
    assigner = part(cfg, 'model.train_cfg.assigner')
    threshold = assigner.get('neg_iou_thr')
    if kind(assigner) != 'MaxIoUAssigner' or isinstance(
        threshold, float | tuple
    ):
        return []
    return [
        Finding(
            'error',
            'assigner',
            f'with neg_iou_thr={threshold!r}, neither a float nor a tuple, '
            'MaxIoUAssigner takes no anchor as background',
            "write 0.4 or (0.1, 0.4), or type='StreamingMaxIoUAssigner'",
        )
    ]


def check_low_quality(cfg: Mapping) -> list[Finding]:
    assigner = part(cfg, 'model.train_cfg.assigner')
    if (
        kind(assigner) != 'MaxIoUAssigner'
        or assigner.get('min_pos_iou', 0) > 0
        or not assigner.get('gt_max_assign_all', True)
        or not assigner.get('match_low_quality', True)
    ):
        return []
    return [
        Finding(
            'warning',
            'assigner',
            'an object that overlaps no anchor (a crop can leave one without '
            'area) makes all anchors of its image positive',
            "min_pos_iou=1e-3, or type='StreamingMaxIoUAssigner'",
        )
    ]


def check_sampler(cfg: Mapping) -> list[Finding]:
    sampler = part(cfg, 'model.train_cfg.sampler')
    name = kind(sampler)
    if not is_retina(cfg) or name in ('', 'PseudoSampler', *MISFITS):
        return []
    if name == 'RandomSampler' and sampler.get('add_gt_as_proposals', True):
        message = 'objects added as proposals shift the indices of anchors'
        way_out = f'add_gt_as_proposals=False, or {OUR_SAMPLER}'
        return [Finding('error', 'sampler', message, way_out)]
    if 'Focal' not in kind(part(cfg, 'model.bbox_head.loss_cls')):
        return []
    message = (
        f'with {name} the focal loss is divided by positives and negatives, '
        'not by positives'
    )
    return [Finding('warning', 'sampler', message, OUR_SAMPLER)]


def check_classifier(cfg: Mapping) -> list[Finding]:
    """The head reads `use_sigmoid` in the config, not in the loss."""
    head = part(cfg, 'model.bbox_head')
    loss = part(head, 'loss_cls')
    if loss.get('use_sigmoid', False):
        return []
    if 'Focal' in kind(loss):
        message = (
            f'{kind(loss)} without use_sigmoid=True: the head adds a channel '
            'for background and trains it wrongly'
        )
        way_out = 'loss_cls=dict(use_sigmoid=True)'
        return [Finding('error', 'loss_cls', message, way_out)]
    if kind(loss) == 'CrossEntropyLoss' and kind(head) == 'RetinaHead':
        message = 'a softmax starts without prior, with a loss of hundreds'
        way_out = "bbox_head=dict(type='RetinaPlusHead')"
        return [Finding('warning', 'loss_cls', message, way_out)]
    return []


def check_box_scale(cfg: Mapping) -> list[Finding]:
    head = part(cfg, 'model.bbox_head')
    if kind(head.get('loss_bbox')) != 'SelfAdjustingSmoothL1Loss':
        return []
    stds = part(head, 'bbox_coder').get('target_stds', (1.0,) * 4)
    if any(std != 1 for std in stds):
        return []
    message = (
        'with target_stds of 1 the errors are some ten times smaller than '
        'the self-adjusting loss expects, its cap does nothing'
    )
    way_out = 'bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2])'
    return [Finding('warning', 'loss_bbox', message, way_out)]


def check_test_resize(cfg: Mapping) -> list[Finding]:
    findings = []
    for name in ('val', 'test'):
        loader = part(cfg, f'{name}_dataloader')
        pipelines = [x['pipeline'] for x in walk(loader) if 'pipeline' in x]
        steps = [kind(step) for step in walk(pipelines)]
        if pipelines and not any('Resize' in step for step in steps):
            message = f'no Resize in the {name} pipeline, no scale_factor'
            way_out = "add dict(type='Resize', scale=…, keep_ratio=True)"
            findings.append(Finding('error', 'pipeline', message, way_out))
    return findings


def check_learning_rate(cfg: Mapping) -> list[Finding]:
    scaling = part(cfg, 'auto_scale_lr')
    meant = scaling.get('base_batch_size')
    batch = part(cfg, 'train_dataloader').get('batch_size')
    if not meant or not batch or meant == batch or scaling.get('enable'):
        return []
    message = (
        f'the learning rate is meant for batches of {meant}, on one device '
        f'they are of {batch}'
    )
    way_out = (
        'auto_scale_lr=dict(enable=True) or `--auto-scale-lr`; nothing, if '
        f'you train on {meant / batch:g} devices'
    )
    return [Finding('warning', 'schedule', message, way_out)]


CHECKS = (
    check_misfits,
    check_negative_threshold,
    check_low_quality,
    check_sampler,
    check_classifier,
    check_box_scale,
    check_test_resize,
    check_learning_rate,
)

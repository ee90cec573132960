"""Settings that a config accepts and that spoil its training in silence."""

from collections.abc import Mapping

from mmdet_retina_plus.common.config_tree import (
    dataset_chains,
    kind,
    part,
    walk,
)

from .findings import Finding

OUR_SAMPLER = "sampler=dict(type='PseudoSampler')"
OUR_ASSIGNER = (
    "assigner=dict(_delete_=True, type='StreamingMaxIoUAssigner', "
    'pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0)'
)
MISFITS = {
    'ATSSAssigner': (
        'RetinaHead does not tell it the level sizes, training crashes',
        "assigner=dict(_delete_=True, type='StreamingATSSAssigner')",
    ),
    'GridAssigner': (
        "it wants YOLO's responsible_flags, training crashes",
        OUR_ASSIGNER,
    ),
    'PointAssigner': (
        'it takes anchors for points and assigns nonsense',
        OUR_ASSIGNER,
    ),
    'OHEMSampler': (
        'it asks for the box head of a two-stage detector, training crashes',
        f"{OUR_SAMPLER} with loss_cls=dict(type='FocalLoss', "
        'use_sigmoid=True), which weighs hard anchors by itself',
    ),
}
"""Parts of `train_cfg` that RetinaHead cannot use: why, and what instead."""


def is_retina(cfg: Mapping) -> bool:
    """Whether the head is RetinaHead or inherits from it."""
    from mmdet.models import RetinaHead
    from mmdet.registry import MODELS

    # Not `get`, which takes no unknown name quietly.
    head = MODELS.module_dict.get(kind(part(cfg, 'model.bbox_head')))
    return isinstance(head, type) and issubclass(head, RetinaHead)


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


def check_ignore_regions(cfg: Mapping) -> list[Finding]:
    assigner = part(cfg, 'model.train_cfg.assigner')
    share = assigner.get('ignore_iof_thr', -1)
    if share == 0:
        message = 'ignore_iof_thr=0 switches ignore regions off, as -1 does'
        way_out = 'ignore_iof_thr=0.5, or 1e-6 for any overlap; -1 if meant'
    elif share > 0 and kind(assigner) == 'MaxIoUAssigner':
        message = (
            'MaxIoUAssigner trains ignore regions as background in images '
            'without objects'
        )
        way_out = "type='StreamingMaxIoUAssigner', with the same options"
    else:
        return []
    return [Finding('warning', 'assigner', message, way_out)]


def check_candidates(cfg: Mapping) -> list[Finding]:
    """ATSS's nine candidates are places, where a place has one anchor."""
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
        f'topk={topk} counts anchors: with {count} at a place, an object has '
        f'candidates at {-(-topk // count)} places of a level'
    )
    way_out = 'topk_per_location=True, or one anchor per place'
    return [Finding('warning', 'assigner', message, way_out)]


def check_sampler(cfg: Mapping) -> list[Finding]:
    sampler = part(cfg, 'model.train_cfg.sampler')
    name = kind(sampler)
    # PISA's ISRPseudoSampler chooses nothing either.
    if not is_retina(cfg) or not name or name.endswith('PseudoSampler'):
        return []
    if name in MISFITS:
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
    if not is_retina(cfg) or loss.get('use_sigmoid', False):
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
    stds = part(head, 'bbox_coder').get('target_stds') or (1.0,) * 4
    if any(std != 1 for std in stds):
        return []
    message = (
        'with target_stds of 1 the errors are some ten times smaller than '
        'the self-adjusting loss expects, its cap does nothing'
    )
    way_out = 'bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2])'
    return [Finding('warning', 'loss_bbox', message, way_out)]


def has_mask_head(cfg: Mapping) -> bool:
    """Whether the detector has one, below a RoI head or not."""
    model = part(cfg, 'model')
    return any(
        part(parent, 'mask_head')
        for parent in (model, part(model, 'roi_head'))
    )


def predicts_masks(cfg: Mapping) -> bool:
    test_cfg = part(cfg, 'model.roi_head.test_cfg')
    return has_mask_head(cfg) and test_cfg.get('with_mask', True)


def check_mask_loading(cfg: Mapping) -> list[Finding]:
    """Between pipeline, model and evaluator; each would stop a run late."""
    loader = part(cfg, 'train_dataloader')
    loads = [x for x in walk(loader) if kind(x) == 'LoadAnnotations']
    findings = []
    loaded = any(x.get('with_mask') for x in loads)
    if has_mask_head(cfg) and loads and not loaded:
        message = 'the mask head gets no masks from the training pipeline'
        way_out = (
            "dict(type='LoadAnnotations', with_bbox=True, with_mask=True)"
        )
        findings.append(Finding('error', 'pipeline', message, way_out))
    for name in ('val', 'test'):
        key = f'{name}_evaluator'
        metrics = [x.get('metric') for x in walk(cfg.get(key))]
        scored = any('segm' in metric for metric in metrics if metric)
        if scored and is_retina(cfg) and not predicts_masks(cfg):
            message = 'scores masks, which the detector does not predict'
            way_out = f"{key}.metric='bbox'"
            findings.append(Finding('error', key, message, way_out))
    return findings


def check_views(cfg: Mapping) -> list[Finding]:
    """What `--tta` does with the masks of each view."""
    if kind(cfg.get('tta_model')) != 'DetTTAModel' or not predicts_masks(cfg):
        return []
    message = "mmdet's TTA stops at the first image with masks"
    way_out = "tta_model=dict(type='MaskTTAModel'), for a MaskRoIHead"
    return [Finding('error', 'tta_model', message, way_out)]


def check_pixel_supervision(cfg: Mapping) -> list[Finding]:
    """What our semantic head needs, and would miss in part silently."""
    head = part(cfg, 'model.semantic_head')
    if kind(head) != 'UNetSemanticHead':
        return []
    loader = list(walk(part(cfg, 'train_dataloader')))
    kinds = [kind(step) for step in loader]
    loads = [step for step in loader if kind(step) == 'LoadAnnotations']
    paints = [step for step in loader if kind(step) == 'PaintInstances']
    alike = any(not step.get('class_specific', True) for step in paints)
    preprocessor = part(cfg, 'model.data_preprocessor')
    unknown = preprocessor.get('seg_pad_value', 255) == 255
    problems = (
        (
            'PackDetInputs' in kinds and not paints,
            'pipeline',
            'the semantic head gets no map from the training pipeline',
            "dict(type='PaintInstances') before PackDetInputs",
        ),
        (
            paints
            and loads
            and not any(step.get('with_mask') for step in loads),
            'pipeline',
            'PaintInstances gets no masks, so no pixel has a label',
            "dict(type='LoadAnnotations', with_bbox=True, with_mask=True)",
        ),
        (
            alike and head.get('class_specific', False),
            'pipeline',
            'all objects are painted as the first class',
            'PaintInstances without class_specific=False',
        ),
        (
            not (preprocessor.get('pad_seg', False) and unknown),
            'data_preprocessor',
            'maps are not padded as images are, by unknown pixels',
            'data_preprocessor=dict(pad_seg=True, seg_pad_value=255)',
        ),
    )
    return [
        Finding('error', *problem) for is_so, *problem in problems if is_so
    ]


MASKS_STAY = tuple(
    scope + name
    for scope in ('', 'mmdet.')
    for name in ('RandomShift', 'Mosaic', 'MixUp')
)
"""mmdet's transforms that move pixels and boxes, and leave masks behind."""


def check_moved_masks(cfg: Mapping) -> list[Finding]:
    """Masks that stay where they were, or that the mask head does not get."""
    findings = []
    loader = part(cfg, 'train_dataloader')
    for chain in dataset_chains(loader.get('dataset')):
        steps = list(walk([link.get('pipeline') for link in chain]))
        if not any(step.get('with_mask') for step in steps):
            continue
        for step in steps:
            if step.get('type') in MASKS_STAY:
                message = f'{kind(step)} moves pixels and boxes, but no masks'
                way_out = 'CachedMosaic and CachedMixUp, which move masks'
                findings.append(Finding('error', 'pipeline', message, way_out))
            if has_mask_head(cfg) and not step.get('keep_masks', True):
                message = 'PaintInstances leaves no masks to the mask head'
                way_out = 'PaintInstances without keep_masks=False'
                findings.append(Finding('error', 'pipeline', message, way_out))
    return findings


def check_test_resize(cfg: Mapping) -> list[Finding]:
    if not is_retina(cfg):
        return []
    findings = []
    for name in ('val', 'test'):
        loader = part(cfg, f'{name}_dataloader')
        pipelines = [x['pipeline'] for x in walk(loader) if x.get('pipeline')]
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
    check_ignore_regions,
    check_candidates,
    check_sampler,
    check_classifier,
    check_box_scale,
    check_mask_loading,
    check_views,
    check_pixel_supervision,
    check_moved_masks,
    check_test_resize,
    check_learning_rate,
)

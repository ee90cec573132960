"""Check masks and maps between pipeline, model and evaluator."""

from collections.abc import Mapping

from mmdet_retina_plus.common.config_tree import (
    dataset_chains,
    kind,
    part,
    walk,
)

from .findings import Finding
from .model_traits import (
    has_joint_head,
    has_mask_head,
    is_retina,
    needs_masks,
    predicts_masks,
    scored_sets,
)

MASKS_STAY = tuple(
    scope + name
    for scope in ('', 'mmdet.')
    for name in ('RandomShift', 'Mosaic', 'MixUp')
)
"""Transforms of mmdet that move pixels and boxes, but not masks."""


def check_mask_loading(cfg: Mapping) -> list[Finding]:
    """Check that masks are loaded, padded, and predicted where scored."""
    loader = part(cfg, 'train_dataloader')
    loads = [x for x in walk(loader) if kind(x) == 'LoadAnnotations']
    findings = []
    loaded = any(x.get('with_mask') for x in loads)
    if needs_masks(cfg) and loads and not loaded:
        message = 'the mask head gets no masks from the training pipeline'
        fix = "dict(type='LoadAnnotations', with_bbox=True, with_mask=True)"
        findings.append(Finding('error', 'pipeline', message, fix))
    preprocessor = part(cfg, 'model.data_preprocessor')
    # A RoI head crops masks per box, so padding does not matter.
    whole = part(cfg, 'model.mask_head')
    if whole and loaded and not preprocessor.get('pad_mask', False):
        message = 'masks are not padded as images are'
        fix = 'model.data_preprocessor.pad_mask=True'
        findings.append(Finding('warning', 'data_preprocessor', message, fix))
    for name in scored_sets(cfg):
        key = f'{name}_evaluator'
        metrics = [x.get('metric') for x in walk(cfg.get(key))]
        scored = any('segm' in metric for metric in metrics if metric)
        types = {kind(x) for x in walk(cfg.get(key)) if kind(x)}
        if types == {'CocoMetric'} and not scored and predicts_masks(cfg):
            message = 'masks are predicted, but never scored'
            many = isinstance(cfg[key], list | tuple)
            fix = f"{key}{'.0' * many}.metric=['bbox','segm'], "
            fix += 'or do nothing if its annotations have no masks'
            findings.append(Finding('warning', key, message, fix))
        if scored and is_retina(cfg) and not predicts_masks(cfg):
            message = 'scores masks, which the detector does not predict'
            fix = f"{key}.metric='bbox'"
            findings.append(Finding('error', key, message, fix))
    return findings


def check_views(cfg: Mapping) -> list[Finding]:
    """Report TTA that cannot merge masks."""
    if kind(cfg.get('tta_model')) != 'DetTTAModel' or not predicts_masks(cfg):
        return []
    if has_joint_head(cfg):  # Its recipes merge boxes alone.
        return []
    message = "mmdet's TTA stops at the first image with masks"
    fix = "tta_model=dict(type='MaskTTAModel'), for a MaskRoIHead"
    return [Finding('error', 'tta_model', message, fix)]


def check_pixel_supervision(cfg: Mapping) -> list[Finding]:
    """Check what UNetSemanticHead needs from pipeline and preprocessor."""
    head = part(cfg, 'model.semantic_head')
    if kind(head) != 'UNetSemanticHead':
        return []
    loader = list(walk(part(cfg, 'train_dataloader')))
    paints = [step for step in loader if kind(step) == 'PaintInstances']
    alike = any(not step.get('class_specific', True) for step in paints)
    preprocessor = part(cfg, 'model.data_preprocessor')
    unknown = preprocessor.get('seg_pad_value', 255) == 255
    problems = (
        (
            alike and head.get('class_specific', False),
            'pipeline',
            'all objects are painted as the first class',
            'PaintInstances without class_specific=False',
        ),
        (
            not (preprocessor.get('pad_seg', False) and unknown),
            'data_preprocessor',
            'maps are not padded as images are, with the ignore label',
            'data_preprocessor=dict(pad_seg=True, seg_pad_value=255)',
        ),
    )
    return [
        Finding('error', *problem) for is_so, *problem in problems if is_so
    ]


def check_moved_masks(cfg: Mapping) -> list[Finding]:
    """Report steps that do not move masks, or do not pass them on."""
    findings = []
    loader = part(cfg, 'train_dataloader')
    for chain in dataset_chains(loader.get('dataset')):
        steps = list(walk([link.get('pipeline') for link in chain]))
        if not any(step.get('with_mask') for step in steps):
            continue
        for step in steps:
            if step.get('type') in MASKS_STAY:
                message = f'{kind(step)} moves pixels and boxes, but not masks'
                name = kind(step)
                fix = f'the pipeline without {name}'
                if name != 'RandomShift':
                    fix = f'Cached{name} in place of {name}, it moves masks'
                findings.append(Finding('error', 'pipeline', message, fix))
            if has_mask_head(cfg) and not step.get('keep_masks', True):
                message = 'PaintInstances leaves no masks for the mask head'
                fix = 'PaintInstances without keep_masks=False'
                findings.append(Finding('error', 'pipeline', message, fix))
    return findings


STRETCH = ('BatchSyncRandomResize', 'BatchResize')
"""Batch augmentations that scale only images and boxes."""


def check_batch_steps(cfg: Mapping) -> list[Finding]:
    """Report batch augmentations that do not change masks or maps."""
    key = 'model.data_preprocessor.batch_augments'
    model = part(cfg, 'model')
    maps = any(
        part(owner, name)
        for owner in (model, part(model, 'roi_head'))
        for name in ('semantic_head', 'segm_head')
    )
    loaded = [
        name
        for name, needed in (('masks', needs_masks(cfg)), ('maps', maps))
        if needed
    ]
    steps = part(model, 'data_preprocessor').get('batch_augments') or ()
    findings = []
    for number, step in enumerate(steps):
        where = f'{key}.{number}'
        if kind(step) in STRETCH and loaded:
            message = f'{kind(step)} scales images and boxes, but not '
            message += ' and '.join(loaded)
            fix = (
                f"{key}=None, and dict(type='RandomChoiceResize', scales=[…]) "
                'in the pipeline'
            )
            findings.append(Finding('error', where, message, fix))
        fills = kind(step) == 'BatchFixedSizePad'
        if fills and maps and not step.get('pad_seg'):
            message = 'BatchFixedSizePad without pad_seg pads images, but not '
            message += 'maps'
            fix = f'{where}.pad_seg=True'
            findings.append(Finding('error', where, message, fix))
    return findings


CHECKS = (
    check_batch_steps,
    check_mask_loading,
    check_views,
    check_pixel_supervision,
    check_moved_masks,
)

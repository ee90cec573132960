"""Check the maps of training samples against the semantic head."""

from collections.abc import Sequence
from typing import Any

from mmdet_retina_plus.common.text import quantity, some

from .findings import Finding

KEY = 'train_dataloader.dataset.pipeline'
MAPS = (
    "dict(type='PaintInstances') before PackDetInputs, or "
    "LoadAnnotations(with_seg=True) and data_prefix=dict(seg='…')"
)
LOAD = (
    "dict(type='LoadAnnotations', with_bbox=True, with_mask=True), or "
    'another step that sets gt_masks, before PaintInstances'
)
NUMBERED = (
    'write 0 for the background, 1 for the first class, 2 for the second … '
    'into the maps, and 255 only for pixels without a label'
)


def check_maps(
    model: Any, samples: Sequence[Any], paints: bool = False
) -> list[Finding]:
    """Report maps that UNetSemanticHead does not get or cannot learn from.

    Args:
        model: Detector.
        samples: Training samples.
        paints: Whether the pipeline has `PaintInstances`.
    """
    from mmdet_retina_plus.heads.unet_semantic_head import (
        IGNORE_INDEX,
        UNetSemanticHead,
    )

    head = getattr(model, 'semantic_head', None)
    if not isinstance(head, UNetSemanticHead):
        return []
    shown = [sample['data_samples'] for sample in samples]
    if not all('gt_sem_seg' in one for one in shown):
        message = 'the semantic head gets no map from the training pipeline'
        return [Finding('error', KEY, message, MAPS)]
    values = sorted({
        int(value)
        for one in shown
        for value in one.gt_sem_seg.sem_seg.unique()
    })  # fmt: skip
    if paints and values == [IGNORE_INDEX]:
        message = 'PaintInstances gets no masks, so no pixel has a label'
        return [Finding('error', KEY, message, LOAD)]
    number = head.num_classes
    beyond = [x for x in values if not 0 <= x <= number and x != IGNORE_INDEX]
    if beyond:
        message = (
            f'the maps have the values {some(values, 8)}, but with '
            f'{quantity(number, "class")} the semantic head takes '
            f'0 to {number}, and {IGNORE_INDEX} for no label'
        )
        # Without channels by class, any other value is an object.
        level: Any = 'error' if head.class_specific else 'warning'
        return [Finding(level, KEY, message, NUMBERED)]
    objects = sum(len(getattr(one, 'gt_instances', ())) for one in shown)
    if not objects or any(0 < x < IGNORE_INDEX for x in values):
        return []
    message = (
        f'the maps of {quantity(len(shown), "sample")} with objects have only '
        f'the values {some(values)}'
    )
    if IGNORE_INDEX in values:
        message += f', and {IGNORE_INDEX} is ignored: no object is learnt'
        return [Finding('error', KEY, message, NUMBERED)]
    message += ', so all pixels are background'
    return [Finding('error', KEY, message, NUMBERED)]

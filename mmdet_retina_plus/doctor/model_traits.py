"""Properties of the model that a config describes."""

from collections.abc import Mapping
from typing import Any

from mmdet_retina_plus.common.config_tree import kind, part


def scored_sets(cfg: Mapping) -> tuple[str, ...]:
    """Return ('val', 'test'), or ('val',) if both are equal."""
    same = all(
        cfg.get(f'val_{key}') == cfg.get(f'test_{key}')
        for key in ('dataloader', 'evaluator')
    )
    return ('val',) if same else ('val', 'test')


def head_of(cfg: Mapping) -> Any:
    """Class of the head, None if its name is not registered."""
    from mmdet.registry import MODELS

    # `Registry.get` logs names that it does not know.
    return MODELS.module_dict.get(kind(part(cfg, 'model.bbox_head')))


def is_retina(cfg: Mapping) -> bool:
    """Whether the head is RetinaHead or inherits from it."""
    from mmdet.models import RetinaHead

    head = head_of(cfg)
    return isinstance(head, type) and issubclass(head, RetinaHead)


def samples(cfg: Mapping) -> bool:
    """Whether the head gives its anchors to `train_cfg.sampler`."""
    from mmdet.models import AnchorHead, RepPointsHead

    head = head_of(cfg)
    return isinstance(head, type) and issubclass(
        head, (AnchorHead, RepPointsHead)
    )


def divides_losses(cfg: Mapping) -> bool:
    """Whether the head expects its losses to reduce to a mean.

    Others, such as FSAF, need the loss of every prior.
    """
    from mmdet.models import RetinaHead

    head = head_of(cfg)
    if not is_retina(cfg):
        return False
    ours = head.__module__.startswith('mmdet_retina_plus')
    return ours or head.loss_by_feat is RetinaHead.loss_by_feat


def counts_channels(cfg: Mapping) -> bool:
    """Whether `use_sigmoid` in the config sets the channels of the head."""
    from mmdet.models import AnchorFreeHead, AnchorHead

    head = head_of(cfg)
    heads = (AnchorFreeHead, AnchorHead)
    return isinstance(head, type) and issubclass(head, heads)


def has_mask_head(cfg: Mapping) -> bool:
    """Whether the detector has a mask head, also within a RoI head."""
    model = part(cfg, 'model')
    return any(
        part(parent, 'mask_head')
        for parent in (model, part(model, 'roi_head'))
    )


def has_joint_head(cfg: Mapping) -> bool:
    """Whether one head predicts classes and masks, as in RTMDet-Ins."""
    from mmdet.models import MaskFormerHead, RTMDetInsHead
    from mmdet.registry import MODELS

    built = (
        MODELS.module_dict.get(kind(part(cfg, f'model.{name}')))
        for name in ('bbox_head', 'panoptic_head')
    )
    return any(
        isinstance(x, type) and issubclass(x, (MaskFormerHead, RTMDetInsHead))
        for x in built
    )


def needs_masks(cfg: Mapping) -> bool:
    """Whether training needs masks of objects in its batches."""
    # The preprocessor of BoxInst creates masks from boxes.
    preprocessor = kind(part(cfg, 'model.data_preprocessor'))
    return has_joint_head(cfg) or (
        has_mask_head(cfg) and preprocessor != 'BoxInstDataPreprocessor'
    )


def predicts_masks(cfg: Mapping) -> bool:
    test_cfg = part(cfg, 'model.roi_head.test_cfg')
    return has_joint_head(cfg) or (
        has_mask_head(cfg) and bool(test_cfg.get('with_mask', True))
    )

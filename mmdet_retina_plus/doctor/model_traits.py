"""What kind of model a config describes."""

from collections.abc import Mapping

from mmdet_retina_plus.common.config_tree import kind, part


def scored_sets(cfg: Mapping) -> tuple[str, ...]:
    """'val' and 'test', or 'val' alone where both are the same."""
    same = all(
        cfg.get(f'val_{key}') == cfg.get(f'test_{key}')
        for key in ('dataloader', 'evaluator')
    )
    return ('val',) if same else ('val', 'test')


def is_retina(cfg: Mapping) -> bool:
    """Whether the head is RetinaHead or inherits from it."""
    from mmdet.models import RetinaHead
    from mmdet.registry import MODELS

    # Not `get`, which takes no unknown name quietly.
    head = MODELS.module_dict.get(kind(part(cfg, 'model.bbox_head')))
    return isinstance(head, type) and issubclass(head, RetinaHead)


def counts_channels(cfg: Mapping) -> bool:
    """Whether the head counts its channels by `use_sigmoid` of its config."""
    from mmdet.models import AnchorFreeHead, AnchorHead
    from mmdet.registry import MODELS

    head = MODELS.module_dict.get(kind(part(cfg, 'model.bbox_head')))
    heads = (AnchorFreeHead, AnchorHead)
    return isinstance(head, type) and issubclass(head, heads)


def has_mask_head(cfg: Mapping) -> bool:
    """Whether the detector has one, below a RoI head or not."""
    model = part(cfg, 'model')
    return any(
        part(parent, 'mask_head')
        for parent in (model, part(model, 'roi_head'))
    )


def needs_masks(cfg: Mapping) -> bool:
    """Whether training needs the masks of objects in its batches."""
    # BoxInst fills the boxes as its preprocessor makes a batch.
    preprocessor = kind(part(cfg, 'model.data_preprocessor'))
    return has_mask_head(cfg) and preprocessor != 'BoxInstDataPreprocessor'


def predicts_masks(cfg: Mapping) -> bool:
    test_cfg = part(cfg, 'model.roi_head.test_cfg')
    return has_mask_head(cfg) and test_cfg.get('with_mask', True)

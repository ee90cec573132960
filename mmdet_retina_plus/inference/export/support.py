"""Detectors that can be exported; others are refused, with the reason."""

from typing import Any

from mmcv.ops import RoIAlign
from mmdet.models import BaseDetector, DetDataPreprocessor
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.detectors import SingleStageDetector
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.coders import (
    DeltaXYWHBBoxCoder,
    DistancePointBBoxCoder,
)

from mmdet_retina_plus.detectors import RetinaPlus
from mmdet_retina_plus.heads import MaskRoIHead, RetinaPlusHead

KNOWN_STEPS = {
    'predict': BaseDenseHead,
    'predict_by_feat': (BaseDenseHead, RetinaPlusHead),
    '_predict_by_feat_single': BaseDenseHead,
    '_bbox_post_process': BaseDenseHead,
}
"""Steps of a box head that a file reproduces, and their owners."""
NMS_OPTIONS = {'type', 'iou_threshold', 'class_agnostic', 'split_thr'}
PLAIN_NMS = (
    "--cfg-options \"model.test_cfg.nms={'_delete_': True, 'type': "
    "'nms', 'iou_threshold': 0.5}\""
)


def check_exportable(model: BaseDetector, raw: bool = False) -> None:
    """Refuse a detector that `ExportedDetector` does not reproduce.

    Args:
        model: Detector from `load_detector`.
        raw: Whether NMS and masks are left out.

    Raises:
        ValueError: Names the part and the fix.
    """
    if not isinstance(model, SingleStageDetector):
        refuse(model, 'it is not a single-stage detector of boxes')
    owner = owner_of(model, 'predict')
    if owner not in (SingleStageDetector, RetinaPlus):
        refuse(model, f'{owner.__name__} predicts in its own way')
    if type(model.data_preprocessor) is not DetDataPreprocessor:
        refuse(model.data_preprocessor, 'only DetDataPreprocessor is known')
    mean = getattr(model.data_preprocessor, 'mean', None)
    if mean is not None and mean.numel() != 3:
        refuse(model.data_preprocessor, 'a file takes RGB images')
    check_box_head(model.bbox_head)
    if raw:
        check_limits(model.bbox_head.test_cfg)
    else:
        check_test_cfg(model.bbox_head.test_cfg)
    if not raw and getattr(model, '_runs_roi_head', False):
        check_roi_head(model.roi_head)


def refuse(part: Any, reason: str) -> None:
    """Raise the error of a part.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f'Cannot export {type(part).__name__}: {reason}')


def owner_of(part: Any, method: str) -> type:
    """Class that defines a method of a part."""
    return next(cls for cls in type(part).__mro__ if method in vars(cls))


def check_box_head(head: Any) -> None:
    """Refuse a box head that converts its outputs to boxes differently.

    Raises:
        ValueError: The head overrides a step or has another box coder.
    """
    for step, owners in KNOWN_STEPS.items():
        if not hasattr(head, step):
            refuse(head, f'it has no {step}')
        owner = owner_of(head, step)
        if owner not in (owners if isinstance(owners, tuple) else (owners,)):
            refuse(
                head,
                f'{owner.__name__} has its own {step}; export supports those '
                'of mmdet.BaseDenseHead and RetinaPlusHead',
            )
    if getattr(head.loss_cls, 'custom_cls_channels', False):
        refuse(head.loss_cls, 'it has its own activation')
    coders = (DeltaXYWHBBoxCoder, DistancePointBBoxCoder)
    if type(head.bbox_coder) not in coders:
        names = ' and '.join(coder.__name__ for coder in coders)
        refuse(head.bbox_coder, f'boxes are decoded by {names} only')


def check_limits(test_cfg: Any) -> None:
    """Refuse options that lack what the comparison of a raw file needs.

    Raises:
        ValueError: Names the option.
    """
    if 'iou_threshold' not in (test_cfg.get('nms') or {}):
        raise ValueError(
            f'Cannot compare by test_cfg.nms={test_cfg.get("nms")}: a raw '
            'file is compared after NMS, which needs an iou_threshold, as by '
            f'{PLAIN_NMS}'
        )
    check_positive(test_cfg, 'max_per_img')


def check_positive(test_cfg: Any, name: str) -> None:
    """Refuse an option that is not a limit.

    Raises:
        ValueError: With the fix.
    """
    if (test_cfg.get(name) or -1) < 1:
        raise ValueError(
            f'Cannot export test_cfg.{name}={test_cfg.get(name)}: a file '
            f'needs a limit, --cfg-options model.test_cfg.{name}=1000'
        )


def check_test_cfg(test_cfg: Any) -> None:
    """Refuse options of the box head that a file cannot reproduce.

    Raises:
        ValueError: Names the option.
    """
    nms = test_cfg.get('nms') or {}
    kind = nms.get('type', 'nms')
    if kind != 'nms':
        raise ValueError(
            f'Cannot export {kind}, which ONNX does not have: use plain NMS '
            f'by {PLAIN_NMS}, or --raw'
        )
    unknown = sorted(nms.keys() - NMS_OPTIONS)
    if unknown or 'iou_threshold' not in nms:
        raise ValueError(
            f'Cannot export test_cfg.nms={dict(nms)}: it takes '
            f'iou_threshold and class_agnostic, as by {PLAIN_NMS}'
        )
    for name in ('nms_pre', 'max_per_img'):
        check_positive(test_cfg, name)
    if test_cfg.get('min_bbox_size', -1) > 0:
        raise ValueError(
            'Cannot export test_cfg.min_bbox_size='
            f'{test_cfg.min_bbox_size}, which counts pixels of the original '
            'image: --cfg-options model.test_cfg.min_bbox_size=0'
        )


def check_roi_head(roi_head: Any) -> None:
    """Refuse a mask branch with parts other than RetinaMask's.

    Raises:
        ValueError: Names the part.
    """
    hint = 'export boxes only with --cfg-options model.roi_head=None'
    for part, known in (
        (roi_head, MaskRoIHead),
        (getattr(roi_head, 'mask_head', None), FCNMaskHead),
        (getattr(roi_head, 'mask_roi_extractor', None), SingleRoIExtractor),
    ):
        if type(part) is not known:
            refuse(part, f'masks are those of {known.__name__}, {hint}')
    for layer in roi_head.mask_roi_extractor.roi_layers:
        if not isinstance(layer, RoIAlign) or layer.pool_mode != 'avg':
            refuse(layer, f'RoIs are pooled by mean RoIAlign, {hint}')

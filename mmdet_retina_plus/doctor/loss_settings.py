"""Settings of the losses that training accepts and suffers from."""

from collections.abc import Mapping

from mmdet_retina_plus.common.config_tree import kind, part

from .findings import Finding
from .model_traits import is_retina


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


CHECKS = (
    check_classifier,
    check_box_scale,
)

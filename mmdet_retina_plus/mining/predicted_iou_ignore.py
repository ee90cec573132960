"""YOLOv3's rule for negatives that predict an object's box.

YOLOv3: https://arxiv.org/abs/1804.02767; .7 is ``ignore_thresh`` of darknet's
configs, where the paper's text has .5 and speaks of priors.
"""

import torch
from mmdet.registry import TASK_UTILS
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_retina_plus.kernels import overlap_matching
from mmdet_retina_plus.kernels.boxes import iou


@TASK_UTILS.register_module()
class PredictedIoUIgnore:
    """Ignore negatives whose predicted box overlaps an object by more.

    They are good detections in the place of another, and it would harm to
    call them background. Predictions are looked at anew in every step.
    Positives and what is ignored already stay as they are. No matrix of
    objects and anchors is held.

    Args:
        iou_thr: Ignored above this IoU, not at it.
        warmup_iters: First iterations of a training that ignore nothing,
            counted by the runner, and so also after it resumes. Where no
            runner counts there is no warm-up.
        class_aware: Ignore a negative for the classes of these objects only;
            for all others it stays a negative. The weights have a column per
            class then, so that it must be the last policy, and the loss one
            of sigmoids that takes them: FocalLoss and FusedFocalLoss do.
        use_sigmoid: Whether logits are one per class, and not also one of the
            background, which is last.

    Raises:
        ValueError: A threshold outside of [0, 1], a negative number of
            iterations, or ``class_aware`` without sigmoids.
    """

    needs = 'predictions'
    normalizer = 'positives'

    def __init__(
        self,
        iou_thr: float = 0.7,
        warmup_iters: int = 0,
        class_aware: bool = False,
        use_sigmoid: bool = True,
    ) -> None:
        if not 0 <= iou_thr <= 1 or warmup_iters < 0:
            raise ValueError(
                f'iou_thr is {iou_thr} and warmup_iters {warmup_iters}: use '
                'an IoU in [0, 1], where 1 ignores nothing, and 0 iterations '
                'or more'
            )
        if class_aware and not use_sigmoid:
            raise ValueError(
                'A softmax cannot leave out single classes: use '
                'class_aware=False, or a loss of sigmoids'
            )
        self.iou_thr = iou_thr
        self.warmup_iters = warmup_iters
        self.per_class = class_aware
        self.use_sigmoid = use_sigmoid

    def __call__(
        self,
        cls_score: Tensor,
        boxes: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        gt_instances: InstanceData,
    ) -> Tensor:
        """Weights (A,), or (A, K) by class, 0 for what is ignored.

        See ``MiningPolicy``.
        """
        negative = labels == cls_score.size(1) - (not self.use_sigmoid)
        if self.per_class:
            label_weights = label_weights[:, None].expand_as(cls_score)
            negative = negative[:, None]
        if self._warms_up():
            return label_weights
        objects = gt_instances.bboxes
        if self.per_class:
            near = near_classes(
                boxes,
                objects,
                gt_instances.labels,
                cls_score.size(1),
                self.iou_thr,
            )
        else:
            near = best_iou(objects, boxes) > self.iou_thr
        return label_weights.masked_fill(negative & near, 0)

    def _warms_up(self) -> bool:
        if not self.warmup_iters:
            return False
        iteration = MessageHub.get_current_instance().get_info('iter')
        return iteration is not None and iteration < self.warmup_iters


def best_iou(objects: Tensor, boxes: Tensor) -> Tensor:
    return overlap_matching.best_iou(objects, boxes, 'Predicted boxes')


def near_classes(
    boxes: Tensor,
    objects: Tensor,
    labels: Tensor,
    num_classes: int,
    iou_thr: float,
) -> Tensor:
    """Whether an object of a class overlaps a box by more, shape (A, K).

    Args:
        boxes: Shape (A, 4).
        objects: Shape (G, 4).
        labels: Of the objects, shape (G,).
        num_classes: K.
        iou_thr: IoU to exceed.
    """
    second = overlap_matching.finite_coordinates(boxes, 'Predicted boxes')
    first = overlap_matching.finite_coordinates(objects, 'Ground truths')
    found = second.new_zeros(num_classes, len(boxes))
    rows = overlap_matching.rows_per_launch(max(1, len(boxes)))
    for some in torch.arange(len(labels), device=labels.device).split(rows):
        near = iou(first[:, some, None], second[:, None]) > iou_thr
        found.index_add_(0, labels[some], near.to(found.dtype))
    return found.t() > 0

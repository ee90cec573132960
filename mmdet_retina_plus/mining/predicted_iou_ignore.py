"""YOLOv3's rule for negatives whose predicted box overlaps an object.

YOLOv3: https://arxiv.org/abs/1804.02767. The default of .7 is
``ignore_thresh`` in darknet's configs; the paper has .5 and compares priors.
"""

import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_retina_plus.common.training_phase import training_iteration
from mmdet_retina_plus.kernels import overlap_matching
from mmdet_retina_plus.kernels.boxes import iou


@TASK_UTILS.register_module()
class PredictedIoUIgnore:
    """Ignore negatives whose predicted box has a high IoU with an object.

    Such predictions localise the object well, so training them as background
    would punish good boxes. The IoU is computed from the current predictions
    in every step. Positives and ignored anchors keep their weights. No matrix
    of objects and anchors is held.

    Args:
        iou_thr: Ignore negatives strictly above this IoU.
        warmup_iters: Number of iterations at the start of training without
            ignoring. The iteration comes from the runner's message hub, so
            that resuming continues the count; without a runner there is no
            warm-up.
        class_aware: Ignore a negative only for the classes of the objects
            that it overlaps; it stays a negative of all other classes. The
            weights then have one column per class: the policy must be the
            last one, and the loss must accept weights of shape (N, C), as
            FocalLoss and FusedFocalLoss do.
        use_sigmoid: Whether the classifier has one logit per class. If False,
            it also has a background logit, which is last.

    Raises:
        ValueError: The threshold is outside [0, 1], the number of iterations
            is negative, or ``class_aware`` comes without ``use_sigmoid``.
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
                'an IoU in [0, 1], where 1 ignores nothing, and a number of '
                'iterations of at least 0'
            )
        if class_aware and not use_sigmoid:
            raise ValueError(
                'A softmax cannot ignore single classes: use '
                'class_aware=False or a sigmoid classifier'
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
        """Set the weights of ignored negatives to 0.

        See ``MiningPolicy``.

        Returns:
            Shape (A,), or (A, K) if ``class_aware``.
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
        iteration = training_iteration()
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
    """Flag the classes whose objects overlap a box, shape (A, K).

    Args:
        boxes: Shape (A, 4).
        objects: Shape (G, 4).
        labels: Labels of the objects, shape (G,).
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

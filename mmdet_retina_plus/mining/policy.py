"""The protocol between a dense head and its mining policies.

A policy chooses which anchors train the classifier. ``RetinaPlusHead`` calls
it once per image and step, between assignment and loss. It is any callable
with the attributes below, registered in mmdet's TASK_UTILS; deriving from
``MiningPolicy`` is not needed.
"""

from typing import Literal, Protocol

from mmengine.structures import InstanceData
from torch import Tensor


class MiningPolicy(Protocol):
    """Weights of the classification loss, image by image.

    The head checks its policies when it is built. Several policies are applied
    in the order of the config, each on the weights returned by the previous
    one. Boxes are trained on all positives, whatever the policies return.

    Attributes:
        needs: Boxes to be called with: ``'anchors'``, ``'predictions'`` or
            None. Predictions are decoded only if a policy needs them.
        normalizer: Divisor of the classification loss: the number of
            ``'positives'`` in the batch, as without mining, or of anchors
            ``'selected'``, with a weight above 0 after all policies. A single
            policy with ``'selected'`` decides. Optional, ``'positives'`` by
            default.
        use_sigmoid: Optional: whether the classifier has one logit per class.
            If False, it also has a background logit, which is last. The head
            refuses a policy that differs from its classifier.
        per_class: Optional: whether the policy returns weights per logit,
            shape (A, K). Such a policy must be the last one, since others
            take one weight per anchor.
    """

    needs: Literal['anchors', 'predictions'] | None
    normalizer: Literal['positives', 'selected'] = 'positives'

    def __call__(
        self,
        cls_score: Tensor,
        boxes: Tensor | None,
        labels: Tensor,
        label_weights: Tensor,
        gt_instances: InstanceData,
    ) -> Tensor:
        """Compute the weights of an image's anchors, shape (A,) or (A, K).

        Called without gradient. The arguments are views of the batch: do not
        change them. Anchors run from fine to coarse levels, as in mmdet.

        Args:
            cls_score: Logits of shape (A, K).
            boxes: Boxes named by ``needs``, shape (A, 4), in pixels of the
                network's input; or None.
            labels: Shape (A,), background = number of classes.
            label_weights: Shape (A,), at least 0. Anchors of weight 0 are
                ignored, and must stay so.
            gt_instances: Ground truth, ``bboxes`` (G, 4) and ``labels`` (G,).
        """

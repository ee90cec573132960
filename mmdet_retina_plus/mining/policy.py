"""What a mining policy is: the protocol between a dense head and its policies.

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

    The head checks a policy when it is built. Several policies are applied in
    the order of the config, each on the weights that the one before returned.
    Boxes are trained on all positives, whatever the policies return.

    Attributes:
        needs: The boxes it is called with, ``'anchors'``, ``'predictions'``,
            or None for none. Predictions are decoded for a policy that needs
            them, and only then.
        normalizer: What the classification loss is divided by: the batch's
            number of ``'positives'``, as without mining, or of anchors
            ``'selected'``, which have a weight above 0 after all policies.
            One policy that says ``'selected'`` decides. Optional,
            ``'positives'`` if missing.
        use_sigmoid: Optional: whether it reads the logits as one per class
            and not also one of the background, which is last. The head
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
        """New weights of the anchors of one image, shape (A,) or (A, K).

        It runs without gradient. The arguments are views of the batch's, to
        be read only. Anchors run from fine to coarse levels, as in mmdet.

        Args:
            cls_score: Logits of shape (A, K).
            boxes: As ``needs`` says, shape (A, 4), in pixels of the network's
                input; or None.
            labels: Shape (A,), background = number of classes.
            label_weights: Shape (A,), at least 0. An anchor of weight 0 is
                ignored, and should stay so.
            gt_instances: The ground truth, ``bboxes`` (G, 4) and ``labels``
                (G,).
        """

"""RetinaNet's head with losses over all pyramid levels at once.

RetinaNet: https://arxiv.org/abs/1708.02002
"""

import math
from collections.abc import Callable, Sequence

import torch
from mmdet.models.dense_heads import RetinaHead
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures.bbox import cat_boxes, get_box_tensor
from mmdet.utils import ConfigType, InstanceList, OptInstanceList, reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor


@MODELS.register_module()
class RetinaPlusHead(RetinaHead):
    """mmdet's RetinaHead, but each loss is called once, over all levels.

    Losses with running statistics need that. The values of losses without
    state equal RetinaHead's, summed over its levels. Beside the losses, the
    head logs the images' mean number of positive, ignored and background
    anchors: ``num_positive``, ``num_ignored`` (weight zero, from padding,
    assigner or mining) and ``num_background``.

    A softmax classifier (``use_sigmoid=False``) starts with the foreground
    probability of ``bias_prob`` in ``init_cfg``, .01 by default: the bias of
    its background channel is ln(C (1 - p) / p).

    Args:
        args: As ``RetinaHead``.
        mining: A mining policy or a list of them, applied in this order. A
            policy is called once per image, ``policy(cls_score, boxes,
            labels, label_weights, gt_instances)``, with detached logits of
            shape (A, K), decoded predictions (A, 4), labels (A,) with
            background = C, weights (A,), and returns the new weights (A,) of
            the classification loss. With an attribute ``on_anchors`` that is
            true it gets anchors in place of predictions; one with
            ``normalizer = 'selected'`` has the classification loss divided
            by the batch's number of anchors of weight above 0 instead of
            positives.
        sync_avg_factor: Average the losses' divisor over all processes.
        kwargs: As ``RetinaHead``.

    Raises:
        ValueError: Head and loss, or a policy, disagree about ``use_sigmoid``.
    """

    def __init__(
        self,
        *args,
        mining: ConfigType | Sequence[ConfigType] | None = None,
        sync_avg_factor: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        expected = getattr(self.loss_cls, 'use_sigmoid', self.use_sigmoid_cls)
        if expected != self.use_sigmoid_cls:
            # mmdet reads the option off the config, where the default of the
            # loss is not seen, and silently adds a background channel.
            raise ValueError(
                f'{type(self.loss_cls).__name__} works on sigmoids, but '
                'loss_cls does not say so: add `use_sigmoid=True` to it'
            )
        self.mining = [TASK_UTILS.build(policy) for policy in as_list(mining)]
        for policy in self.mining:
            expected = getattr(policy, 'use_sigmoid', self.use_sigmoid_cls)
            if expected != self.use_sigmoid_cls:
                raise ValueError(
                    f'{type(policy).__name__} has use_sigmoid={expected}, the '
                    f'classifier {self.use_sigmoid_cls}: set it to that, or '
                    'leave the policy out by mining=None'
                )
        self.averages_selected = any(
            getattr(policy, 'normalizer', None) == 'selected'
            for policy in self.mining
        )
        self.sync_avg_factor = sync_avg_factor

    def init_weights(self) -> None:
        first_time = not self.is_init
        super().init_weights()
        if self.use_sigmoid_cls or not first_time:
            return
        for prior in bias_probs(self.init_cfg):
            bias = self.retina_cls.bias.new_zeros(
                self.num_base_priors, self.cls_out_channels
            )
            bias[:, -1] = math.log(self.num_classes * (1 - prior) / prior)
            self.retina_cls.bias.data.copy_(bias.flatten())

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict:
        check_ground_truth(batch_gt_instances, self.num_classes)
        anchors, valid_flags = self.get_anchors(
            [score.shape[-2:] for score in cls_scores],
            batch_img_metas,
            device=cls_scores[0].device,
        )
        *targets, avg_factor = self.get_targets(
            anchors,
            valid_flags,
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore=batch_gt_instances_ignore,
        )
        labels, label_weights, bbox_targets, bbox_weights = (
            torch.cat(levels, dim=1) for levels in targets
        )
        all_anchors = torch.stack(
            [get_box_tensor(cat_boxes(levels)) for levels in anchors]
        )
        cls_score = join_levels(cls_scores)
        bbox_pred = join_levels(bbox_preds)
        if self.mining:
            label_weights = self._mine(
                cls_score,
                bbox_pred,
                all_anchors,
                labels,
                label_weights,
                batch_gt_instances,
            )
        if self.sync_avg_factor:
            factor = torch.as_tensor(avg_factor, device=cls_score.device)
            avg_factor = reduce_mean(factor.float()).item()
        loss_cls, loss_bbox = self.loss_by_feat_single(
            cls_score,
            bbox_pred,
            all_anchors,
            labels,
            label_weights,
            bbox_targets,
            bbox_weights,
            avg_factor=avg_factor,
        )
        if self.averages_selected:
            selected = self._count_selected(label_weights)
            loss_cls = loss_cls * (avg_factor / selected)
        return dict(
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            **count_anchors(labels, label_weights, self.num_classes),
        )

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        *args,
        **kwargs,
    ) -> InstanceList:
        # mmcv's NMS on a CPU refuses any other precision.
        return super().predict_by_feat(
            [score.float() for score in cls_scores],
            [pred.float() for pred in bbox_preds],
            *args,
            **kwargs,
        )

    def _count_selected(self, label_weights: Tensor) -> Tensor:
        """Number of anchors of weight above 0, at least 1."""
        selected = (label_weights > 0).sum().clamp(min=1).float()
        return reduce_mean(selected) if self.sync_avg_factor else selected

    @torch.no_grad()
    def _mine(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        anchors: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        batch_gt_instances: InstanceList,
    ) -> Tensor:
        """Classification weights (N, A) after all mining policies."""
        mined = []
        for score, delta, anchor, label, weight, gt_instances in zip(
            cls_score.detach(),
            bbox_pred.detach(),
            anchors,
            labels,
            label_weights,
            batch_gt_instances,
            strict=True,
        ):
            logits = score.flatten(1).t().reshape(-1, self.cls_out_channels)
            decoded = anchor
            if not all(map(looks_at_anchors, self.mining)):
                deltas = delta.flatten(1).t().reshape(len(anchor), -1)
                decoded = self.bbox_coder.decode(anchor, deltas)
            for policy in self.mining:
                boxes = anchor if looks_at_anchors(policy) else decoded
                boxes = get_box_tensor(boxes)
                weight = policy(logits, boxes, label, weight, gt_instances)
            mined.append(weight)
        return torch.stack(mined)


def looks_at_anchors(policy: Callable) -> bool:
    """Whether a mining policy takes anchors in place of predictions."""
    return getattr(policy, 'on_anchors', False)


def bias_probs(init_cfg: ConfigType | list | None) -> list[float]:
    """Every ``bias_prob`` in the overrides of an ``init_cfg``.

    mmengine accepts one dict or a list of them, in both places.
    """
    overrides = [
        override
        for config in as_list(init_cfg)
        for override in as_list(config.get('override'))
    ]
    return [
        override['bias_prob']
        for override in overrides
        if 'bias_prob' in override
    ]


def as_list(configs: ConfigType | Sequence[ConfigType] | None) -> list:
    return [configs] if isinstance(configs, dict) else list(configs or [])


def join_levels(levels: Sequence[Tensor]) -> Tensor:
    """One map of all places of a pyramid, level after level.

    Args:
        levels: Maps of shape (N, C, H_l, W_l).

    Returns:
        Shape (N, C, L, 1) with L the sum of H_l * W_l. Its memory is ordered
        (N, L, C), so that bringing channels last costs no further copy.
    """
    places = [level.permute(0, 2, 3, 1).flatten(1, 2) for level in levels]
    return torch.cat(places, dim=1).transpose(1, 2).unsqueeze(-1)


def count_anchors(
    labels: Tensor, label_weights: Tensor, num_classes: int
) -> dict[str, Tensor]:
    """Mean number per image of positive, ignored and background anchors.

    Args:
        labels: Shape (N, A), background = ``num_classes``.
        label_weights: Shape (N, A); zero marks an ignored anchor.
    """
    positive = labels != num_classes
    ignored = ~positive & (label_weights == 0)
    counts = dict(
        num_positive=positive,
        num_ignored=ignored,
        num_background=~positive & ~ignored,
    )
    return {name: flags.sum() / len(labels) for name, flags in counts.items()}


def check_ground_truth(
    batch_gt_instances: Sequence[InstanceData], num_classes: int
) -> None:
    """Refuse boxes that are not finite and labels outside of [0, C).

    Raises:
        ValueError: Label C would train as background without a word.
    """
    labels = torch.cat([gt.labels for gt in batch_gt_instances])
    boxes = torch.cat([get_box_tensor(gt.bboxes) for gt in batch_gt_instances])
    if not len(labels):
        return
    in_range = ((labels >= 0) & (labels < num_classes)).all()
    # One read of both answers, since each stops a GPU's queue.
    labels_fit, finite = torch.stack(
        [in_range, boxes.isfinite().all()]
    ).tolist()
    if not labels_fit:
        raise ValueError(
            f'Ground truth labels must lie in [0, {num_classes}), found '
            f'{labels.min()} to {labels.max()}: set `num_classes` of the '
            'heads to the number of classes in `metainfo`'
        )
    if not finite:
        raise ValueError(
            'Ground truth boxes must be finite: look for NaN or infinity in '
            'the annotation file (`retina-plus doctor CONFIG`)'
        )

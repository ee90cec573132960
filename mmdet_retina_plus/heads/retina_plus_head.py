"""RetinaNet's head with losses over all pyramid levels at once.

RetinaNet: https://arxiv.org/abs/1708.02002
"""

import math
from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import RetinaHead
from mmdet.registry import MODELS
from mmdet.structures.bbox import cat_boxes, get_box_tensor
from mmdet.utils import ConfigType, InstanceList, OptInstanceList, reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from .build_checks import (
    check_anchors,
    check_assigner,
    check_box_loss,
    check_per_class,
    check_sampler,
)
from .level_sizes import count_inside, takes_level_sizes, with_level_sizes
from .mining_calls import apply_policies, build_policies, normalizer_of


@MODELS.register_module()
class RetinaPlusHead(RetinaHead):
    """mmdet's RetinaHead that calls each loss once, over all levels.

    Losses with running statistics need this. The values of stateless losses
    equal RetinaHead's, summed over its levels. The head also logs the mean
    number per image of positive, ignored and background anchors:
    ``num_positive``, ``num_ignored`` (weight zero, from padding, assigner or
    mining) and ``num_background``.

    A softmax classifier (``use_sigmoid=False``) starts with the foreground
    probability ``bias_prob`` of ``init_cfg``, .01 by default: the bias of the
    background channel is ln(C (1 - p) / p).

    Args:
        args: See ``RetinaHead``.
        mining: A mining policy, or a list applied in this order; see
            ``mmdet_retina_plus.mining.MiningPolicy``.
        sync_avg_factor: Average the divisor of the losses over all processes.
        kwargs: See ``RetinaHead``.

    Raises:
        ValueError: The loss or a policy differs from the head in
            ``use_sigmoid``; ``alpha`` or ``class_weight`` of ``loss_cls`` have
            the wrong length; an IoU loss gets deltas; two anchors of a
            location are equal; the assigner expects points or has other
            strides; a sampler adds ground truth to the anchors; or a policy
            does not follow the protocol.
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
            # mmdet reads the option from the config, without the default of
            # the loss, and silently adds a background channel.
            raise ValueError(
                f'{type(self.loss_cls).__name__} uses sigmoids, but loss_cls '
                'does not say so: add `use_sigmoid=True` to it'
            )
        check_per_class(self.loss_cls, 'alpha', self.num_classes, 'loss_cls')
        check_per_class(
            self.loss_cls, 'class_weight', self.cls_out_channels, 'loss_cls'
        )
        check_box_loss(self.loss_bbox, self.reg_decoded_bbox)
        check_anchors(self.prior_generator)
        check_assigner(getattr(self, 'assigner', None), self.prior_generator)
        check_sampler(getattr(self, 'sampler', None))
        self.mining = build_policies(as_list(mining), self.use_sigmoid_cls)
        self.averages_selected = 'selected' in map(normalizer_of, self.mining)
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
        if takes_level_sizes(self.assigner):
            sizes = count_inside(
                anchors,
                valid_flags,
                batch_img_metas,
                self.train_cfg['allowed_border'],
            )
            batch_img_metas = [
                dict(meta, num_level_priors=size)
                for meta, size in zip(batch_img_metas, sizes, strict=True)
            ]
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
        priors = torch.stack(
            [get_box_tensor(cat_boxes(levels)) for levels in anchors]
        )
        cls_score = join_levels(cls_scores, self.cls_out_channels)
        bbox_pred = join_levels(bbox_preds, self.bbox_coder.encode_size)
        if self.mining:
            label_weights = self._mine(
                cls_score,
                bbox_pred,
                priors,
                labels,
                label_weights,
                batch_gt_instances,
            )
        positives = self._over_processes(avg_factor, cls_score)
        selected = None
        # With weights per class, an anchor counts if any class trains.
        highest = label_weights
        if highest.dim() > labels.dim():
            highest = highest.amax(dim=2)
        if self.averages_selected:
            count = (highest > 0).sum().clamp(min=1)
            selected = self._over_processes(count, cls_score)
        loss_cls, loss_bbox = self.loss_by_feat_single(
            cls_score,
            bbox_pred,
            priors,
            labels,
            label_weights,
            bbox_targets,
            bbox_weights,
            avg_factor=positives,
            cls_avg_factor=selected,
        )
        return dict(
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            **count_anchors(labels, highest, self.num_classes),
        )

    def loss_by_feat_single(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        anchors: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        bbox_weights: Tensor,
        avg_factor: float | Tensor,
        cls_avg_factor: float | Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute both losses over all A anchors of all levels at once.

        Args:
            cls_score: Logits, shape (N, A, K).
            bbox_pred: Deltas, shape (N, A, 4).
            anchors: Shape (N, A, 4).
            labels: Shape (N, A), background = number of classes.
            label_weights: Shape (N, A), or (N, A, K) per class.
            bbox_targets: Shape (N, A, 4).
            bbox_weights: Shape (N, A, 4).
            avg_factor: Divisor of the losses.
            cls_avg_factor: Divisor of the classification loss, if different.
        """
        loss_cls = self.loss_cls(
            cls_score.flatten(0, 1),
            labels.flatten(),
            label_weights.flatten(0, 1),
            avg_factor=avg_factor
            if cls_avg_factor is None
            else cls_avg_factor,
        )
        if self.reg_decoded_bbox:
            bbox_pred = self._decode(anchors, bbox_pred)
        loss_bbox = self.loss_bbox(
            bbox_pred.flatten(0, 1),
            bbox_targets.flatten(0, 1),
            bbox_weights.flatten(0, 1),
            avg_factor=avg_factor,
        )
        return loss_cls, loss_bbox

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        *args,
        **kwargs,
    ) -> InstanceList:
        # mmcv's NMS on a CPU supports float32 only.
        return super().predict_by_feat(
            [score.float() for score in cls_scores],
            [pred.float() for pred in bbox_preds],
            *args,
            **kwargs,
        )

    def _get_targets_single(
        self,
        flat_anchors: Tensor,
        valid_flags: Tensor,
        gt_instances: InstanceData,
        img_meta: dict,
        *args,
        **kwargs,
    ) -> tuple:
        head = self
        if 'num_level_priors' in img_meta:
            head = with_level_sizes(self, img_meta['num_level_priors'])
        return super(RetinaPlusHead, head)._get_targets_single(
            flat_anchors, valid_flags, gt_instances, img_meta, *args, **kwargs
        )

    def _over_processes(
        self, count: float | Tensor, like: Tensor
    ) -> float | Tensor:
        """Average the count over all processes if ``sync_avg_factor``."""
        if not self.sync_avg_factor:
            return count
        return reduce_mean(torch.as_tensor(count, device=like.device).float())

    def _decode(self, priors: Tensor, bbox_pred: Tensor) -> Tensor:
        """Decode deltas to boxes, all (N, A, 4)."""
        boxes = self.bbox_coder.decode(
            priors.flatten(0, 1), bbox_pred.flatten(0, 1)
        )
        return get_box_tensor(boxes).view_as(priors)

    @torch.no_grad()
    def _mine(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        priors: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        batch_gt_instances: InstanceList,
    ) -> Tensor:
        """Compute classification weights (N, A) or (N, A, K)."""
        boxes = dict(anchors=priors)
        if any(policy.needs == 'predictions' for policy in self.mining):
            boxes['predictions'] = self._decode(priors, bbox_pred)
        return apply_policies(
            self.mining,
            cls_score.detach(),
            boxes,
            labels,
            label_weights,
            batch_gt_instances,
        )


def bias_probs(init_cfg: ConfigType | list | None) -> list[float]:
    """Find every ``bias_prob`` in the overrides of an ``init_cfg``.

    mmengine accepts a dict or a list of dicts for both.
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


def join_levels(levels: Sequence[Tensor], channels: int) -> Tensor:
    """Join the anchors of all levels, level after level.

    Args:
        levels: Maps of shape (N, A * channels, H_l, W_l).
        channels: Number of channels per anchor.

    Returns:
        Shape (N, L, channels) with L the sum of A * H_l * W_l, contiguous.
    """
    places = [level.permute(0, 2, 3, 1).flatten(1, 2) for level in levels]
    return torch.cat(places, dim=1).view(len(places[0]), -1, channels)


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
    """Check that boxes are finite and labels in [0, C).

    Raises:
        ValueError: They are not. Label C would silently train as background.
    """
    labels = torch.cat([gt.labels for gt in batch_gt_instances])
    boxes = torch.cat([get_box_tensor(gt.bboxes) for gt in batch_gt_instances])
    if not len(labels):
        return
    in_range = ((labels >= 0) & (labels < num_classes)).all()
    # Read both results at once, since each read synchronises a GPU.
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

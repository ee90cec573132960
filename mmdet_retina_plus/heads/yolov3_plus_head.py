"""YOLOv3's head with YOLOv3's rules for positives and negatives.

YOLOv3: https://arxiv.org/abs/1804.02767
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.models.dense_heads import YOLOV3Head
from mmdet.registry import MODELS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import ConfigType, InstanceList, OptInstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from .level_sizes import takes_level_sizes, with_level_sizes
from .mining_calls import apply_policies, build_policies, normalizer_of
from .retina_plus_head import as_list, join_levels


class Image(NamedTuple):
    """What one image's targets are made of.

    Attributes:
        bboxes: Of the objects, for mmdet.
        gt_instances: The objects.
        objectness: Logits, shape (A,).
        predictions: Boxes, shape (A, 4).
    """

    bboxes: Tensor
    gt_instances: InstanceData
    objectness: Tensor
    predictions: Tensor


@MODELS.register_module()
class YOLOV3PlusHead(YOLOV3Head):
    """mmdet's YOLOV3Head that takes our assigners and mining policies.

    ``BestPriorAssigner`` and ``PredictedIoUIgnore`` make its targets those of
    the paper. mmdet's GridAssigner has thresholds on the IoU in place, several
    positives an object, and looks at no prediction.

    Objects whose centre lies on or beyond the right or lower border belong to
    the last cells, with mmdet's assigner too, where its head raises an
    IndexError or takes the next row.

    Args:
        args: As ``YOLOV3Head``.
        mining: A mining policy or a list of them, applied in this order; see
            ``mmdet_retina_plus.mining.MiningPolicy``. They see objectness as
            a classifier of one class, and choose the negatives; the weights
            of positives stay as they are.
        kwargs: As ``YOLOV3Head``.

    Raises:
        ValueError: A policy does not follow the protocol, or wants to divide
            the loss by the number of anchors selected, which YOLOv3 does not.
    """

    def __init__(
        self,
        *args,
        mining: ConfigType | Sequence[ConfigType] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.mining = build_policies(as_list(mining), use_sigmoid=True)
        for policy in self.mining:
            if normalizer_of(policy) == 'selected':
                raise ValueError(
                    f'{type(policy).__name__} divides by the anchors that it '
                    "selects, but YOLOv3's losses are sums: set its "
                    "normalizer='positives'"
                )

    def loss_by_feat(
        self,
        pred_maps: Sequence[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict:
        if self.mining:
            predictions, objectness = self._predictions(pred_maps)
            batch_gt_instances = [
                Image(gt_instances.bboxes, gt_instances, *predicted)
                for gt_instances, *predicted in zip(
                    batch_gt_instances, objectness, predictions, strict=True
                )
            ]
        return super().loss_by_feat(
            pred_maps,
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore,
        )

    def responsible_flags(
        self, featmap_sizes: list[tuple], gt_bboxes: Tensor, device: str
    ) -> list[Tensor]:
        boxes = get_box_tensor(gt_bboxes)
        borders = boxes.new_tensor(
            [
                (columns * across, rows * down)
                for (rows, columns), (across, down) in zip(
                    featmap_sizes, self.prior_generator.strides, strict=True
                )
            ]
        ).amin(dim=0)
        last = torch.nextafter(borders, torch.zeros_like(borders))
        centres = (boxes[:, :2] + boxes[:, 2:]) * 0.5
        centres = centres.clamp(min=0).minimum(last)
        return super().responsible_flags(
            featmap_sizes, torch.cat([centres, centres], dim=1), device
        )

    def _get_targets_single(
        self,
        anchors: list[Tensor],
        responsible_flags: list[Tensor],
        gt_instances: InstanceData | Image,
    ) -> tuple[Tensor, Tensor]:
        head, image = self, None
        if isinstance(gt_instances, Image):
            image, gt_instances = gt_instances, gt_instances.gt_instances
        if takes_level_sizes(self.assigner):
            head = with_level_sizes(self, [len(level) for level in anchors])
        target_map, neg_map = super(YOLOV3PlusHead, head)._get_targets_single(
            anchors, responsible_flags, gt_instances
        )
        if image is not None:
            neg_map = self._mine(
                image, torch.cat(anchors), target_map[:, 4] > 0, neg_map
            )
        return target_map, neg_map

    @torch.no_grad()
    def _predictions(
        self, pred_maps: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Boxes (N, A, 4) and logits of objectness (N, A)."""
        anchors = self.prior_generator.grid_priors(
            [pred_map.shape[-2:] for pred_map in pred_maps],
            device=pred_maps[0].device,
        )
        strides = torch.cat(
            [
                level.new_full((len(level), 1), stride)
                for level, stride in zip(
                    anchors, self.featmap_strides, strict=True
                )
            ]
        )
        maps = join_levels(pred_maps, self.num_attrib).detach().float()
        deltas = torch.cat([maps[..., :2].sigmoid(), maps[..., 2:4]], dim=2)
        boxes = self.bbox_coder.decode(torch.cat(anchors), deltas, strides)
        return get_box_tensor(boxes), maps[..., 4]

    @torch.no_grad()
    def _mine(
        self, image: Image, anchors: Tensor, positive: Tensor, neg_map: Tensor
    ) -> Tensor:
        """Negatives (A,) that are left by all policies.

        Args:
            image: Objects and predictions.
            anchors: Shape (A, 4).
            positive: Flags (A,).
            neg_map: 1 for the assigner's negatives, shape (A,).
        """
        gt_instances = InstanceData(
            bboxes=get_box_tensor(image.gt_instances.bboxes),
            labels=torch.zeros_like(image.gt_instances.labels),
        )
        weights = apply_policies(
            self.mining,
            image.objectness[None, :, None],
            dict(anchors=anchors[None], predictions=image.predictions[None]),
            (~positive).long()[None],
            (positive | (neg_map > 0)).float()[None],
            [gt_instances],
        )
        return neg_map * (weights.flatten() > 0)

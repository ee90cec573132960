"""mmdet's YOLOv3 head with the paper's positives and negatives.

YOLOv3: https://arxiv.org/abs/1804.02767
"""

import copy
import inspect
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import YOLOV3Head
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.registry import MODELS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import (
    ConfigType,
    InstanceList,
    OptConfigType,
    OptInstanceList,
)
from mmengine.structures import InstanceData
from torch import Tensor

from .build_checks import check_assigner
from .level_sizes import takes_level_sizes
from .mining_calls import apply_policies, build_policies, normalizer_of
from .retina_plus_head import as_list, join_levels

MAX_LOG_RATIO = math.log(1000 / 16)
"""Largest log size relative to the prior's, as in mmdet's coders."""


class Image(NamedTuple):
    """Ground truth and predictions of one image.

    Attributes:
        bboxes: Boxes of the objects, which mmdet reads.
        gt_instances: The objects.
        assigned: Assignment of the priors.
        objectness: Logits, shape (A,).
        predictions: Predicted boxes, shape (A, 4).
    """

    bboxes: Tensor
    gt_instances: InstanceData
    assigned: AssignResult
    objectness: Tensor
    predictions: Tensor


@MODELS.register_module()
class YOLOV3PlusHead(YOLOV3Head):
    """YOLOV3Head that accepts this package's assigners and mining policies.

    ``BestPriorAssigner`` with ``PredictedIoUIgnore`` gives the targets of
    YOLOv3. mmdet's GridAssigner uses IoU thresholds, assigns several positives
    per object and does not use predictions.

    An object whose centre lies on or beyond the image border is assigned to
    the border cell, with any assigner. YOLOV3Head raises an IndexError there
    or marks a cell of the next row.

    Ignore regions reach the assigner: with its ``ignore_iof_thr`` the
    negatives in them are not trained.

    Objects may have ``mix_weights``, set by ``BatchMixUp``: the weights of
    their positives in the objectness loss.

    Args:
        args: Arguments of ``YOLOV3Head``.
        mining: A mining policy, or a list applied in this order; see
            ``mmdet_retina_plus.mining.MiningPolicy``. Policies get the
            objectness as a classifier of one class. They choose negatives
            only: every positive keeps its weight.
        loss_bbox: Additional loss of the positives' boxes, summed over the
            batch, or None.
        kwargs: Arguments of ``YOLOV3Head``.

    Raises:
        ValueError: A policy does not follow the protocol, or divides the loss
            by the number of selected anchors; or the assigner has other
            strides.
    """

    def __init__(
        self,
        *args,
        mining: ConfigType | Sequence[ConfigType] | None = None,
        loss_bbox: OptConfigType = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        check_assigner(getattr(self, 'assigner', None), self.prior_generator)
        self.loss_bbox = loss_bbox and MODELS.build(loss_bbox)
        self.mining = build_policies(as_list(mining), use_sigmoid=True)
        for policy in self.mining:
            if normalizer_of(policy) == 'selected':
                raise ValueError(
                    f'{type(policy).__name__} divides the loss by the number '
                    'of selected anchors, which YOLOV3Head cannot do: set '
                    "normalizer='positives'"
                )

    def predict_by_feat(
        self, pred_maps: Sequence[Tensor], *args, **kwargs
    ) -> InstanceList:
        # As in training: exp overflows above 88, in float16 above 11.
        maps = []
        for pred_map in pred_maps:
            priors = pred_map.float().unflatten(1, (-1, self.num_attrib))
            parts = priors.split([2, 2, self.num_attrib - 4], dim=2)
            parts = parts[0], clamp_log(parts[1]), parts[2]
            maps.append(torch.cat(parts, dim=2).flatten(1, 2))
        return super().predict_by_feat(maps, *args, **kwargs)

    def loss_by_feat(
        self,
        pred_maps: Sequence[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
        assigned: Sequence[AssignResult] | None = None,
    ) -> dict:
        """Compute the losses of each level and ``loss_bbox`` of all levels.

        Args:
            pred_maps: Output of ``forward``.
            batch_gt_instances, batch_img_metas: See mmdet.
            batch_gt_instances_ignore: Ignore regions of each image, with
                ``bboxes``, or None.
            assigned: Assignment of each image; None calls the assigner.
        """
        if assigned is None:
            sizes = [(level.size(2), level.size(3)) for level in pred_maps]
            assigned = self.assign(
                sizes, batch_gt_instances, batch_gt_instances_ignore
            )
        boxes, objectness = self._predictions(pred_maps)
        images = [
            Image(gt_instances.bboxes, gt_instances, *of_image)
            for gt_instances, *of_image in zip(
                batch_gt_instances,
                assigned,
                objectness.detach(),
                boxes.detach(),
                strict=True,
            )
        ]
        losses = super().loss_by_feat(
            pred_maps, images, batch_img_metas, batch_gt_instances_ignore
        )
        if self.loss_bbox is not None:
            positive, gts = positives(assigned)
            true_boxes = [get_box_tensor(image.bboxes) for image in images]
            losses['loss_bbox'] = self.loss_bbox(
                boxes.flatten(0, 1)[positive],
                torch.cat(true_boxes)[gts],
                reduction_override='sum',
            )
        return losses

    def assign(
        self,
        featmap_sizes: Sequence[tuple[int, int]],
        batch_gt_instances: InstanceList,
        batch_gt_instances_ignore: OptInstanceList = None,
        num_shapes: int | None = None,
    ) -> list[AssignResult]:
        """Assign the priors of each image.

        Args:
            featmap_sizes: (H, W) of each level.
            batch_gt_instances: Ground truth of each image.
            batch_gt_instances_ignore: Ignore regions of each image, or None.
            num_shapes: Assign only this many first priors of each location;
                None for all.
        """
        device = batch_gt_instances[0].labels.device
        levels = self.prior_generator.grid_priors(featmap_sizes, device=device)
        levels = [self._first_shapes(level, num_shapes) for level in levels]
        kwargs: dict[str, Any] = {}
        if takes_level_sizes(self.assigner):
            kwargs['num_level_priors'] = [len(level) for level in levels]
        if (
            'featmap_sizes'
            in inspect.signature(self.assigner.assign).parameters
        ):
            kwargs['featmap_sizes'] = featmap_sizes
        priors = torch.cat(levels)
        results = []
        for gt_instances, ignored in zip(
            batch_gt_instances,
            batch_gt_instances_ignore or [None] * len(batch_gt_instances),
            strict=True,
        ):
            flags = self.responsible_flags(
                featmap_sizes, gt_instances.bboxes, device
            )
            flags = [self._first_shapes(level, num_shapes) for level in flags]
            pred_instances = InstanceData(
                priors=priors, responsible_flags=torch.cat(flags)
            )
            results.append(
                self.assigner.assign(
                    pred_instances,
                    gt_instances,
                    gt_instances_ignore=ignored,
                    **kwargs,
                )
            )
        return results

    def _first_shapes(self, rows: Tensor, num_shapes: int | None) -> Tensor:
        """Select the rows of the first priors of each location."""
        if num_shapes is None:
            return rows
        return rows.unflatten(0, (-1, self.num_base_priors))[
            :, :num_shapes
        ].flatten(0, 1)

    def responsible_flags(
        self,
        featmap_sizes: Sequence[tuple[int, int]],
        gt_bboxes: Tensor,
        device: torch.device,
    ) -> list[Tensor]:
        boxes = get_box_tensor(gt_bboxes)
        # Computed on the host: copying from a GPU would synchronise.
        borders = np.array(
            [
                (columns * across, rows * down)
                for (rows, columns), (across, down) in zip(
                    featmap_sizes, self.prior_generator.strides, strict=True
                )
            ],
            dtype=np.float32,
        ).min(axis=0)
        centres = (boxes[:, :2] + boxes[:, 2:]) * 0.5
        x, y = (
            coordinate.clamp(0, last)
            for coordinate, last in zip(
                centres.unbind(dim=1),
                np.nextafter(borders, np.float32(0)).tolist(),
                strict=True,
            )
        )
        return super().responsible_flags(
            featmap_sizes, torch.stack([x, y, x, y], dim=1), device
        )

    def _get_targets_single(
        self,
        anchors: list[Tensor],
        responsible_flags: list[Tensor],
        image: Image,
    ) -> tuple[Tensor, Tensor]:
        # The parent calls the assigner itself, so use a shallow copy of the
        # head whose assigner returns the known result.
        head = copy.copy(self)
        head.__dict__['assigner'] = SimpleNamespace(
            assign=lambda *args: image.assigned
        )
        target_map, neg_map = super(YOLOV3PlusHead, head)._get_targets_single(
            anchors, responsible_flags, image.gt_instances
        )
        if self.mining:
            neg_map = self._mine(
                image, torch.cat(anchors), target_map[:, 4] > 0, neg_map
            )
        if 'mix_weights' in image.gt_instances:
            # mmdet adds 1 to this weight of a positive's objectness.
            extra = F.pad(image.gt_instances.mix_weights.float() - 1, (1, 0))
            gt_inds = image.assigned.gt_inds.clamp(min=0)
            neg_map = neg_map.float() + extra[gt_inds]
        return target_map, neg_map

    def _predictions(
        self, pred_maps: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Decode boxes (N, A, 4) and select objectness logits (N, A)."""
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
        maps = join_levels(pred_maps, self.num_attrib).float()
        deltas = torch.cat(
            [maps[..., :2].sigmoid(), clamp_log(maps[..., 2:4])], dim=2
        )
        boxes = self.bbox_coder.decode(torch.cat(anchors), deltas, strides)
        return get_box_tensor(boxes), maps[..., 4]

    @torch.no_grad()
    def _mine(
        self, image: Image, anchors: Tensor, positive: Tensor, neg_map: Tensor
    ) -> Tensor:
        """Clear the negatives that the policies drop.

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


def clamp_log(sizes: Tensor) -> Tensor:
    """Clamp log sizes relative to a prior, so that their exp is finite."""
    return sizes.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def positives(assigned: Sequence[AssignResult]) -> tuple[Tensor, Tensor]:
    """Indices of all positive priors and of their objects, (P,) each.

    Both are indexed over the batch.
    """
    gt_inds = torch.stack([result.gt_inds for result in assigned])
    counts = [0, *(result.num_gts for result in assigned[:-1])]
    before = torch.tensor(counts, device=gt_inds.device).cumsum(0)
    image, prior = (gt_inds > 0).nonzero().unbind(dim=1)
    positive = image * gt_inds.size(1) + prior
    return positive, before[image] + gt_inds[image, prior] - 1

"""YOLOv3 with guided anchors, as in the baseline of ASFF.

Guided Anchoring: https://arxiv.org/abs/1901.03278
ASFF: https://arxiv.org/abs/1911.09516, section 3.1
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.ops import DeformConv2d
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.registry import MODELS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import ConfigType, InstanceList, OptInstanceList
from torch import Tensor, nn

from mmdet_retina_plus.kernels.boxes import shape_iou

from .retina_plus_head import join_levels
from .yolov3_plus_head import YOLOV3PlusHead, clamp_log, positives

FREE_SIDE = 4
"""Side of the free prior, in strides."""
SQUARED_IOU_LOSS = dict(type='IoULoss', mode='square')


class WidthHeightAdaption(nn.Module):
    """Deformable 3x3 convolution whose offsets follow predicted shapes.

    Unlike mmdet's FeatureAdaption it has an offset group for each shape and
    no ReLU.

    Args:
        channels: Number of input and output channels, divisible by num_shapes.
        num_shapes: Number of shapes per location.
    """

    def __init__(self, channels: int, num_shapes: int) -> None:
        super().__init__()
        self.conv_offset = nn.Conv2d(
            2 * num_shapes,
            2 * 9 * num_shapes,
            1,
            groups=num_shapes,
            bias=False,
        )
        self.conv = DeformConv2d(
            channels, channels, 3, padding=1, deform_groups=num_shapes
        )

    def forward(self, features: Tensor, shapes: Tensor) -> Tensor:
        """Adapt the features.

        Args:
            features: Shape (N, C, H, W).
            shapes: Logarithms of width and height, (N, 2 num_shapes, H, W).
        """
        # mmcv's deformable convolution supports neither bfloat16 nor autocast.
        dtype = self.conv.weight.dtype
        offsets = self.conv_offset(shapes).to(dtype)
        return self.conv(features.to(dtype), offsets)


@MODELS.register_module()
class GuidedYOLOV3Head(YOLOV3PlusHead):
    """YOLOv3's head that predicts the shapes of its priors.

    Each location has an additional free prior, a square with a side of four
    strides. A convolution predicts (dw, dh) for each prior, w = w_prior
    exp(dw), and a deformable convolution adapts the features to these shapes.
    There is no location branch; the objectness takes its role.

    An object is assigned to the prior that the assigner chooses among those
    of the config. It is assigned to the free prior of that location instead,
    if the shape predicted for the free prior has a higher IoU with the object
    than the chosen prior has before prediction. ``loss_anchor`` trains both
    shapes.

    The box offsets are relative to the predicted shapes, so ``forward``
    returns their sum with (dw, dh). The maps have (dw, dh) after the
    predictions, 2 channels per prior.

    Args:
        args: See ``YOLOV3PlusHead``.
        anchor_generator: The priors without the free ones.
        loss_anchor: Loss of the shapes of positives and their free priors, as
            boxes about the same centre, summed over the batch.
        kwargs: See ``YOLOV3PlusHead``.
    """

    def __init__(
        self,
        *args,
        anchor_generator: ConfigType,
        loss_anchor: ConfigType = SQUARED_IOU_LOSS,
        **kwargs,
    ) -> None:
        base_sizes = [
            [*sizes, (FREE_SIDE * stride, FREE_SIDE * stride)]
            for sizes, stride in zip(
                anchor_generator['base_sizes'],
                anchor_generator['strides'],
                strict=True,
            )
        ]
        super().__init__(
            *args,
            anchor_generator=dict(anchor_generator, base_sizes=base_sizes),
            **kwargs,
        )
        self.loss_anchor = MODELS.build(loss_anchor)

    def _init_layers(self) -> None:
        super()._init_layers()
        number = self.num_base_priors
        self.convs_guide = nn.ModuleList(
            nn.Conv2d(width, 2 * number, 1) for width in self.out_channels
        )
        self.adaptions = nn.ModuleList(
            WidthHeightAdaption(width, number) for width in self.out_channels
        )

    def forward(self, x: Sequence[Tensor]) -> tuple[tuple[Tensor, ...]]:
        pred_maps = []
        for level, bridge, guide_conv, adaption, pred in zip(
            x,
            self.convs_bridge,
            self.convs_guide,
            self.adaptions,
            self.convs_pred,
            strict=True,
        ):
            features = bridge(level)
            guides = guide_conv(features)
            offsets = pred(adaption(features, guides.detach()))
            shapes = guides.unflatten(1, (-1, 2))
            # Zeros for x, y before them, for objectness and classes after.
            shapes = F.pad(shapes, (0,) * 4 + (2, self.num_attrib - 4))
            pred_map = offsets + shapes.flatten(1, 2)
            pred_maps.append(torch.cat([pred_map, guides], dim=1))
        return (tuple(pred_maps),)

    def predict_by_feat(
        self, pred_maps: Sequence[Tensor], *args, **kwargs
    ) -> InstanceList:
        pred_maps, _ = self._split(pred_maps)
        return super().predict_by_feat(pred_maps, *args, **kwargs)

    def loss_by_feat(
        self,
        pred_maps: Sequence[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
        assigned: Sequence[AssignResult] | None = None,
    ) -> dict:
        """Losses of ``YOLOV3PlusHead``, and ``loss_anchor``.

        Args:
            pred_maps: Output of ``forward``.
            batch_gt_instances, batch_img_metas, batch_gt_instances_ignore: See
                ``YOLOV3PlusHead``.
            assigned: Not used; the choice depends on the predicted shapes.
        """
        pred_maps, guides = self._split(pred_maps)
        sizes = [(level.size(2), level.size(3)) for level in pred_maps]
        number = self.num_base_priors
        fixed = self.assign(
            sizes, batch_gt_instances, batch_gt_instances_ignore, number - 1
        )
        priors = shapes_of(
            torch.cat(
                self.prior_generator.grid_priors(
                    sizes, device=pred_maps[0].device
                )
            )
        )
        shapes = join_levels(guides, 2).float()
        shapes = (clamp_log(shapes).exp() * priors).view(-1, number, 2)
        priors = priors.view(-1, number, 2)
        positive, gts = positives(fixed)
        place, prior = positive // (number - 1), positive % (number - 1)
        true = shapes_of(
            torch.cat([get_box_tensor(gt.bboxes) for gt in batch_gt_instances])
        )[gts]
        free = shapes[place, -1]
        better = shape_iou(free.t(), true.t()) > shape_iou(
            priors[place % len(priors), prior].t(), true.t()
        )
        gt_inds = choose_free(
            torch.cat([result.gt_inds for result in fixed]).view(
                -1, number - 1
            ),
            self._ignored_free(
                sizes, batch_gt_instances, batch_gt_instances_ignore
            ),
            place,
            prior,
            better,
        )
        losses = super().loss_by_feat(
            pred_maps,
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore,
            [
                with_labels(of_image.flatten(), gt_instances.labels)
                for of_image, gt_instances in zip(
                    gt_inds.split(len(priors)), batch_gt_instances, strict=True
                )
            ],
        )
        # Without objects mmdet's loss has no graph, and other processes would
        # hang in the all-reduce.
        nothing = shapes[:0].sum()
        losses['loss_anchor'] = nothing + self.loss_anchor(
            about_origin(torch.cat([shapes[place, prior], free])),
            about_origin(torch.cat([true, true])),
            reduction_override='sum',
        )
        return losses

    def _ignored_free(
        self,
        featmap_sizes: Sequence[tuple[int, int]],
        batch_gt_instances: InstanceList,
        batch_gt_instances_ignore: OptInstanceList,
    ) -> Tensor:
        """-1 for free priors in ignore regions, else 0, of all locations."""
        results = self.assign(
            featmap_sizes,
            [gt_instances[:0] for gt_instances in batch_gt_instances],
            batch_gt_instances_ignore,
        )
        gt_inds = torch.cat([result.gt_inds for result in results])
        return gt_inds.view(-1, self.num_base_priors)[:, -1]

    def _split(
        self, pred_maps: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Predictions, and (dw, dh) of the priors, of each level."""
        number = self.num_base_priors
        parts = [
            pred_map.split([number * self.num_attrib, number * 2], dim=1)
            for pred_map in pred_maps
        ]
        return [part[0] for part in parts], [part[1] for part in parts]


def choose_free(
    places: Tensor,
    free: Tensor,
    place: Tensor,
    prior: Tensor,
    better: Tensor,
) -> Tensor:
    """Move objects to free priors, which come last at each location.

    If several objects choose the same free prior, the last one gets it.

    Args:
        places: 1-based object of the other priors, of all P locations of the
            batch, (P, S - 1).
        free: Initial assignment of the free priors, 0 or -1, (P,).
        place: Location of each positive, shape (M,).
        prior: Prior of each positive, shape (M,).
        better: Whether it prefers the free prior, shape (M,).

    Returns:
        Shape (P, S).
    """
    moved = torch.zeros_like(free).scatter_reduce_(
        0, place, places[place, prior] * better, 'amax'
    )
    gt_inds = torch.cat([places, moved.where(moved > 0, free)[:, None]], dim=1)
    gt_inds[place, prior] *= ~better
    return gt_inds


def with_labels(gt_inds: Tensor, labels: Tensor) -> AssignResult:
    """Build the assignment of one image.

    Args:
        gt_inds: 1-based objects, shape (A,).
        labels: Labels of the objects, shape (G,).
    """
    return AssignResult(
        num_gts=len(labels),
        gt_inds=gt_inds,
        max_overlaps=None,
        labels=F.pad(labels, (1, 0), value=-1)[gt_inds.clamp(min=0)],
    )


def shapes_of(bboxes: Tensor) -> Tensor:
    """Width and height, shape (N, 2)."""
    return bboxes[:, 2:] - bboxes[:, :2]


def about_origin(shapes: Tensor) -> Tensor:
    """Boxes (N, 4) of these widths and heights (N, 2)."""
    return torch.cat([-shapes, shapes], dim=1) / 2

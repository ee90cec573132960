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
from .yolov3_plus_head import YOLOV3PlusHead

FREE_SIDE = 4
"""Side of the free prior, in strides."""
SQUARED_IOU_LOSS = dict(type='IoULoss', mode='square')


class WidthHeightAdaption(nn.Module):
    """Deformable 3x3 convolution whose offsets follow predicted shapes.

    Unlike mmdet's FeatureAdaption it has an offset group for each shape and
    no ReLU.

    Args:
        channels: Of the features, which stay as many; num_shapes divides it.
        num_shapes: Of a location.
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
        """Adapted features.

        Args:
            features: Shape (N, C, H, W).
            shapes: Logarithms of width and height, (N, 2 num_shapes, H, W).
        """
        # mmcv's deformable convolution has no bfloat16 and no autocast.
        dtype = self.conv.weight.dtype
        offsets = self.conv_offset(shapes).to(dtype)
        return self.conv(features.to(dtype), offsets)


@MODELS.register_module()
class GuidedYOLOV3Head(YOLOV3PlusHead):
    """YOLOv3's head that predicts the shapes of its priors.

    Every location has, beside its priors, a free one: a square with a side of
    four strides. A convolution predicts (dw, dh) for each, w = w_prior
    exp(dw), and a deformable one adapts the features to that. There is no
    branch for the location, which the objectness does.

    An object belongs to the prior that the assigner chooses among those of
    the config, or to the free one of that location, if the shape predicted
    for it has a higher IoU with the object's than the chosen prior has before
    prediction. Both shapes are trained by ``loss_anchor``.

    Since the boxes' offsets are relative to the predicted shapes, their sum
    with (dw, dh) is what ``forward`` returns in place of the offsets. The
    maps have (dw, dh) after the predictions, 2 channels for each prior.

    Args:
        args: As ``YOLOV3PlusHead``.
        anchor_generator: The priors without the free ones.
        loss_anchor: Loss of the shapes of positives and their free ones,
            boxes about one centre, summed over the batch.
        kwargs: As ``YOLOV3PlusHead``.
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
            pred_maps: As ``forward`` returns them.
            batch_gt_instances, batch_img_metas, batch_gt_instances_ignore: As
                in mmdet.
            assigned: Not used; the choice depends on the predicted shapes.
        """
        pred_maps, guides = self._split(pred_maps)
        sizes = [(level.size(2), level.size(3)) for level in pred_maps]
        fixed = self.assign(
            sizes, batch_gt_instances, self.num_base_priors - 1
        )
        levels = self.prior_generator.grid_priors(
            sizes, device=pred_maps[0].device
        )
        priors = shapes_of(torch.cat(levels))
        shapes = join_levels(guides, 2).float().exp() * priors
        priors = priors.unflatten(0, (-1, self.num_base_priors))
        shapes = shapes.unflatten(1, (-1, self.num_base_priors))
        chosen, trained, wanted = [], [], []
        for result, image_shapes, gt_instances in zip(
            fixed, shapes, batch_gt_instances, strict=True
        ):
            places = result.gt_inds.view(len(priors), -1)
            place, prior = (places > 0).nonzero().unbind(dim=1)
            gts = places[place, prior] - 1
            true = shapes_of(get_box_tensor(gt_instances.bboxes))[gts]
            free = image_shapes[place, -1]
            better = shape_iou(free.t(), true.t()) > shape_iou(
                priors[place, prior].t(), true.t()
            )
            chosen.append(
                choose_free(places, place, prior, better, gt_instances.labels)
            )
            trained += [image_shapes[place, prior], free]
            wanted += [true, true]
        losses = super().loss_by_feat(
            pred_maps,
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore,
            chosen,
        )
        # Without objects mmdet's loss has no graph, for which other processes
        # would wait.
        nothing = shapes[:, :0].sum()
        losses['loss_anchor'] = nothing + self.loss_anchor(
            about_origin(torch.cat(trained)),
            about_origin(torch.cat(wanted)),
            reduction_override='sum',
        )
        return losses

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
    place: Tensor,
    prior: Tensor,
    better: Tensor,
    labels: Tensor,
) -> AssignResult:
    """Assignment to the priors with a free one at the end of each location.

    Where several objects choose the same free prior the last one has it.

    Args:
        places: Objects of the other priors, counted from 1, (P, S - 1).
        place: Location of each positive, shape (M,).
        prior: Prior of each, shape (M,).
        better: Whether it prefers the free one, shape (M,).
        labels: Of the objects, shape (G,).
    """
    gt_inds = F.pad(places, (0, 1))
    moved = places[place, prior] * better
    gt_inds[place, prior] *= ~better
    gt_inds[:, -1].scatter_reduce_(0, place, moved, 'amax')
    gt_inds = gt_inds.flatten()
    none = labels.new_full((1,), -1)
    return AssignResult(
        num_gts=len(labels),
        gt_inds=gt_inds,
        max_overlaps=None,
        labels=torch.cat([none, labels])[gt_inds.clamp(min=0)],
    )


def shapes_of(bboxes: Tensor) -> Tensor:
    """Width and height, shape (N, 2)."""
    return bboxes[:, 2:] - bboxes[:, :2]


def about_origin(shapes: Tensor) -> Tensor:
    """Boxes (N, 4) of these widths and heights (N, 2)."""
    return torch.cat([-shapes, shapes], dim=1) / 2

"""NMS and RoIAlign of mmcv as operators of ONNX.

torch.onnx does not know mmcv's extensions. Each is wrapped in a custom
operator, which runs mmcv's in Python and is exported as ONNX's.
"""

import torch
from mmcv.ops import nms
from mmcv.ops import roi_align as mmcv_roi_align
from torch import Tensor
from torch.onnx import register_custom_op_symbolic
from torch.onnx.symbolic_helper import parse_args

OPSET = 18
"""From opset 16 on, RoIAlign matches mmcv's."""
INT64 = 7
"""TensorProto's number of this type."""


@torch.library.custom_op('mmdet_retina_plus::nms_mask', mutates_args=())
def nms_mask(
    boxes: Tensor, scores: Tensor, iou_threshold: float, most: int
) -> Tensor:
    """Mark the boxes of an image that non-maximum suppression keeps, 1 or 0.

    Args:
        boxes: Shape (N, M, 4), x1, y1, x2, y2.
        scores: Shape (N, M). Boxes that score 0 are dropped.
        iou_threshold: A box is dropped if its IoU with a better box is above
            this.
        most: Number of best boxes to keep per image.
    """
    kept = torch.zeros_like(scores)
    for row, box, score in zip(kept, boxes, scores, strict=True):
        (positive,) = torch.where(score > 0)
        _, index = nms(box[positive], score[positive], iou_threshold)
        row[positive[index[:most]]] = 1
    return kept


@torch.library.custom_op('mmdet_retina_plus::roi_align', mutates_args=())
def roi_align(
    feature: Tensor,
    rois: Tensor,
    size: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Pool RoIs by the mean with mmcv's RoIAlign.

    Args:
        feature: Shape (N, C, H, W).
        rois: Index of the image, x1, y1, x2, y2; shape (R, 5).
        size: Side of the result in bins.
        spatial_scale: Cells of the feature map per pixel.
        sampling_ratio: Samples per side of a bin. 0: one per covered cell.
        aligned: Whether coordinates are relative to the centres of cells.

    Returns:
        Shape (R, C, size, size).
    """
    # mmcv ignores strides.
    feature = feature.contiguous()
    return mmcv_roi_align(
        feature, rois, size, spatial_scale, sampling_ratio, 'avg', aligned
    )


def register_symbolics() -> None:
    """Register our operators with torch.onnx as operators of ONNX."""
    for name, symbolic in (
        ('nms_mask', onnx_nms_mask),
        ('roi_align', onnx_roi_align),
    ):
        register_custom_op_symbolic(
            f'mmdet_retina_plus::{name}', symbolic, OPSET
        )


@parse_args('v', 'v', 'f', 'i')
def onnx_nms_mask(g, boxes, scores, iou_threshold, most):
    def constant(value):
        return g.op('Constant', value_t=torch.tensor(value))

    found = g.op(
        'NonMaxSuppression',
        boxes,
        g.op('Unsqueeze', scores, constant([1])),
        constant([most]),
        constant([iou_threshold]),
        constant([0.0]),
    )
    # Columns are image, class and box; there is one class.
    place = g.op('Gather', found, constant([0, 2]), axis_i=1)
    count = g.op('Shape', place, start_i=0, end_i=1)
    return g.op(
        'ScatterND',
        g.op('Mul', scores, constant([0.0])),
        place,
        g.op('Expand', constant([1.0]), count),
    )


@parse_args('v', 'v', 'i', 'f', 'i', 'i')
def onnx_roi_align(
    g, feature, rois, size, spatial_scale, sampling_ratio, aligned
):
    sizes = g.op('Constant', value_t=torch.tensor([1, 4]))
    image, corners = g.op('Split', rois, sizes, axis_i=1, outputs=2)
    axes = g.op('Constant', value_t=torch.tensor([1]))
    return g.op(
        'RoiAlign',
        feature,
        corners,
        g.op('Cast', g.op('Squeeze', image, axes), to_i=INT64),
        coordinate_transformation_mode_s=(
            'half_pixel' if aligned else 'output_half_pixel'
        ),
        mode_s='avg',
        output_height_i=size,
        output_width_i=size,
        sampling_ratio_i=sampling_ratio,
        spatial_scale_f=spatial_scale,
    )

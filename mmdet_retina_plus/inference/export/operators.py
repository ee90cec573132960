"""NMS and RoIAlign of mmcv as operators of ONNX.

torch.onnx does not know mmcv's extensions. Each is wrapped in an operator of
ours, which runs mmcv's in Python and becomes ONNX's in a file.
"""

import torch
from mmcv.ops import nms
from mmcv.ops import roi_align as mmcv_roi_align
from torch import Tensor
from torch.onnx import register_custom_op_symbolic
from torch.onnx.symbolic_helper import parse_args

OPSET = 18
"""RoIAlign is mmcv's from 16 on."""
INT64 = 7
"""TensorProto's number of this type."""


@torch.library.custom_op('mmdet_retina_plus::nms_mask', mutates_args=())
def nms_mask(
    boxes: Tensor, scores: Tensor, iou_threshold: float, most: int
) -> Tensor:
    """Which boxes of an image non-maximum suppression keeps, 1 or 0.

    Args:
        boxes: Shape (N, M, 4), x1, y1, x2, y2.
        scores: Shape (N, M). Boxes that score 0 are dropped.
        iou_threshold: Boxes that overlap a better one more are dropped.
        most: Best boxes of an image to keep.
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
    """Mean pooling of RoIs by mmcv.

    Args:
        feature: Shape (N, C, H, W).
        rois: Index of the image, x1, y1, x2, y2; shape (R, 5).
        size: Side of the result in cells.
        spatial_scale: Cells of the feature in a pixel.
        sampling_ratio: Samples along a cell's side. 0: as many as it covers.
        aligned: Whether coordinates count from the centres of cells.

    Returns:
        Shape (R, C, size, size).
    """
    # mmcv reads memory in order, whatever the strides say.
    feature = feature.contiguous()
    return mmcv_roi_align(
        feature, rois, size, spatial_scale, sampling_ratio, 'avg', aligned
    )


def register_symbolics() -> None:
    """Tell torch.onnx which operators of ONNX ours are."""
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

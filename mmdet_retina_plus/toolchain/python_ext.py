"""Operators of mmcv in Python, for machines without a C++ compiler.

`retina-plus build-mmcv --no-compiler` installs a copy of this file in place of
the compiled `mmcv._ext`, so it must not import this package. RetinaNet,
RetinaMask and Retina U-Net need only NMS, soft-NMS and RoIAlign. Any other
operator raises when it is called.

It uses torchvision's operators if they are installed and work with this torch.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NoReturn

import torch
from torch import Tensor


@cache
def find_backend() -> str:
    """'torchvision' if its operators work on every device here, or 'torch'.

    Not called at import, when a process has not chosen its GPU yet.
    """
    devices = ['cpu', *['cuda'] * torch.cuda.is_available()]
    try:
        from torchvision.ops import nms

        for device in devices:
            nms(torch.ones(1, 4).to(device), torch.ones(1).to(device), 0.5)
    # A torchvision for another torch fails in many ways.
    except Exception:
        return 'torch'
    return 'torchvision'


CHUNK = 512


def get_compiler_version() -> str:
    return f'none, operators in Python on {find_backend()}'


def get_compiling_cuda_version() -> str:
    """CUDA version of torch, since these operators run wherever it runs."""
    return torch.version.cuda or 'not available'


def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0
) -> Tensor:
    """Indices of the boxes that NMS keeps, by descending score.

    Args:
        boxes: Shape (N, 4), xyxy.
        scores: Shape (N,).
        iou_threshold: A box with a larger IoU than this is suppressed.
        offset: Added to widths and heights; 1 is the old convention.
    """
    if find_backend() == 'torchvision' and offset == 0:
        from torchvision.ops import nms

        return nms(boxes, scores, iou_threshold)
    return torch_nms(boxes, scores, iou_threshold, offset)


def torch_nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0
) -> Tensor:
    order = scores.sort(descending=True).indices  # as mmcv's, also on ties
    boxes = boxes[order]
    kept = boxes.new_ones(len(boxes), dtype=torch.bool)
    for start in range(0, len(boxes), CHUNK):
        # Boxes suppressed by earlier chunks need no row.
        rows = kept[start : start + CHUNK].nonzero()[:, 0] + start
        over = overlaps(boxes[rows], boxes[start:], offset) > iou_threshold
        alive = kept[start:].cpu().numpy().copy()
        for row, mask in zip(
            (rows - start).tolist(), over.cpu().numpy(), strict=True
        ):
            if alive[row]:
                alive[row + 1 :] &= ~mask[row + 1 :]
        kept[start:] = torch.from_numpy(alive).to(kept.device)
    return order[kept]


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Indices of the boxes that soft-NMS keeps, in the order of selection.

    Args:
        boxes: Shape (N, 4), xyxy.
        scores: Shape (N,).
        dets: Receives the boxes and their lowered scores, shape (N, 5).
        iou_threshold: IoU threshold of methods 0 and 1.
        sigma: Width of the Gaussian of method 2.
        min_score: A box whose score falls below this is dropped.
        method: 0 is NMS, 1 lowers scores linearly, 2 by a Gaussian.
        offset: Added to widths and heights; 1 is the old convention.
    """
    scores, left = scores.clone(), torch.arange(len(boxes))
    kept: list[Tensor] = []
    while len(left):
        best = scores[left].argmax()
        one = left[best]
        dets[len(kept), :4], dets[len(kept), 4] = boxes[one], scores[one]
        kept.append(one)
        left = torch.cat([left[:best], left[best + 1 :]])
        iou = overlaps(boxes[one][None], boxes[left], offset)[0]
        if method == 2:
            weight = (-iou.square() / sigma).exp()
        else:
            lowered = 1 - iou if method == 1 else torch.zeros_like(iou)
            weight = torch.where(iou >= iou_threshold, lowered, 1)
        scores[left] *= weight
        left = left[scores[left] >= min_score]
    return torch.stack(kept) if kept else left


def overlaps(boxes: Tensor, others: Tensor, offset: int) -> Tensor:
    """IoU of shape (N, M), rounded as by mmcv's operator."""
    area, other_area = (
        (x[:, 2] - x[:, 0] + offset) * (x[:, 3] - x[:, 1] + offset)
        for x in (boxes, others)
    )
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    inter = (high - low + offset).clamp(min=0).prod(dim=-1)
    return inter / (area[:, None] + other_area - inter)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the pooled features into the output.

    Args:
        input: Features, shape (B, C, H, W).
        rois: Shape (N, 5): image index, xyxy in pixels of the image.
        output: Shape (N, C, aligned_height, aligned_width).
        argmax_y: For max pooling; unused.
        argmax_x: For max pooling; unused.
        aligned_height: Rows of bins.
        aligned_width: Columns of bins.
        spatial_scale: Pixels of the features per pixel of the image.
        sampling_ratio: Samples per bin and axis; 0: by the size of the RoI.
        pool_mode: 1 for the mean of the samples; 0, the maximum, raises.
        aligned: Shift by half a pixel, so that pixel centres are at integers.
    """
    if pool_mode != 1:
        missing("RoIAlign with pool_mode='max'")
    if find_backend() == 'torchvision':
        output.copy_(
            torch.ops.torchvision.roi_align(
                *(input, rois, spatial_scale, aligned_height, aligned_width),
                *(sampling_ratio, aligned),
            )
        )
        return
    torch_roi_align(
        input, rois, output, spatial_scale, sampling_ratio, aligned
    )


def torch_roi_align(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> None:
    """Compute `roi_align_forward` by matrix products."""
    for n, image, rows, columns, by_row, by_column in bilinear_weights(
        *(rois, input.shape[2:], output.shape[2:]),
        *(spatial_scale, sampling_ratio, aligned),
    ):
        patch = input[image, :, rows, columns].to(by_row.dtype)
        output[n] = by_row @ patch @ by_column.T


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add the gradient of the features to grad_input, shape (B, C, H, W)."""
    if find_backend() == 'torchvision':
        grad_input += torch.ops.torchvision._roi_align_backward(
            *(grad_output, rois, spatial_scale, aligned_height),
            *(aligned_width, *grad_input.shape, sampling_ratio, aligned),
        )
        return
    for n, image, rows, columns, by_row, by_column in bilinear_weights(
        *(rois, grad_input.shape[2:], (aligned_height, aligned_width)),
        *(spatial_scale, sampling_ratio, aligned),
    ):
        grad = grad_output[n].to(by_row.dtype)
        grad_input[image, :, rows, columns] += by_row.T @ grad @ by_column


def bilinear_weights(
    rois: Tensor,
    shape: Sequence[int],
    bins: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Iterator[tuple[int, int, slice, slice, Tensor, Tensor]]:
    """RoIAlign as two small matrices per RoI, since it is separable.

    Yields:
        Index of the RoI, index of its image, slices of the rows and columns
        that it reads, and their weights of shape (bins, rows) and (bins,
        columns).
    """
    # Half precision would misplace samples.
    rois = rois if rois.dtype == torch.float64 else rois.float()
    corners = rois[:, 1:] * spatial_scale - 0.5 * aligned
    for n, (image, (x1, y1, x2, y2)) in enumerate(
        zip(rois[:, 0].tolist(), corners, strict=True)
    ):
        axes = [
            axis_weights(low, high, size, count, sampling_ratio, aligned)
            for low, high, size, count in (
                (y1, y2, shape[0], bins[0]),
                (x1, x2, shape[1], bins[1]),
            )
        ]
        (rows, by_row), (columns, by_column) = axes
        yield n, int(image), rows, columns, by_row, by_column


def axis_weights(
    low: Tensor,
    high: Tensor,
    size: int,
    bins: int,
    sampling_ratio: int,
    aligned: bool,
) -> tuple[slice, Tensor]:
    """Mean weights of the cells for each bin of one axis.

    Args:
        low: Start of the RoI in cells.
        high: End of the RoI in cells.
        size: Number of cells.
        bins: Number of bins.
        sampling_ratio: Samples per bin; 0: one per cell, rounded up.
        aligned: If False, a RoI is at least one cell long.

    Returns:
        Slice of the cells with weights, and the weights, shape (bins, cells).
    """
    length = high - low
    if not aligned:
        length = length.clamp(min=1)
    step = length / bins
    # An empty RoI has no samples, so its features are 0.
    count = sampling_ratio if sampling_ratio > 0 else int(step.ceil())
    index = torch.arange(bins, device=low.device)[:, None]
    inside = torch.arange(max(count, 0), device=low.device) + 0.5
    at = low + index * step + inside * step / max(count, 1)
    valid = (at >= -1) & (at <= size)
    at = at.clamp(0, size - 1)
    begin, end = 0, 1
    if count > 0:
        begin, end = int(at.min()), int(at.max().ceil()) + 1
    cells = torch.arange(begin, end, device=low.device)
    tent = (1 - (at[..., None] - cells).abs()).clamp(min=0)
    weights = (tent * valid[..., None]).sum(dim=1) / max(count, 1)
    return slice(begin, end), weights


def missing(name: str) -> NoReturn:
    raise NotImplementedError(
        f'{name} needs the compiled operators of mmcv, but this one was built '
        'with --no-compiler. Install a C++ compiler, then run `retina-plus '
        'build-mmcv`.'
    )


def __getattr__(name: str) -> str | Callable[..., NoReturn]:
    """`BACKEND`, or a stand-in for an operator that raises when called."""
    if name == 'BACKEND':
        return find_backend()
    if name.startswith('__'):
        raise AttributeError(name)

    def operator(*args: Any, **kwargs: Any) -> NoReturn:
        missing(name)

    return operator

"""Weights of boxes by the position of their centre in the tile.

They are the ``patch_weight`` of ``weighted_box_clustering``. Boxes are in
coordinates of the tile, not of the image.
"""

import torch
from torch import Tensor

SIGMA = 0.8
"""Standard deviation of the Gaussian, relative to half the tile's side."""
PLATEAU = 0.5
"""Distance at which the weight starts to fall; a corner is at 1."""


def gaussian_patch_weight(
    boxes_in_patch: Tensor, patch_shape: tuple[int, int]
) -> Tensor:
    """Weight boxes by a Gaussian along each axis, 1 at the centre.

    The mean over both axes of exp(-(x - m)^2 / (2 (0.8 m)^2)), where m is half
    the tile's side, as in the medicaldetectiontoolkit. A corner has 0.458.

    Args:
        boxes_in_patch: Shape (n, 4), x1, y1, x2, y2 in pixels of the tile.
        patch_shape: Height and width of the tile, in pixels.

    Returns:
        Shape (n,).
    """
    middle, half = _middles(boxes_in_patch, patch_shape)
    axes = torch.exp(-((middle / (SIGMA * half)) ** 2) / 2)
    return axes.mean(dim=1).to(boxes_in_patch.dtype)


def plateau_patch_weight(
    boxes_in_patch: Tensor, patch_shape: tuple[int, int]
) -> Tensor:
    """Weight boxes by 1 up to half way to a corner, then falling to 0.5.

    1 - max(0, d / d_max - 0.5) with the distance d from the tile's centre and
    d_max that of a corner, as in nnDetection's selective ensembler.

    Args:
        boxes_in_patch: See ``gaussian_patch_weight``.
        patch_shape: See ``gaussian_patch_weight``.

    Returns:
        Shape (n,). A centre far outside the tile has 0.
    """
    middle, half = _middles(boxes_in_patch, patch_shape)
    way = middle.norm(dim=1) / half.norm()
    weight = 1 - (way - PLATEAU).clamp(min=0)
    return weight.clamp(min=0).to(boxes_in_patch.dtype)


def _middles(
    boxes: Tensor, patch_shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Centres (n, 2) of boxes relative to the tile's, and its half sides (2,).

    Half precision, too coarse to square, becomes single.
    """
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    half = boxes.new_tensor(patch_shape).flip(0) / 2
    return (boxes[:, :2] + boxes[:, 2:]) / 2 - half, half

"""Object bitmaps for cropping many boxes."""

import numpy as np
import torch
from mmcv.ops import roi_align
from mmdet.structures.mask import BitmapMasks

CROPPED_PIXELS = 2**24
"""Mask pixels cropped at once, 4 bytes each."""


class SharedBitmaps(BitmapMasks):
    """``BitmapMasks`` whose boxes share the mask of their object.

    mmdet copies a whole mask for each box: 470 MB for a hundred boxes in an
    image of 800 x 1088 pixels. The crops are the same, bit for bit.
    """

    def crop_and_resize(
        self,
        bboxes: np.ndarray,
        out_shape: tuple[int, int],
        inds: np.ndarray,
        device: torch.device | str = 'cpu',
        interpolation: str = 'bilinear',
        binarize: bool = True,
    ) -> BitmapMasks:
        """Crop boxes and resize them to ``out_shape`` (h, w).

        Args:
            bboxes: Shape (n, 4), in pixels.
            out_shape: Height and width.
            inds: Object of each box, shape (n,).
            device: Device to compute on.
            interpolation: Not used, as in ``BitmapMasks``.
            binarize: Whether to threshold at .5.
        """
        boxes = torch.as_tensor(bboxes, device=device)
        objects = torch.as_tensor(inds, device=device)
        crops = boxes.new_zeros(len(boxes), *out_shape)
        size = max(1, CROPPED_PIXELS // (self.height * self.width))
        for first in range(0, len(self.masks), size):
            chosen = ((first <= objects) & (objects < first + size)).nonzero()
            chosen = chosen[:, 0]
            masks = torch.from_numpy(self.masks[first : first + size])
            # A single call would convert on the CPU and copy four times the
            # bytes.
            masks = masks.to(boxes.device).to(boxes.dtype)
            rois = torch.cat(
                [(objects[chosen] - first)[:, None], boxes[chosen]], dim=1
            )
            crops[chosen] = roi_align(
                # mmcv's RoIAlign ignores strides: make contiguous.
                masks[:, None].contiguous(),
                rois,
                out_shape,
                1.0,
                0,
                'avg',
                True,
            )[:, 0]
        if binarize:
            crops = crops >= 0.5
        return BitmapMasks(crops.cpu().numpy(), *out_shape)

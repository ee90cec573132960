"""Instance masks painted into one map, the truth of a semantic head.

Retina U-Net: https://arxiv.org/abs/1811.08661, whose authors' code paints at
the same place, after all augmentation.
"""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import get_box_tensor
from mmdet.structures.mask.structures import BaseInstanceMasks


@TRANSFORMS.register_module()
class PaintInstances(BaseTransform):
    """Write ``gt_seg_map`` from the masks of an image's objects.

    Background is 0, an object its label + 1. Larger objects are painted
    first, so that smaller ones stay visible; of equal ones the later is on
    top. Below all objects lie the pixels that nobody knows, and are
    ``ignore_index``: those of ignored objects, and the box of an object whose
    mask has no pixel left. An image without masks is unknown all over, so it
    supervises boxes only. One without objects is background.

    It belongs right before ``PackDetInputs``, after
    ``LoadAnnotations(with_mask=True)`` and what moves pixels. Where some
    images have boxes alone, take a ``ConcatDataset`` of two sets, whose
    pipelines differ in ``with_mask``.

    Required keys: ``img``; where the image has masks also ``gt_masks``,
    ``gt_bboxes_labels`` and ``gt_bboxes``, and ``gt_ignore_flags`` if any
    object is ignored. Added keys:
    ``gt_seg_map``, shape (H, W) of uint8, and ``ignore_index``.

    Args:
        class_specific: Paint label + 1. Otherwise every object is 1, which
            allows any number of classes.
        ignore_index: Value of the pixels that nobody knows.
    """

    def __init__(
        self, class_specific: bool = True, ignore_index: int = 255
    ) -> None:
        self.class_specific = class_specific
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        """Add the map.

        Raises:
            ValueError: A label + 1 would be ``ignore_index`` or more.
        """
        shape = results['img'].shape[:2]
        if 'gt_masks' in results:
            masks = results['gt_masks']
            values = self._values(results['gt_bboxes_labels'])
            ignored = results.get(
                'gt_ignore_flags', np.zeros(len(masks), bool)
            )
            boxes = get_box_tensor(results['gt_bboxes']).numpy()
            seg_map = paint_instances(
                masks, values, ignored, boxes, self.ignore_index
            )
        else:
            seg_map = np.full(shape, self.ignore_index, np.uint8)
        results['gt_seg_map'] = seg_map
        results['ignore_index'] = self.ignore_index
        return results

    def _values(self, labels: np.ndarray) -> np.ndarray:
        if not self.class_specific:
            return np.ones_like(labels)
        if len(labels) and labels.max() + 1 >= self.ignore_index:
            raise ValueError(
                f'Label {labels.max()} cannot be painted as '
                f'{labels.max() + 1}, since {self.ignore_index} means a pixel '
                'to ignore: paint all objects alike by '
                'PaintInstances(class_specific=False)'
            )
        return labels + 1


def paint_instances(
    masks: BaseInstanceMasks,
    values: np.ndarray,
    ignored: np.ndarray,
    boxes: np.ndarray,
    ignore_index: int = 255,
) -> np.ndarray:
    """Map (H, W) uint8 of n objects, see ``PaintInstances``.

    Args:
        masks: Of n objects, H and W are theirs.
        values: What to paint, at least 1, shape (n,).
        ignored: Whether nobody knows what the object is, shape (n,) bool.
        boxes: Corners x1, y1, x2, y2 in pixels, shape (n, 4).
        ignore_index: Value of pixels that nobody knows.
    """
    seg_map = np.zeros((masks.height, masks.width), np.uint8)
    unknown = np.zeros(seg_map.shape, bool)
    for index in np.argsort(-masks.areas, kind='stable').tolist():
        mask = masks[index].to_ndarray()[0].astype(bool)
        if not mask.any():
            x1, y1 = np.floor(boxes[index, :2]).clip(min=0).astype(int)
            x2, y2 = np.ceil(boxes[index, 2:]).clip(min=0).astype(int)
            unknown[y1:y2, x1:x2] = True
        elif ignored[index]:
            unknown |= mask
        else:
            seg_map[mask] = values[index]
    seg_map[unknown & (seg_map == 0)] = ignore_index
    return seg_map

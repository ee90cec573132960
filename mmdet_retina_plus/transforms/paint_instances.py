"""Paint instance masks into a map, the ground truth of a semantic head.

Retina U-Net: https://arxiv.org/abs/1811.08661. The authors' code also paints
after all augmentation.
"""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import get_box_tensor
from mmdet.structures.mask.structures import BaseInstanceMasks

IGNORE_INDEX = 255
"""Padding value of maps in mmdet's preprocessor."""


@TRANSFORMS.register_module()
class PaintInstances(BaseTransform):
    """Write ``gt_seg_map`` from the masks of an image's objects.

    Background is 0, an object its label + 1. Larger objects are painted
    first, so that smaller ones stay visible; of equal ones the later is on
    top. Below all objects, pixels of ignored objects and the boxes of objects
    without mask pixels are 255. An image without masks is all
    ``ignore_index``, so it supervises boxes only. An image without objects is
    background.

    Put it directly before ``PackDetInputs``, after
    ``LoadAnnotations(with_mask=True)`` and all transforms that move pixels. If
    some images have boxes only, use a ``ConcatDataset`` of two sets with and
    without ``with_mask``.

    Required keys: ``img``; for images with masks also ``gt_masks``,
    ``gt_bboxes_labels`` and ``gt_bboxes``, and ``gt_ignore_flags`` if any
    object is ignored. Added keys: ``gt_seg_map``, shape (H, W) of uint8, and
    ``ignore_index``.

    Args:
        class_specific: Paint label + 1. Otherwise every object is 1, which
            allows any number of classes.
        keep_masks: Keep the masks in the sample. If no head reads them, they
            are most of the data that a worker process sends.
    """

    def __init__(
        self, class_specific: bool = True, keep_masks: bool = True
    ) -> None:
        self.class_specific = class_specific
        self.keep_masks = keep_masks

    def transform(self, results: dict) -> dict:
        """Add the map.

        Raises:
            ValueError: A label + 1 would be 255 or more, or an earlier
                transform has not moved the masks.
        """
        if 'gt_masks' in results:
            check_masks_fit(results)
            masks, labels = results['gt_masks'], results['gt_bboxes_labels']
            boxes = results.get('gt_bboxes')
            if boxes is None:
                boxes = masks.get_bboxes('hbox')
            results['gt_seg_map'] = paint_instances(
                masks,
                self._values(labels),
                results.get('gt_ignore_flags', np.zeros(len(labels), bool)),
                np.asarray(get_box_tensor(boxes)),
            )
            if not self.keep_masks:
                del results['gt_masks']
        else:
            results['gt_seg_map'] = np.full(
                results['img'].shape[:2], IGNORE_INDEX, np.uint8
            )
        results['ignore_index'] = IGNORE_INDEX
        return results

    def _values(self, labels: np.ndarray) -> np.ndarray:
        if not self.class_specific:
            return np.ones_like(labels)
        if len(labels) and labels.max() + 1 >= IGNORE_INDEX:
            raise ValueError(
                f'Label {labels.max()} cannot be painted as '
                f'{labels.max() + 1}, since {IGNORE_INDEX} marks pixels to '
                'ignore: paint all objects alike by '
                'PaintInstances(class_specific=False)'
            )
        return labels + 1


def paint_instances(
    masks: BaseInstanceMasks,
    values: np.ndarray,
    ignored: np.ndarray,
    boxes: np.ndarray,
) -> np.ndarray:
    """Paint n objects into a map (H, W) uint8, see ``PaintInstances``.

    Args:
        masks: Masks of the n objects, which set H and W.
        values: Value of each object, at least 1, shape (n,).
        ignored: Flags of ignored objects, shape (n,) bool.
        boxes: Corners x1, y1, x2, y2 in pixels, shape (n, 4).

    Raises:
        ValueError: An object without pixels has a box that is not finite.
    """
    seg_map = np.zeros((masks.height, masks.width), np.uint8)
    unknown = np.zeros(seg_map.shape, bool)
    for index in np.argsort(-masks.areas, kind='stable').tolist():
        pixels = masks[index].to_ndarray()[0].nonzero()
        if not len(pixels[0]):
            if not np.isfinite(boxes[index]).all():
                raise ValueError(
                    f'Object {index} has no pixels and the box '
                    f'{boxes[index].tolist()}: correct its annotation'
                )
            x1, y1 = np.floor(boxes[index, :2]).clip(min=0).astype(int)
            x2, y2 = np.ceil(boxes[index, 2:]).clip(min=0).astype(int)
            unknown[y1:y2, x1:x2] = True
        elif ignored[index]:
            unknown[pixels] = True
        else:
            seg_map[pixels] = values[index]
    seg_map[unknown & (seg_map == 0)] = IGNORE_INDEX
    return seg_map


def check_masks_fit(results: dict) -> None:
    """Check that masks match the image and its boxes.

    Raises:
        ValueError: Their number or size differs.
    """
    masks, labels = results['gt_masks'], results['gt_bboxes_labels']
    size, shape = (masks.height, masks.width), results['img'].shape[:2]
    # A test pipeline resizes before it loads, so masks keep their size.
    scale = np.array(results.get('scale_factor', (1, 1)))[::-1]
    loaded_later = np.abs(size * scale - shape).max() < 1
    if len(masks) != len(labels) or not (size == shape or loaded_later):
        raise ValueError(
            f'{len(masks)} masks of {size} pixels for {len(labels)} objects '
            f'in an image of {shape}: an earlier transform does not move '
            "masks, like mmdet's Mosaic and MixUp; use CachedMosaic and "
            'CachedMixUp'
        )

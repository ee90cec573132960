"""Pictures of detections, drawn by mmdet's visualizer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData

from .image_list import ListedImage
from .run_lengths import decode

DRAWN_PIXELS = 2**28
"""Pixels of masks that are drawn at once, a byte each."""


class Pictures:
    """Draws boxes and masks, with class and score in percent.

    Args:
        dataset_meta: Classes and palette of mmdet.
        score_thr: Least score that is drawn, exclusive.
    """

    def __init__(self, dataset_meta: dict[str, Any], score_thr: float) -> None:
        self.visualizer = DetLocalVisualizer()
        self.visualizer.dataset_meta = dataset_meta
        self.score_thr = score_thr

    def draw(self, image: np.ndarray, found: InstanceData) -> np.ndarray:
        """A picture of an image; both uint8 RGB of shape (H, W, 3)."""
        found = found[found.scores > self.score_thr]
        size = max(1, DRAWN_PIXELS // (image.shape[0] * image.shape[1]))
        for first in range(0, max(len(found), 1), size):
            part = found[first : first + size]
            if 'masks' in part:
                nothing = np.zeros(image.shape[:2], bool)
                masks = part.pop('masks')
                if masks:
                    part.masks = np.stack(
                        [decode(rle) if rle else nothing for rle in masks]
                    )
            self.visualizer.add_datasample(
                '',
                image,
                DetDataSample(pred_instances=part),
                draw_gt=False,
                pred_score_thr=self.score_thr,
            )
            image = self.visualizer.get_image()
        return image

    def save(self, source: Path, found: InstanceData, target: Path) -> None:
        """Draw into the image of a file, and write it to another."""
        image = mmcv.imread(source, channel_order='rgb')
        mmcv.imwrite(mmcv.rgb2bgr(self.draw(image, found)), str(target))


def picture_maker(
    show_dir: Path | None, meta: dict[str, Any], score_thr: float
) -> Callable[[ListedImage, Any], object]:
    """Function that writes the picture of an image, if pictures are wanted.

    Args:
        show_dir: Folder; a picture has the file name of its image. None: no
            picture is written.
        meta: Classes and palette of mmdet.
        score_thr: Least score that is drawn, exclusive.
    """
    if show_dir is None:
        return lambda image, found: None
    pictures = Pictures(meta, score_thr)
    return lambda image, found: pictures.save(
        image.path, found, show_dir / image.file_name
    )

"""Pictures of detections by mmdet's visualizer, and semantic maps."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmdet_retina_plus.visualization import SemSegLocalVisualizer
from mmdet_retina_plus.visualization.class_palette import (
    COLOURS,
    class_palette,
)

from .checks import output_of
from .image_list import ListedImage
from .run_lengths import decode

DRAWN_PIXELS = 2**28
"""Pixels of masks that are drawn at once, one byte each."""


class Pictures:
    """Draw boxes, masks and maps, with class and score.

    Each class has its colour. Boxes of a single class without a colour cycle
    through `COLOURS`.

    Args:
        dataset_meta: Classes and palette of mmdet.
        score_thr: Boxes are drawn if they score above this.
        upright: Whether images are turned by their EXIF orientation, as for
            the detector.
    """

    def __init__(
        self,
        dataset_meta: dict[str, Any],
        score_thr: float,
        upright: bool = True,
    ) -> None:
        self.flag = 'color' if upright else 'color_ignore_orientation'
        self.visualizer = SemSegLocalVisualizer(alpha=0.6)
        self.classes = dataset_meta['classes']
        palette = class_palette(dataset_meta)
        self.colour_boxes = len(self.classes) == 1 and palette[0] == COLOURS[0]
        if self.colour_boxes:
            palette = COLOURS
        self.visualizer.dataset_meta = dict(dataset_meta, palette=palette)
        self.score_thr = score_thr

    def drawn(self, sample: DetDataSample) -> InstanceData:
        """Detections that are drawn."""
        found = sample.pred_instances
        return found[found.scores > self.score_thr]

    def draw(self, image: np.ndarray, sample: DetDataSample) -> np.ndarray:
        """Draw into an image; both are uint8 RGB of shape (H, W, 3)."""
        found = self.drawn(sample)
        size = max(1, DRAWN_PIXELS // (image.shape[0] * image.shape[1]))
        if 'pred_sem_seg' in sample:
            maps = DetDataSample(pred_sem_seg=sample.pred_sem_seg)
            self.visualizer.add_datasample('', image, maps, draw_gt=False)
            image = self.visualizer.get_image()
        found.label_names = [
            f'{self.classes[label]} {score:.2f}'
            for label, score in zip(
                found.labels.tolist(), found.scores.tolist(), strict=True
            )
        ]
        if self.colour_boxes:
            found.labels = torch.arange(len(found)) % len(COLOURS)
        # Later boxes hide the names of earlier ones: the best come last.
        found = found[found.scores.argsort()]
        # Without scores, since mmdet would add them in percent.
        del found.scores
        for first in range(0, max(len(found), 1), size):
            part = found[first : first + size]
            if 'masks' in part:
                nothing = np.zeros(image.shape[:2], bool)
                masks = part.pop('masks')
                if masks:
                    part.masks = np.stack(
                        [decode(rle) if rle else nothing for rle in masks]
                    )
            with warnings.catch_warnings():
                # mmengine warns about every box that touches the border.
                warnings.filterwarnings('ignore', '.*out of bounds')
                self.visualizer.add_datasample(
                    '',
                    image,
                    DetDataSample(gt_instances=part),
                    draw_pred=False,
                )
            image = self.visualizer.get_image()
        return image

    def save(self, source: Path, sample: DetDataSample, target: Path) -> None:
        """Draw into the image of a file, and write it to another file."""
        # mmcv reads RGB for its flag 'color' only.
        image = mmcv.bgr2rgb(mmcv.imread(source, self.flag))
        mmcv.imwrite(mmcv.rgb2bgr(self.draw(image, sample)), str(target))


def save_map(sample: DetDataSample, target: Path) -> None:
    """Write the semantic map of a sample as a PNG of one channel.

    Raises:
        ValueError: The model predicted no map.
    """
    if 'pred_sem_seg' not in sample:
        raise ValueError('the model predicts no pred_sem_seg')
    values = sample.pred_sem_seg.sem_seg[0].numpy()
    small = values.max() < 2**8
    mmcv.imwrite(values.astype(np.uint8 if small else np.uint16), str(target))


def picture_maker(
    show_dir: Path | None,
    maps: Path | None,
    meta: dict[str, Any],
    score_thr: float,
    upright: bool,
) -> Callable[[ListedImage, DetDataSample], bool]:
    """Make a function that writes the picture and map of an image.

    The function returns whether it wrote a picture without a box.

    Args:
        show_dir: Folder of pictures, which have the file names of the images.
            None: no pictures.
        maps: Folder of semantic maps, see `output_of`. None: no maps.
        meta: Classes and palette of mmdet.
        score_thr: See `Pictures`, like the next one.
        upright: Whether images are turned by their EXIF orientation.
    """
    pictures = Pictures(meta, score_thr, upright)

    def write(image: ListedImage, sample: DetDataSample) -> bool:
        if maps is not None:
            save_map(sample, output_of(image, maps, '.png'))
        if show_dir is None:
            return False
        pictures.save(image.path, sample, output_of(image, show_dir))
        return not len(pictures.drawn(sample))

    return write

"""Pictures of detections, drawn by mmdet's visualizer, and label maps."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.structures import DetDataSample
from mmdet.visualization.palette import get_palette
from mmengine.structures import InstanceData
from PIL import ImageColor

from mmdet_retina_plus.common.palette import PALETTE
from mmdet_retina_plus.visualization import SemSegLocalVisualizer

from .checks import output_of
from .image_list import ListedImage
from .run_lengths import decode

DRAWN_PIXELS = 2**28
"""Pixels of masks that are drawn at once, a byte each."""


class Pictures:
    """Draws boxes, masks and maps, with class and score in percent.

    Args:
        dataset_meta: Classes and palette of mmdet.
        score_thr: Least score that is drawn, exclusive.
    """

    def __init__(self, dataset_meta: dict[str, Any], score_thr: float) -> None:
        self.visualizer = SemSegLocalVisualizer()
        self.visualizer.dataset_meta = dict(
            dataset_meta, palette=palette_of(dataset_meta)
        )
        self.score_thr = score_thr

    def drawn(self, sample: DetDataSample) -> InstanceData:
        """Detections that score enough."""
        found = sample.pred_instances
        return found[found.scores > self.score_thr]

    def draw(self, image: np.ndarray, sample: DetDataSample) -> np.ndarray:
        """A picture of an image; both uint8 RGB of shape (H, W, 3)."""
        found = self.drawn(sample)
        size = max(1, DRAWN_PIXELS // (image.shape[0] * image.shape[1]))
        if 'pred_sem_seg' in sample:
            maps = DetDataSample(pred_sem_seg=sample.pred_sem_seg)
            self.visualizer.add_datasample('', image, maps, draw_gt=False)
            image = self.visualizer.get_image()
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
                # mmengine warns of each box that touches the border.
                warnings.filterwarnings('ignore', '.*out of bounds')
                self.visualizer.add_datasample(
                    '',
                    image,
                    DetDataSample(pred_instances=part),
                    draw_gt=False,
                    pred_score_thr=self.score_thr,
                )
            image = self.visualizer.get_image()
        return image

    def save(self, source: Path, sample: DetDataSample, target: Path) -> None:
        """Draw into the image of a file, and write it to another."""
        image = mmcv.imread(source, channel_order='rgb')
        mmcv.imwrite(mmcv.rgb2bgr(self.draw(image, sample)), str(target))


def palette_of(meta: dict[str, Any]) -> Any:
    """Palette of mmdet for some classes.

    The data set's own, unless it is that of COCO's classes, which data sets of
    other classes inherit. Then a class that is named after a colour has that
    colour.

    Args:
        meta: Classes and palette.
    """
    classes, palette = meta['classes'], meta['palette']
    coco = CocoDataset.METAINFO
    if palette != coco['palette'] or tuple(classes) == coco['classes']:
        return palette
    others = [*map(ImageColor.getrgb, PALETTE)]
    others += get_palette('random', len(classes))
    return [
        ImageColor.getrgb(name)
        if name.lower() in ImageColor.colormap
        # NumPy's integers are no colours to mmengine.
        else tuple(map(int, colour))
        for name, colour in zip(classes, others, strict=False)
    ]


def save_map(sample: DetDataSample, target: Path) -> None:
    """Write the semantic map of a sample as a PNG of one channel.

    Raises:
        ValueError: The model gave none.
    """
    if 'pred_sem_seg' not in sample:
        raise ValueError('the model gives no pred_sem_seg')
    values = sample.pred_sem_seg.sem_seg[0].numpy()
    small = values.max() < 2**8
    mmcv.imwrite(values.astype(np.uint8 if small else np.uint16), str(target))


def picture_maker(
    show_dir: Path | None,
    maps: Path | None,
    meta: dict[str, Any],
    score_thr: float,
) -> Callable[[ListedImage, DetDataSample], bool]:
    """Function that writes what is wanted of an image.

    It returns whether the image got a picture without a box.

    Args:
        show_dir: Folder; a picture has the file name of its image. None: no
            picture is written.
        maps: Folder of semantic maps, see `output_of`. None: none is written.
        meta: Classes and palette of mmdet.
        score_thr: Least score that is drawn, exclusive.
    """
    pictures = Pictures(meta, score_thr)

    def write(image: ListedImage, sample: DetDataSample) -> bool:
        if maps is not None:
            save_map(sample, output_of(image, maps, '.png'))
        if show_dir is None:
            return False
        pictures.save(image.path, sample, output_of(image, show_dir))
        return not len(pictures.drawn(sample))

    return write

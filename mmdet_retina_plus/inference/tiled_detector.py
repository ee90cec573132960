"""Run trained detectors on tiles of an image and merge their detections."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import cv2
from mmcv.transforms import Compose
from mmdet.models import BaseDetector
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_flip
from mmdet.utils import get_test_pipeline_cfg
from mmengine.structures import InstanceData
from torch import Tensor, no_grad

from mmdet_retina_plus.fusion import merge_tiles, tile_windows

from .image_sizes import loader_key
from .run_lengths import encode_window


class TiledDetector:
    """Run one or several detectors of a config on an image, tile by tile.

    Args:
        models: Detectors from `load_detector`, all in memory at once.
        tile: Side of a tile in pixels of the image. None: the whole image.
        overlap: Overlap of neighbouring tiles, see `tile_windows`.
        batch_size: Tiles per batch.
        flip: Whether to also run each tile mirrored left to right.
        fusion: Arguments of `merge_tiles`.
    """

    def __init__(
        self,
        models: Sequence[BaseDetector],
        tile: int | None = None,
        overlap: float = 0.25,
        batch_size: int = 1,
        flip: bool = False,
        **fusion,
    ) -> None:
        self.models = models
        self.meta: dict[str, Any] = models[0].dataset_meta
        self.tile = tile
        self.overlap = overlap
        self.batch_size = batch_size
        self.mirrors = (False, True) if flip else (False,)
        self.fusion = fusion
        self.sees_once = tile is None and not flip and len(models) == 1
        self.loader, *steps = get_test_pipeline_cfg(models[0].cfg)
        self.loader_key = loader_key(models[0].cfg)
        # The config's loader knows the depth and channels of the images.
        self.load = Compose([self.loader])
        self.prepare = Compose(steps)

    def read(self, path: Path) -> Any:
        """Read an image as an array of shape (H, W) or (H, W, C).

        Raises:
            OSError: The file is missing or broken.
        """
        check_complete(path)
        try:
            return self.load(dict(img_path=str(path)))['img']
        except cv2.error as error:  # Its message is about OpenCV's source.
            raise OSError('OpenCV cannot read the image') from error
        except AssertionError as error:  # From mmcv, if decoding failed.
            raise OSError('The file is not a readable image') from error

    def __call__(
        self, image: Any, advance: Callable[[float], None] = lambda share: None
    ) -> DetDataSample:
        """Detect boxes, scores, labels and masks, by descending score.

        Masks are run lengths of the image, None for a box without a mask. The
        ``pred_sem_seg`` of a model is kept only for a single view of the whole
        image, since maps of tiles and views are not merged.

        Args:
            image: Array of shape (H, W) or (H, W, C).
            advance: Receives the fraction of the work that is done.
        """
        samples, windows = self.look(image, advance)
        views = [sample.pred_instances for sample in samples]
        seen = samples[0]
        seen.pred_instances = merge_tiles(
            views, windows, image.shape[:2], **self.fusion
        )
        return seen

    def look(
        self, image: Any, advance: Callable[[float], None] = lambda share: None
    ) -> tuple[list[DetDataSample], Tensor]:
        """Detections of all models and views, and the window of each view."""
        shape = image.shape[:2]
        windows = tile_windows(shape, self.tile or max(shape), self.overlap)
        passes = list(product(self.models, self.mirrors))
        views: list[DetDataSample] = []
        for model, mirrored in passes:
            for batch in windows.split(self.batch_size):
                found = self.see(model, image, batch, mirrored)
                if mirrored:
                    found = list(map(mirror, found, batch))
                views += map(partial(with_run_lengths, shape), found, batch)
                advance(len(views) / len(windows) / len(passes))
        return views, windows.repeat(len(passes), 1)

    @no_grad()
    def see(
        self, model: BaseDetector, image: Any, windows: Tensor, mirrored: bool
    ) -> list[DetDataSample]:
        """Detections in each window, in its coordinates, on the CPU."""
        step = -1 if mirrored else 1
        views = [
            self.prepare(window_inputs(image[y1:y2, x1:x2][:, ::step]))
            for x1, y1, x2, y2 in windows.tolist()
        ]
        batch = model.data_preprocessor(
            {key: [view[key] for view in views] for key in views[0]}
        )
        samples = model.predict(batch['inputs'], batch['data_samples'])
        return [self.kept(sample.cpu()) for sample in samples]

    def kept(self, sample: DetDataSample) -> DetDataSample:
        """Reduce the sample of any model to what is needed."""
        found = sample.pred_instances
        masks = dict(masks=found.masks.bool()) if 'masks' in found else {}
        view = DetDataSample(
            pred_instances=InstanceData(
                bboxes=found.bboxes.float(),
                scores=found.scores.float(),
                labels=found.labels,
                **masks,
            )
        )
        if self.sees_once and 'pred_sem_seg' in sample:
            view.pred_sem_seg = sample.pred_sem_seg
        return view


def mirror(sample: DetDataSample, window: Tensor) -> DetDataSample:
    """Map detections in a mirrored window (4,) back to the window."""
    found = sample.pred_instances
    x1, y1, x2, y2 = window.tolist()
    found.bboxes = bbox_flip(found.bboxes, (y2 - y1, x2 - x1))
    if 'masks' in found:
        found.masks = found.masks.flip(-1)
    return sample


def with_run_lengths(
    image_shape: tuple[int, int], sample: DetDataSample, window: Tensor
) -> DetDataSample:
    """Replace masks of a window (4,) by run lengths of the image."""
    found = sample.pred_instances
    if 'masks' not in found:
        return sample
    x, y, *_ = window.tolist()
    masks = found.pop('masks').numpy()
    found.masks = [encode_window(mask, (x, y), image_shape) for mask in masks]
    return sample


def window_inputs(pixels: Any) -> dict[str, Any]:
    """Make the results of a pipeline's loader from pixels."""
    shape = pixels.shape[:2]
    # A copy, since windows overlap and transforms may work in place.
    return dict(
        img=pixels.copy(),
        img_id=0,
        img_path='',
        img_shape=shape,
        ori_shape=shape,
    )


def check_complete(path: Path) -> None:
    """Refuse a truncated image, which OpenCV would fill up with grey.

    Formats that Pillow does not know, and images above its limit against
    decompression bombs, about 179 million pixels, are not checked.

    Raises:
        OSError: The file is truncated, empty or unreadable.
    """
    if not path.stat().st_size:
        raise OSError('The file is empty')
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                image.load()
        except (UnidentifiedImageError, Image.DecompressionBombError):
            pass  # The config's loader may still read it.

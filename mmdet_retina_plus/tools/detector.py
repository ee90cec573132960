"""Trained detectors, and what they see in the windows of an image."""

import warnings
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import cv2
from mmcv.transforms import Compose
from mmdet.models import BaseDetector
from mmdet.registry import DATASETS, MODELS
from mmdet.structures.bbox import bbox_flip
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import CheckpointLoader
from mmengine.structures import InstanceData
from torch import Tensor, cuda, no_grad
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from mmdet_retina_plus.fusion import merge_tiles, tile_windows
from mmdet_retina_plus.heads import MaskRoIHead

from .coco_format import some
from .read_data import datasets_in


def load_detectors(
    cfg: Config, checkpoints: Sequence[str], device: str | None = None
) -> list[BaseDetector]:
    """Detectors of a config, one a checkpoint.

    Args:
        cfg: With its custom imports done.
        checkpoints: Files or addresses.
        device: None: the first GPU, or else the CPU.

    Raises:
        ValueError: A detector cannot be built, a checkpoint does not fit, or
            two of them name different classes.
    """
    if device is None:
        device = 'cuda:0' if cuda.is_available() else 'cpu'
    models = [load_detector(cfg, name, device) for name in checkpoints]
    first, *others = (model.dataset_meta['classes'] for model in models)
    for name, classes in zip(checkpoints[1:], others, strict=True):
        if list(classes) != list(first):
            raise ValueError(
                f'{name} has the classes {some(classes)}, '
                f'{checkpoints[0]} has {some(first)}'
            )
    return models


def load_detector(cfg: Config, checkpoint: str, device: str) -> BaseDetector:
    """A detector with the weights of a checkpoint, which must fit.

    mmdet's `init_detector` leaves what does not fit random, and takes COCO's
    classes where the checkpoint names none.

    Returns:
        The detector, with `cfg`, and with `classes` and `palette` in its
        `dataset_meta`. A `MaskRoIHead` predicts no masks.

    Raises:
        ValueError: It cannot be built, the checkpoint cannot be read or is
            not of this config, or its classes are not those of the head.
    """
    try:
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).to(device)
        known = dataset_meta(cfg)
    except Exception as error:  # Whatever a constructor may raise.
        raise ValueError(f'Cannot build the detector: {error!r}') from error
    try:
        loaded = CheckpointLoader.load_checkpoint(
            str(checkpoint), 'cpu', logger='silent'
        )
        weights = loaded.get('state_dict', loaded)
    except Exception as error:  # Of pickle, zip files, downloads, ...
        raise ValueError(
            f'Cannot load {checkpoint}, is it a checkpoint? {error}'
        ) from error
    load_weights(model, weights, checkpoint)
    model.cfg = cfg
    model.dataset_meta = known | checkpoint_meta(loaded.get('meta', {}))
    check_classes(model, checkpoint)
    if isinstance(getattr(model, 'roi_head', None), MaskRoIHead):
        model.roi_head.test_cfg.with_mask = False
    return model.eval()


def load_weights(model: BaseDetector, weights: dict, name: str) -> None:
    """Load all weights of a model.

    Args:
        model: Takes them.
        weights: By name. Those that the model does not have are left out.
        name: Of the checkpoint, for the error.

    Raises:
        ValueError: Some are missing or of another shape.
    """
    consume_prefix_in_state_dict_if_present(weights, 'module.')
    try:
        missing = model.load_state_dict(weights, strict=False).missing_keys
    except RuntimeError as error:  # A title, and a line for each tensor.
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise ValueError(
            f'{name} is not of this config: {some(lines)}'
        ) from error
    missing = [key for key in missing if 'num_batches_tracked' not in key]
    if missing:
        raise ValueError(
            f'{name} is not of this config: it has no {some(missing)}'
        )


def dataset_meta(cfg: Config) -> dict[str, Any]:
    """Classes and palette of the test data, whose annotations stay unread."""
    settings = next(datasets_in(cfg.test_dataloader.dataset))
    meta = DATASETS.build(dict(settings, lazy_init=True)).metainfo
    return dict(palette='random') | meta


def checkpoint_meta(meta: dict[str, Any]) -> dict[str, Any]:
    """Classes and palette that a checkpoint names, of mmdet 3 or 2."""
    named = meta.get('dataset_meta', {})
    if 'CLASSES' in meta:
        named = dict(named, classes=meta['CLASSES'])
    return {key.lower(): value for key, value in named.items()}


def check_classes(model: BaseDetector, name: str) -> None:
    """Refuse a detector whose labels have no name.

    Raises:
        ValueError: The head has another number of classes.
    """
    classes = model.dataset_meta.get('classes') or ()
    heads = {
        module.num_classes
        for path, module in model.named_modules()
        if 'bbox_head' in path and hasattr(module, 'num_classes')
    }
    if not classes or heads - {len(classes)}:
        raise ValueError(
            f'The head of {name} has {max(heads, default="no")} classes, but '
            f'there are {len(classes)} names ({some(classes)}): give them by '
            '--cfg-options "test_dataloader.dataset.metainfo.classes=(\'a\',)"'
        )


class TiledDetector:
    """What one or several detectors of a config see in an image, tiled.

    Args:
        models: Of `load_detector`; all are held, each image is read once.
        tile: Side of a tile in pixels of the image. None: the whole image.
        overlap: Of neighbouring tiles, see `tile_windows`.
        batch_size: Tiles at a time.
        flip: Whether to see each tile mirrored left to right, too.
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
        loader, *steps = get_test_pipeline_cfg(models[0].cfg)
        # The config's own, for it knows depth and channels of the images.
        self.load = Compose([loader])
        self.prepare = Compose(steps)

    def read(self, path: Path) -> Any:
        """An image, array of shape (H, W) or (H, W, C).

        Raises:
            OSError: The file is missing or broken.
        """
        check_complete(path)
        try:
            return self.load(dict(img_path=str(path)))['img']
        except cv2.error as error:  # Two lines about its own source.
            raise OSError('OpenCV cannot read the image') from error

    def __call__(
        self, image: Any, advance: Callable[[float], None] = lambda share: None
    ) -> InstanceData:
        """Boxes, scores and labels, on the CPU, by falling score.

        Args:
            image: Array of shape (H, W) or (H, W, C).
            advance: Is told the share of the work that is done.
        """
        views, windows = self.look(image, advance)
        return merge_tiles(views, windows, image.shape[:2], **self.fusion)

    def look(
        self, image: Any, advance: Callable[[float], None] = lambda share: None
    ) -> tuple[list[InstanceData], Tensor]:
        """Views of all models, in their windows' coordinates, and these."""
        shape = image.shape[:2]
        windows = tile_windows(shape, self.tile or max(shape), self.overlap)
        passes = list(product(self.models, self.mirrors))
        views: list[InstanceData] = []
        for model, mirrored in passes:
            for batch in windows.split(self.batch_size):
                found = self.see(model, image, batch, mirrored)
                views += map(mirror, found, batch) if mirrored else found
                advance(len(views) / len(windows) / len(passes))
        return views, windows.repeat(len(passes), 1)

    @no_grad()
    def see(
        self, model: BaseDetector, image: Any, windows: Tensor, mirrored: bool
    ) -> list[InstanceData]:
        """Each window's detections, in its coordinates, on the CPU."""
        step = -1 if mirrored else 1
        views = [
            self.prepare(window_inputs(image[y1:y2, x1:x2][:, ::step]))
            for x1, y1, x2, y2 in windows.tolist()
        ]
        samples = model.test_step(
            {key: [view[key] for view in views] for key in views[0]}
        )
        found = [sample.pred_instances.cpu() for sample in samples]
        return [
            InstanceData(
                bboxes=view.bboxes.float(),
                scores=view.scores.float(),
                labels=view.labels,
            )
            for view in found
        ]


def mirror(found: InstanceData, window: Tensor) -> InstanceData:
    """Detections in a mirrored window (4,), where they are in the window."""
    x1, y1, x2, y2 = window.tolist()
    bboxes = bbox_flip(found.bboxes, (y2 - y1, x2 - x1))
    return InstanceData(
        bboxes=bboxes, scores=found.scores, labels=found.labels
    )


def window_inputs(pixels: Any) -> dict[str, Any]:
    """What a pipeline's loader would have made of these pixels."""
    shape = pixels.shape[:2]
    # A copy, since windows overlap and steps may work in place.
    return dict(
        img=pixels.copy(),
        img_id=0,
        img_path='',
        img_shape=shape,
        ori_shape=shape,
    )


def check_complete(path: Path) -> None:
    """Refuse a file that ends early; OpenCV would fill up with grey.

    Not checked are formats that Pillow does not know, and images above its
    limit against bombs, some 179 million pixels.

    Raises:
        OSError: It does, is empty, or cannot be read.
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
            pass  # What Pillow does not take, the config's loader may.

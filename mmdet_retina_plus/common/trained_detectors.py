"""Build detectors and load checkpoints that must fit them."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from mmdet.models import BaseDetector
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import CheckpointLoader
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from .checkpoint_config import other_settings
from .config_file import check_parts
from .config_tree import datasets_in, dotted_items
from .devices import chosen_device
from .text import building, some

BESIDE = (
    'use the config that mmdet saved next to the checkpoint, such as '
    'work_dirs/NAME/NAME.py'
)
SHAPES = re.compile(
    r'size mismatch for (\S+): copying a param with shape torch\.Size\(\[(.*)'
    r'\]\) from checkpoint, the shape in current model is '
    r'torch\.Size\(\[(.*)\]\)\.'
)
"""Message of torch about a tensor of another shape."""
DAMAGE = ('Unsupported operand', 'pickle data was truncated')
"""How unpickling errors start if a file is not a pickle or truncated."""


def load_detectors(
    cfg: Config, checkpoints: Sequence[str], device: str | None = None
) -> list[BaseDetector]:
    """Build one detector per checkpoint.

    Args:
        cfg: Config of the detectors, with its custom imports done.
        checkpoints: Files or URLs.
        device: None: the first GPU, or else the CPU.

    Raises:
        ValueError: A detector cannot be built, a checkpoint does not fit, or
            two of them name different classes.
    """
    device = chosen_device(device)
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
    """Build a detector and load a checkpoint that must fit it.

    mmdet's `init_detector` leaves weights that do not fit at random, and
    falls back to COCO's classes if the checkpoint names none.

    Returns:
        The detector, with `cfg`, with `classes` and `palette` in its
        `dataset_meta`, and with `names_classes`, which is False if the classes
        come from the config, not from the checkpoint.

    Raises:
        ValueError: The detector cannot be built, the checkpoint cannot be read
            or does not fit the config, or its classes do not fit the head.
    """
    check_parts(cfg)
    check_masks(cfg)
    with building('detector'):
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).to(device)
        known = dataset_meta(cfg)
    loaded = load_file(checkpoint)
    load_weights(model, loaded.get('state_dict', loaded), checkpoint)
    model.cfg = cfg
    meta = loaded.get('meta') or {}
    check_settings(cfg, meta, checkpoint)
    named = checkpoint_meta(meta)
    model.dataset_meta = known | named
    model.names_classes = 'classes' in named
    check_classes(model, checkpoint, model.names_classes)
    return model.eval()


def check_masks(cfg: Config) -> None:
    """Refuse a config that predicts probabilities in place of masks.

    Raises:
        ValueError: With the fix.
    """
    for key, value in dotted_items(cfg.model):
        if key.endswith('mask_thr_binary') and value < 0:
            raise ValueError(
                f'model.{key}={value} predicts probabilities, not masks: '
                f'--cfg-options model.{key}=0.5'
            )


def load_file(name: str) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        ValueError: The checkpoint cannot be read; with the reason.
    """
    try:
        loaded = CheckpointLoader.load_checkpoint(
            str(name), 'cpu', logger='silent'
        )
    except Exception as error:  # From pickle, zip files, downloads, ...
        raise ValueError(load_error(name, error)) from error
    if not isinstance(loaded, dict):
        raise ValueError(
            f'{name} is not a checkpoint: it holds a {type(loaded).__name__}'
        )
    return loaded


def load_error(name: str, error: Exception) -> str:
    """Describe why a checkpoint cannot be read, and the fix."""
    if not Path(name).is_file():  # A URL.
        return f'Cannot load {name}: {error}'
    if isinstance(error, UnpicklingError):
        # torch.load wraps the reason in advice to load the file unsafely.
        reason = str(error.__context__ or error).partition('. Please use')[0]
        if not reason.startswith(DAMAGE):
            return f'{name} is refused: {reason}'
    return (
        f'{name} is not a checkpoint or is truncated: name another or copy it '
        'again'
    )


def load_weights(model: BaseDetector, weights: dict, name: str) -> None:
    """Load the weights of a model, all of which must be given.

    Args:
        model: The model.
        weights: Tensors by name. Those of losses, and of whole parts that the
            model lacks, such as a mask branch, are ignored.
        name: Name of the checkpoint, for the error.

    Raises:
        ValueError: Weights are missing, of another shape, or left over.
    """
    consume_prefix_in_state_dict_if_present(weights, 'module.')
    try:
        missing, left = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # A title, and a line for each tensor.
        lines = [
            SHAPES.sub(r'\1 is (\2), in the config (\3)', line.strip())
            for line in str(error).splitlines()[1:]
        ]
        raise ValueError(
            f'{name} does not fit this config: {some(lines, 1)}; {BESIDE}'
        ) from error
    missing = [key for key in missing if 'num_batches_tracked' not in key]
    if missing:
        raise ValueError(
            f'{name} does not fit this config: it has no {some(missing)}; '
            f'{BESIDE}'
        )
    parts = dict(model.named_children())
    left = [
        key
        for key in left
        if key.partition('.')[0] in parts and '.loss_' not in key
    ]
    if left:
        raise ValueError(
            f'{name} does not fit this config, which has no {some(left)}; '
            f'{BESIDE}'
        )


def check_settings(cfg: Config, meta: dict[str, Any], name: str) -> None:
    """Refuse a config that interprets the network's outputs differently.

    Args:
        cfg: The config.
        meta: Meta information of the checkpoint.
        name: Name of the checkpoint.

    Raises:
        ValueError: Anchors, box coding or normalisation differ from training,
            which the weights cannot show.
    """
    text = meta.get('cfg') or meta.get('config')
    if not isinstance(text, str):
        return
    for key, trained, value in other_settings(cfg.model, text):
        raise ValueError(
            f'{name} was trained with model.{key}={trained!r}, the config has '
            f'{value!r}; {BESIDE}'
        )


def dataset_meta(cfg: Config) -> dict[str, Any]:
    """Classes and palette of the test data, without reading annotations."""
    settings = next(datasets_in(cfg.test_dataloader.dataset))
    meta = DATASETS.build(dict(settings, lazy_init=True)).metainfo
    return dict(palette='random') | meta


def checkpoint_meta(meta: dict[str, Any]) -> dict[str, Any]:
    """Classes and palette named by a checkpoint of mmdet 3 or 2."""
    named = meta.get('dataset_meta') or {}
    if 'CLASSES' in meta:
        named = dict(named, classes=meta['CLASSES'])
    return {key.lower(): value for key, value in named.items()}


def check_classes(
    model: BaseDetector, name: str, from_checkpoint: bool
) -> None:
    """Refuse a detector whose labels have no name or share one.

    Args:
        model: Detector with the classes in its `dataset_meta`.
        name: Name of the checkpoint.
        from_checkpoint: Whether the classes come from the checkpoint, not from
            the config.

    Raises:
        ValueError: The head has another number of classes, or the classes are
            not a list of unique strings.
    """
    classes = model.dataset_meta.get('classes') or ()
    if isinstance(classes, str) or not all(
        isinstance(item, str) for item in classes
    ):
        raise ValueError(
            f'The classes of {name} are {classes!r}, not a tuple of strings: '
            "write one class as ('a',) and train again"
        )
    twice = [item for item, count in Counter(classes).items() if count > 1]
    if twice:
        raise ValueError(
            f'Several classes of {name} are called {some(twice)}: give every '
            'class a unique name'
        )
    heads = {
        module.num_classes
        for path, module in model.named_modules()
        if 'bbox_head' in path and hasattr(module, 'num_classes')
    }
    if classes and not heads - {len(classes)}:
        return
    found = max(heads, default='no')
    if from_checkpoint:
        raise ValueError(
            f'{name} names {len(classes)} classes ({some(classes)}), but its '
            f'head has {found}: some labels have no name; set '
            f'num_classes={len(classes)} in all heads and train again'
        )
    raise ValueError(
        f'{name} names no classes, and its head has {found} classes, but '
        f'there are {len(classes)} names in the config ({some(classes)}): '
        'give them in the order of training by --cfg-options '
        '"test_dataloader.dataset.metainfo.classes=(\'a\',)"'
    )

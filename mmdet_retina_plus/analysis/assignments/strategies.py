"""Strategies to compare: a config's detector, its head and its pipeline."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.models import RPNHead
from mmdet.registry import MODELS
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import set_random_seed

from mmdet_retina_plus.common.log_level import log_level
from mmdet_retina_plus.common.text import error_text
from mmdet_retina_plus.common.trained_detectors import load_detector

from .assignment import Assignment
from .heads import dense_head, reader_of
from .images import pipeline_of, pixels_of, still_pipeline
from .soft_maps import SoftMap, soft_maps, watched_fusion

MAX_ITERS = 10**6


class Strategy(NamedTuple):
    """A strategy to compare.

    Attributes:
        name: Name of the config, the title of its column.
        model: The detector.
        pipeline: Transforms that are not random.
        left_out: Random transforms of the pipeline.
        checkpoint: '' for the initial model.
    """

    name: str
    model: Any
    pipeline: Any
    left_out: list[str]
    checkpoint: str


class Scene(NamedTuple):
    """One image under one strategy.

    Attributes:
        pixels: RGB of 8 bits (H, W, 3).
        boxes: Objects in pixels of the network's input, shape (G, 4).
        sides: Square root of each object's box area in the original image.
        labels: Shape (G,).
        assignment: The priors.
        maps: Soft quantities, in rows of levels.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    sides: np.ndarray
    labels: np.ndarray
    assignment: Assignment
    maps: list[list[SoftMap]]


def names_of(configs: Sequence[str]) -> list[str]:
    """Stem of each config, with its folder if stems repeat."""
    stems = [Path(config).stem for config in configs]
    if len(set(stems)) == len(stems):
        return stems
    return [str(Path(config).with_suffix('')) for config in configs]


def build_strategy(
    name: str, cfg: Any, split: str, checkpoint: str, device: str
) -> Strategy:
    """Build the detector and the pipeline of a config.

    Args:
        name: Title of the column; for a two-stage detector, a mark for the
            RPN is added.
        cfg: The config.
        split: 'train' or 'val'.
        checkpoint: File, or '' for the initial model without pretrained
            weights, which training would download.
        device: Where the model runs.

    Raises:
        ValueError: Building fails; names the config.
    """
    try:
        steps, left_out = still_pipeline(pipeline_of(cfg, split))
        if checkpoint:
            model = load_detector(cfg, checkpoint, device)
        else:
            model = initial_model(cfg.model).to(device)
        head = dense_head(model)
        pipeline = Compose(copy.deepcopy(steps))
    except Exception as error:  # From pickles and constructors.
        raise ValueError(f'{name}: {error_text(error)}') from error
    model.eval()
    # Heads need training mode; other layers must keep their statistics.
    head.training = True
    if isinstance(head, RPNHead):
        # The config may be about the second stage only.
        name += ' (RPN)'
    return Strategy(name, model, pipeline, left_out, checkpoint)


def initial_model(settings: Any) -> Any:
    """Initial detector of a training, but without pretrained weights."""
    settings = copy.deepcopy(settings)
    without_pretrained(settings)
    set_random_seed(0)
    model = revert_sync_batchnorm(MODELS.build(settings))
    with log_level('ERROR'):  # It lists every layer.
        model.init_weights()
    return model


def without_pretrained(settings: Any) -> None:
    """Remove settings that load weights from a model's config, in place."""
    if isinstance(settings, dict):
        init = settings.get('init_cfg')
        if isinstance(init, dict) and init.get('type') == 'Pretrained':
            settings['init_cfg'] = None
        if settings.get('pretrained') is not None:
            settings['pretrained'] = None
    values: Any = settings.values() if isinstance(settings, dict) else settings
    for value in values:
        if isinstance(value, dict | list | tuple):
            without_pretrained(value)


def scene_of(strategy: Strategy, info: dict) -> Scene:
    """Run a strategy on an image.

    Args:
        strategy: Result of `build_strategy`.
        info: Input of its pipeline.

    Raises:
        Exception: Any error of files, pipelines and heads.
    """
    model = strategy.model
    item = strategy.pipeline(info)
    if item is None:
        raise ValueError('the pipeline drops the image')
    pixels = pixels_of(item['inputs'].numpy())
    head = dense_head(model)
    with torch.no_grad():
        batch = model.data_preprocessor(pseudo_collate([item]))
        (sample,) = samples = batch['data_samples']
        truth = sample.gt_instances
        labels = truth.labels.cpu().numpy()
        check_labels(head, labels)
        if isinstance(head, RPNHead):
            truth.labels = torch.zeros_like(truth.labels)
        with watched_fusion(model) as fused:
            features = model.extract_feat(batch['inputs'])
        features = features[getattr(model, 'bbox_start_level', 0) :]
        set_random_seed(0)
        reader = reader_of(head)
        assert reader is not None
        trained = bool(strategy.checkpoint)
        with progress_of(trained):
            assignment = reader(head, features, samples)
        maps = soft_maps(head, features, sample, assignment, trained)
    boxes = truth.bboxes.cpu().numpy()
    scale = np.array(sample.metainfo.get('scale_factor', (1, 1)))[:2]
    edges = (boxes[:, 2:] - boxes[:, :2]) / scale
    sides = np.sqrt(edges.prod(axis=1))
    return Scene(pixels, boxes, sides, labels, assignment, fused + maps)


@contextmanager
def progress_of(trained: bool) -> Iterator[None]:
    """Set the progress of training to the first or the last step."""
    known = MessageHub.get_current_instance().runtime_info
    # Just below the end, where a phase that lasts to the end is still active.
    progress = dict(iter=trained * (MAX_ITERS - 1), max_iters=MAX_ITERS)
    before = {key: known[key] for key in progress if key in known}
    known.update(progress)
    try:
        yield
    finally:
        for key in progress:
            del known[key]
        known.update(before)


def check_labels(head: Any, labels: np.ndarray) -> None:
    """Refuse labels that a head has no class for.

    Raises:
        ValueError: A label is out of range.
    """
    if isinstance(head, RPNHead) or not len(labels):
        return
    if labels.max() >= head.num_classes:
        raise ValueError(
            f'the data has the label {labels.max()}, the head has '
            f'{head.num_classes} classes: set model.bbox_head.num_classes'
        )

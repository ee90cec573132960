"""Detections of a checkpoint in the images of a config's data."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.models import BaseDetector
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results
from mmdet.utils import get_test_pipeline_cfg
from mmengine.runner import Runner

from mmdet_retina_plus.analysis.loss_data import (
    dataset_settings,
    unreadable,
)
from mmdet_retina_plus.common.config_tree import (
    annotation_path,
    dataset_chains,
)
from mmdet_retina_plus.common.label_names import category_ids, trained_names
from mmdet_retina_plus.common.text import clause, error_text, some

from .results import Found, with_areas
from .truth import BOXES, MASKS, Truth, read_truth


class Loaded(NamedTuple):
    """A detector and the images to evaluate it on.

    Attributes:
        model: Detector with `dataset_meta`.
        loader: Data loader of the images.
        truth: Ground truth of the images.
        labels: Label in `truth` of each label of the detector, shape (C,).
        notes: Notes on possible mistakes.
    """

    model: BaseDetector
    loader: Any
    truth: Truth
    labels: np.ndarray
    notes: list[str]


def load(cfg: Any, model: BaseDetector, split: str, checkpoint: str) -> Loaded:
    """Load the data of a split with its objects; match categories by name.

    Args:
        cfg: The config.
        model: Detector of the config.
        split: 'val', 'test' or 'train', which is loaded like 'val'.
        checkpoint: Name of the detector's checkpoint, for notes.

    Raises:
        ValueError: The data cannot be read, or lacks a class.
    """
    settings, ann_file = loader_settings(cfg, split)
    coco = read_truth(ann_file)
    names, notes = trained_names(
        cfg,
        model.dataset_meta['classes'],
        [] if model.names_classes else [checkpoint],
    )
    ids = category_ids(coco, names)
    truth = Truth(ann_file, coco, ids)
    try:
        # pycocotools prints progress messages.
        with redirect_stdout(StringIO()):
            loader = Runner.build_dataloader(settings)
    except Exception as error:  # From files and constructors.
        raise unreadable(split, error) from error
    seen = {
        loader.dataset.get_data_info(number).get('img_id')
        for number in range(len(loader.dataset))
    }
    unseen = truth.images.keys() - seen
    if not seen & truth.images.keys():
        raise ValueError(f'The {split} data has no image of {ann_file}')
    if unseen:
        notes.append(
            f'{len(unseen)} of {len(truth.images)} images of {ann_file} are '
            f'not in the {split} data, so their objects count as missed'
        )
    labels = np.array([truth.labels[number] for number in ids])
    return Loaded(model, loader, truth, labels, notes)


def loader_settings(cfg: Any, split: str) -> tuple[dict, Path]:
    """Config of a dataloader for all images in order, and annotation file.

    Raises:
        ValueError: The split has no data set, or several.
    """
    name = 'val' if split == 'train' else split
    chains = list(dataset_chains(dataset_settings(cfg, split)))
    if len(chains) != 1:
        raise ValueError(
            f'The {split} data has {len(chains)} data sets: evaluate one at a '
            f'time with --cfg-options {split}_dataloader.dataset=…'
        )
    dataset = copy.deepcopy(dict(chains[0][-1]))
    if split == 'train':
        dataset.update(test_mode=True, pipeline=get_test_pipeline_cfg(cfg))
        dataset.pop('filter_cfg', None)
    settings = copy.deepcopy(dict(cfg.get(f'{name}_dataloader') or {}))
    settings['dataset'] = dataset
    settings['sampler'] = dict(type='DefaultSampler', shuffle=False)
    settings.pop('batch_sampler', None)
    return settings, Path(annotation_path(dataset))


def detect(loaded: Loaded) -> Iterator[Found]:
    """Yield the detections in each image.

    At the end, a note names images of another size than in the annotations.

    Raises:
        ValueError: An image cannot be read, or the model fails.
    """
    batches = iter(loaded.loader)
    place = 'in the first batch'
    misfits: list[str] = []
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                break
            with torch.no_grad():
                samples = loaded.model.test_step(batch)
            found = [found_of(sample, loaded.labels) for sample in samples]
        except Exception as error:  # From files, pipelines and models.
            raise ValueError(
                f'Detection stopped {place}: {error_text(error)}'
            ) from error
        last = samples[-1].metainfo.get('img_path', samples[-1].img_id)
        place = f'after {last}'
        misfits += misfits_among(samples, loaded.truth)
        yield from found
    if misfits:
        loaded.notes.append(
            f'{clause(len(misfits), "image", "have")} another size than in '
            f'{loaded.truth.path} ({some(misfits)}), so objects and '
            'detections do not fit: `retina-plus doctor` names the reason'
        )


def misfits_among(samples: Sequence[DetDataSample], truth: Truth) -> list[str]:
    """File names of images that are loaded in another size than annotated."""
    return [
        truth.images[sample.img_id]['file_name']
        for sample in samples
        if sample.img_id in truth.images
        and 'ori_shape' in sample
        and tuple(sample.ori_shape[:2]) != truth.size(sample.img_id)
    ]


def found_of(sample: DetDataSample, labels: np.ndarray) -> Found:
    """Detections in an image, with the labels of the ground truth."""
    instances = sample.pred_instances.cpu()
    numbers = labels[instances.labels.numpy()]
    boxes = instances.bboxes.numpy().astype(float)
    boxes[:, 2:] -= boxes[:, :2]
    scores = instances.scores.numpy().astype(float)
    by_metric = {BOXES: with_areas(numbers, boxes, scores)}
    if 'masks' in instances:
        masks = instances.masks
        if isinstance(masks, torch.Tensor):
            masks = encode_mask_results(masks.numpy())
        if 'mask_scores' in instances:
            scores = instances.mask_scores.numpy().astype(float)
        by_metric[MASKS] = with_areas(numbers, list(masks), scores)
    path = sample.metainfo.get('img_path')
    return Found(sample.img_id, Path(path) if path else None, by_metric)

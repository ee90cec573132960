"""A config beside its data: what would train wrongly, or not at all."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import check_annotations, check_weights, traps
from .check_anchors import check_anchors
from .check_annotations import Split
from .check_masks import check_masks
from .findings import Finding, failure, guarded
from .read_data import annotation_path, datasets_in, read_splits
from .traps import kind, part, walk

PROBE_SIZE = 256


def load_config(path: Path, options: Sequence[str] = ()) -> Any:
    """The config as `mim train` reads it, with its custom imports done.

    Args:
        path: Of the config.
        options: Changes, each 'key.of.the.config=value'.
    """
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import mmdet_retina_plus

    # mmengine and mmcv still import it, to nobody's harm below 82.
    warnings.filterwarnings('ignore', 'pkg_resources')
    mmdet_retina_plus.register_all_modules()
    cfg = Config.fromfile(path)
    for key, value in parse_options(options).items():
        cfg.merge_from_dict({key: value})
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    return cfg


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """Dotted key to value, as mmengine reads them.

    Raises:
        ValueError: One is not KEY=VALUE.
    """
    from mmengine.config import DictAction

    parsed = {}
    for option in options:
        key, equals, value = option.partition('=')
        if not equals:
            raise ValueError(f'the option {option!r} is not KEY=VALUE')
        parsed[key] = DictAction._parse_iterable(value)
    return parsed


def check_registration(cfg: Mapping, text: str) -> list[Finding]:
    """A user's own custom_imports replace those of an inherited config."""
    from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS

    ours = {
        name
        for registry in (MODELS, TASK_UTILS, TRANSFORMS)
        for name, member in registry.module_dict.items()
        if member.__module__.startswith('mmdet_retina_plus')
    }
    used = sorted({kind(x) for x in walk(cfg)} & ours)
    imports = part(cfg, 'custom_imports').get('imports', ())
    imports = [imports] if isinstance(imports, str) else imports
    imported = any(x.startswith('mmdet_retina_plus') for x in imports or ())
    if not used or imported or '__import__' in text:
        return []
    # Not an error: a module of the user may import ours.
    return [
        Finding(
            'warning',
            'custom_imports',
            f'nothing here imports the module that has {", ".join(used)}, '
            'unless yours does; an own custom_imports replaces the inherited',
            "custom_imports=dict(imports=['mmdet_retina_plus', 'yours'], "
            'allow_failed_imports=False)',
        )
    ]


def check_num_classes(cfg: Mapping, splits: Sequence[Split]) -> list[Finding]:
    classes = {
        len(x.classes) for x in splits if not isinstance(x.classes, str)
    }
    return [
        Finding(
            'error',
            key,
            f'num_classes={head["num_classes"]}, but the data has '
            f'{" or ".join(map(str, sorted(classes)))} classes',
            f'set num_classes of {key} to the number of classes',
        )
        for parent in walk(cfg.get('model'))
        for key in ('bbox_head', 'mask_head')
        for head in [part(parent, key)]
        if 'num_classes' in head and classes - {head['num_classes']}
    ]


def check_labels(splits: Sequence[Split]) -> list[Finding]:
    """Labels come from the order of categories, in each file by itself."""
    orders = {
        tuple(x for x in split.categories if x in split.classes)
        for split in splits
    }
    if len(orders) < 2:
        return []
    return [
        Finding(
            'error',
            'data',
            'the annotation files list the categories differently, so a '
            'label means another class in training than in validation',
            'give all annotation files the same list of categories',
        )
    ]


def check_evaluators(cfg: Mapping) -> list[Finding]:
    findings = []
    for name in ('val', 'test'):
        read = {
            os.path.abspath(annotation_path(config))
            for config in datasets_in(
                part(cfg, f'{name}_dataloader').get('dataset')
            )
            if config.get('ann_file')
        }
        key = f'{name}_evaluator'
        paths = [x.get('ann_file') for x in walk(cfg.get(key))]
        scored = [path for path in paths if isinstance(path, str) and path]
        # Of several evaluators one may score against a part of the data.
        if scored and read and not read & set(map(os.path.abspath, scored)):
            message = f'scores against {scored[0]}, the data is {min(read)}'
            way_out = f'set {key}.ann_file to the file of the data set'
            findings.append(Finding('error', key, message, way_out))
    return findings


def build_model(cfg: Any) -> tuple[Any, Any]:
    """The detector, with random weights, and the generator of its priors.

    Raises:
        ValueError: The strides of the priors are not those of the features.
        Exception: Whatever the losses of the heads may raise.
    """
    import torch
    from mmdet.registry import MODELS

    model = MODELS.build(cfg.model).eval()
    heads = (getattr(model, name, None) for name in ('bbox_head', 'rpn_head'))
    generators = (getattr(head, 'prior_generator', None) for head in heads)
    generator = next(filter(None, generators), None)
    image = torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE)
    if generator is not None:
        with torch.no_grad():
            features = model.extract_feat(image)
        features = features[getattr(model, 'bbox_start_level', 0) :]
        strides = [PROBE_SIZE // feature.shape[-1] for feature in features]
        given = [stride[0] for stride in generator.strides]
        if strides != given:
            raise ValueError(
                f'the features have strides {strides}, '
                f'anchor_generator.strides are {given}'
            )
    present = {
        name
        for name in ('bbox_head', 'train_cfg', 'roi_head', 'semantic_head')
        if getattr(model, name, None) is not None
    }
    # A proper subset: there is a branch beside the box head.
    if {'bbox_head', 'train_cfg'} < present:
        with torch.no_grad():
            probe_branches(model.train(), image, present)
    return model.eval(), generator


def probe_branches(model: Any, image: Any, present: set[str]) -> None:
    """Boxes, masks and pixels of a training step, on two equal images.

    Of one alone, BatchNorm would refuse features of a single place.
    """
    from mmdet.testing import demo_mm_inputs

    samples = demo_mm_inputs(
        image_shapes=image.shape[1:],
        num_items=[1, 1],
        num_classes=2,
        with_mask=True,
        with_semantic=True,
    )['data_samples']
    shape = tuple(image.shape[2:])
    for sample in samples:
        sample.gt_instances.labels.zero_()  # the class that all models have
        sample.gt_sem_seg.sem_seg.fill_(1)
        sample.set_metainfo(dict(pad_shape=shape, batch_input_shape=shape))
    levels = model.extract_feat(image.expand(2, -1, -1, -1))
    if 'roi_head' in present:
        _, detections = model.bbox_head.loss_and_predict(
            levels[getattr(model, 'bbox_start_level', 0) :], samples
        )
        model.roi_head.loss(levels, detections, samples)
    if 'semantic_head' in present:
        model.semantic_head.loss(levels, samples)


def check_model(cfg: Any, splits: Sequence[Split]) -> list[Finding]:
    """Build it, and lay its anchors over the objects of the first split."""
    from mmdet.models.task_modules import AnchorGenerator

    try:
        model, generator = build_model(cfg)
    except Exception as error:  # Whatever a constructor may raise.
        return [failure('model', error)]
    size = sum(weight.numel() for weight in model.parameters()) / 1e6
    findings = [Finding('ok', 'model', f'{size:.1f} million weights')]
    if splits and isinstance(generator, AnchorGenerator):
        preprocessor = cfg.model.get('data_preprocessor') or {}
        divisor = preprocessor.get('pad_size_divisor', 1)
        findings += guarded(check_anchors, splits[0], generator, divisor)
    return findings


SETTING_CHECKS = (*traps.CHECKS, *check_weights.CHECKS, check_evaluators)


def check_config(path: Path, options: Sequence[str] = ()) -> list[Finding]:
    """All findings about a config and the data that it names."""
    try:
        cfg = load_config(path, options)
    except FileNotFoundError as error:
        way_out = 'give a path; `retina-plus config NAME` prints ours'
        return [failure('config', error, way_out)]
    except Exception as error:  # A config is a program, it may raise anything.
        return [failure('config', error)]
    settings = cfg.to_dict()
    findings = guarded(check_registration, settings, cfg.text)
    for check_setting in SETTING_CHECKS:
        findings += guarded(check_setting, settings)
    splits, unread = read_splits(settings)
    findings += unread + guarded(check_num_classes, settings, splits)
    findings += guarded(check_labels, splits)
    for split in splits:
        for check_split in (*check_annotations.CHECKS, check_masks):
            findings += guarded(check_split, split)
    return findings + guarded(check_model, cfg, splits)

"""The model of a config, built and tried on blank images or on samples."""

import copy
from collections.abc import Sequence
from typing import Any

from mmdet_retina_plus.common.config_tree import kind, walk

from .data_sets import silence
from .explanations import explained
from .findings import Finding
from .model_fit import check_roi_strides, explain_features

PROBE_SIZE = 256


def without_pretrained(config: Any) -> Any:
    """A copy of a model's config that names no weights to load."""
    copied = copy.deepcopy(config)
    for owner in walk(copied):
        assert isinstance(owner, dict)
        owner.pop('pretrained', None)
        if kind(owner.get('init_cfg')) == 'Pretrained':
            owner['init_cfg'] = None
    return copied


def build_model(cfg: Any) -> tuple[Any, list[Finding]]:
    """The detector, with random weights; None if it cannot be built."""
    from mmdet.registry import MODELS

    try:
        with silence():
            model = MODELS.build(without_pretrained(cfg.model))
            model.init_weights()
    except Exception as error:  # Whatever a constructor may raise.
        return None, [explained('model', error)]
    size = sum(weight.numel() for weight in model.parameters()) / 1e6
    return model, [Finding('ok', 'model', f'{size:.1f} million weights')]


def prior_generator(model: Any) -> Any:
    """Generator of a detector's anchors or points, None if it has none."""
    heads = (getattr(model, name, None) for name in ('bbox_head', 'rpn_head'))
    generators = (getattr(head, 'prior_generator', None) for head in heads)
    return next(filter(None, generators), None)


def input_channels(model: Any, samples: Sequence[Any]) -> int:
    """Channels of a sample, or what the first convolution wants."""
    if samples:
        return len(samples[0]['inputs'])
    weights = (x for x in model.parameters() if x.dim() == 4)
    return next((x.shape[1] for x in weights), 3)


def probe_features(
    model: Any, channels: int
) -> tuple[Sequence[Any], list[Finding]]:
    """Levels of backbone and neck for a blank image, or why there are none."""
    import torch

    if not hasattr(model, 'extract_feat'):
        return (), []
    image = torch.zeros(1, channels, PROBE_SIZE, PROBE_SIZE)
    try:
        with torch.no_grad():
            return model.eval().extract_feat(image), []
    except Exception as error:  # Of backbone or neck.
        return (), [explain_features(model, image, error)]


def check_strides(model: Any, features: Sequence[Any]) -> list[Finding]:
    """Priors lie as far apart as the features are strided."""
    if not features:
        return []
    strides = [PROBE_SIZE // feature.shape[-1] for feature in features]
    findings = check_roi_strides(model, strides)
    generator = prior_generator(model)
    if generator is None:
        return findings
    strides = strides[getattr(model, 'bbox_start_level', 0) :]
    given = [stride[0] for stride in generator.strides]
    if strides == given:
        return findings
    fix = f'model.bbox_head.anchor_generator.strides={strides}'
    outs = getattr(getattr(model, 'neck', None), 'num_outs', None)
    if outs and (
        strides[: len(given)] == given or given[: len(strides)] == strides
    ):
        right = outs + len(given) - len(strides)
        fix += f', or model.neck.num_outs={right}'
    return [
        Finding(
            'error',
            'model',
            f'the features have strides {strides}, anchor_generator.strides '
            f'are {given}',
            fix,
        )
    ]


def blank_samples(channels: int) -> list[dict[str, Any]]:
    """Two equal images with an object, where no sample can be loaded.

    Of one alone, BatchNorm would refuse features of a single location.
    """
    import torch
    from mmdet.testing import demo_mm_inputs

    samples = demo_mm_inputs(
        image_shapes=(channels, PROBE_SIZE, PROBE_SIZE),
        num_items=[1, 1],
        num_classes=2,
        with_mask=True,
        with_semantic=True,
    )['data_samples']
    for sample in samples:
        sample.gt_instances.labels.zero_()  # the class that all models have
        sample.gt_sem_seg.sem_seg.fill_(1)
    blank = torch.zeros(channels, PROBE_SIZE, PROBE_SIZE, dtype=torch.uint8)
    return [{'inputs': blank, 'data_samples': sample} for sample in samples]

"""Build the model of a config, and run it on blank images."""

import copy
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmdet_retina_plus.common.config_tree import kind, walk

from .data_sets import silence
from .explanations import explained, parameters_of
from .findings import Finding, any_error, guarded
from .model_fit import check_roi_strides, explain_features

PROBE_SIZE = 256
LARGEST_PROBE = 640
"""Sides of blank images; the second is used if the first one fails."""
TOLERANCE = 1.5
"""Ratio of actual to expected locations that rounding cannot explain."""


def without_pretrained(config: Any) -> Any:
    """Copy the config of a model without the weights to load."""
    copied = copy.deepcopy(config)
    for owner in walk(copied):
        assert isinstance(owner, dict)
        # Keep the key: a class may require it, or load weights by default.
        for key in {'pretrained', 'teacher_ckpt'} & set(owner):
            owner[key] = False if isinstance(owner[key], bool) else None
        if kind(owner.get('init_cfg')) == 'Pretrained':
            owner['init_cfg'] = None
    return copied


@contextmanager
def without_downloads() -> Iterator[None]:
    """Make mmengine's loaders return empty checkpoints for URLs."""
    from mmengine.runner import CheckpointLoader

    loaders = CheckpointLoader._schemes
    CheckpointLoader._schemes = OrderedDict(
        # The empty prefix means local files.
        (prefix, (lambda *_, **__: {'state_dict': {}}) if prefix else load)
        for prefix, load in loaders.items()
    )
    try:
        yield
    finally:
        CheckpointLoader._schemes = loaders


def build_model(cfg: Any) -> tuple[Any, list[Finding]]:
    """Build the detector with random weights; None if that fails."""
    from mmdet.registry import MODELS

    try:
        with silence(), without_downloads():
            model = MODELS.build(without_pretrained(cfg.model))
            model.init_weights()
    except Exception as error:  # A constructor may raise anything.
        return None, [explained('model', error)]
    size = sum(weight.numel() for weight in model.parameters()) / 1e6
    return model, [Finding('ok', 'model', f'{size:.1f} million weights')]


def prior_head(model: Any) -> tuple[str, Any]:
    """Name of the head that has priors, and the head; None if none has."""
    for name in ('bbox_head', 'rpn_head'):
        head = getattr(model, name, None)
        if getattr(head, 'prior_generator', None):
            return name, head
    return '', None


def prior_generator(model: Any) -> Any:
    """Generator of anchors or points of a detector, None if it has none."""
    return getattr(prior_head(model)[1], 'prior_generator', None)


def input_channels(model: Any, samples: Sequence[Any]) -> int:
    """Channels of a sample, or else those of the first convolution."""
    for sample in samples:
        if hasattr(sample['inputs'], 'shape'):
            return len(sample['inputs'])
    weights = (x for x in model.parameters() if x.dim() == 4)
    channels = next((x.shape[1] for x in weights), 3)
    # The stem of YOLOX stacks the pixels of 2 x 2 patches.
    stacked = any(type(x).__name__ == 'Focus' for x in model.modules())
    return channels // 4 if stacked else channels


def check_features(
    model: Any, samples: Sequence[Any]
) -> tuple[Sequence[Any], list[Finding]]:
    """Return the levels of the neck, and findings about their strides.

    Detectors of one image size, such as SSD, are run at the sample size.
    """
    channels = input_channels(model, samples)
    shapes = [getattr(x['inputs'], 'shape', ()) for x in samples]
    # SSD's anchors know their image.
    own = getattr(prior_generator(model), 'input_size', 0)
    longest = max((max(x[-2:]) for x in shapes if x), default=own)
    side = longest if PROBE_SIZE < longest < LARGEST_PROBE else LARGEST_PROBE
    features: Sequence[Any] = ()
    findings: list[Finding] = []
    for size in (PROBE_SIZE, side):
        seen, found = probe_features(model, channels, size)
        found += guarded(check_strides, model, seen, size)
        if not any_error(found):
            return seen, found
        if not features:
            features, findings = seen, found
    return features, findings


def probe_features(
    model: Any, channels: int, size: int
) -> tuple[Sequence[Any], list[Finding]]:
    """Return the levels of the neck for a blank image, or a finding."""
    import torch

    if not hasattr(model, 'extract_feat'):
        return (), []
    image = torch.zeros(1, channels, size, size)
    # Not chained: `eval` of a distilling detector returns None.
    model.eval()
    try:
        with torch.no_grad():
            return model.extract_feat(image), []
    except Exception as error:  # Backbone or neck may raise anything.
        return (), [explain_features(model, image, error)]


def is_strided(locations: int, size: int, stride: float) -> bool:
    """Whether a side has about as many locations as its stride implies."""
    if stride <= 0:
        return False
    least, most = size // stride, -(-size // stride)
    return least / TOLERANCE < locations < most * TOLERANCE


def check_strides(
    model: Any, features: Sequence[Any], size: int
) -> list[Finding]:
    """Compare strides of priors and RoI extractors with those of features.

    Args:
        model: Detector.
        features: Levels of its neck.
        size: Side of the square input image, in pixels.
    """
    if not features:
        return []
    sides = [feature.shape[-1] for feature in features]
    strides = [size // side for side in sides]
    findings = check_roi_strides(model, strides)
    generator = prior_generator(model)
    if generator is None:
        return findings
    start = getattr(model, 'bbox_start_level', 0)
    sides, strides = sides[start:], strides[start:]
    given = [stride[0] for stride in generator.strides]
    if len(sides) == len(given) and all(
        is_strided(side, size, stride)
        for side, stride in zip(sides, given, strict=True)
    ):
        return findings
    key = strides_key(model)
    fix = f'{key}={strides}'
    neck = getattr(model, 'neck', None)
    outs, first = getattr(neck, 'num_outs', 0), getattr(neck, 'start_level', 0)
    if outs and (
        strides[: len(given)] == given or given[: len(strides)] == strides
    ):
        right = outs + len(given) - len(strides)
        fix += f', or model.neck.num_outs={right}'
    elif outs == len(given) and given[0] in strides[1:]:
        level = first + strides.index(given[0])
        fix += f', or model.neck.start_level={level}'
    return [
        Finding(
            'error',
            'model',
            f'the features have strides {strides}, '
            f'but {key.removeprefix("model.")} are {given}',
            fix,
        )
    ]


def strides_key(model: Any) -> str:
    """Dotted key of the strides of a detector's priors."""
    name, head = prior_head(model)
    # RPN calls it bbox_head, its config rpn_head.
    name = 'rpn_head' if type(head).__name__ == 'RPNHead' else name
    taken = parameters_of(type(head))
    # RepPoints inherits strides, but places its points by point_strides.
    keys = ('anchor_generator.strides', 'point_strides', 'strides')
    right = (key for key in keys if key.partition('.')[0] in taken)
    return f'model.{name}.{next(right, keys[0])}'


def blank_samples(channels: int) -> list[dict[str, Any]]:
    """Create two equal images with one object each.

    Two, because BatchNorm refuses a single image with a single location.
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

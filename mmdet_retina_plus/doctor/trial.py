"""Run one loss step and one prediction on samples, on the CPU."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mmdet_retina_plus.common.config_tree import walk
from mmdet_retina_plus.common.text import clause, quantity, some

from .data_sets import silence
from .explanations import META_KEYS, explained
from .findings import Finding

LARGEST = 192
"""Longest image side of the first trial, in pixels."""
HUGE = 300
"""Above raw 8-bit values, from which some recipes only subtract a mean."""
FULL = 255
WHOLE = 640
"""Longest image side of the last trial, whose failure counts."""
PATIENCE = 30
"""Seconds of failed trials after which no larger size is tried."""
OF_SIZE = re.compile(
    r'size|shape|dimension|out of range|stack expects|Expected more than 1|'
    r'^$'
)
"""Matches errors that larger images may not raise."""


def shrunk(sample: Mapping, longest: float) -> dict[str, Any]:
    """Scale a sample down if its longest side is larger."""
    from torch.nn.functional import interpolate

    image, shown = sample['inputs'], sample['data_samples']
    if not hasattr(image, 'shape'):  # Several inputs by name.
        return {'inputs': image, 'data_samples': shown}
    shown = shown.clone()
    height, width = image.shape[-2:]
    factor = longest / max(height, width)
    if factor >= 1:
        return {'inputs': image, 'data_samples': shown}
    size = (max(round(height * factor), 1), max(round(width * factor), 1))
    ratios = (size[1] / width, size[0] / height)
    resized = interpolate(image[None].float(), size)[0].to(image.dtype)
    for key in ('gt_instances', 'ignored_instances'):
        instances = shown.get(key)
        if instances is None:
            continue
        if 'bboxes' in instances:
            boxes = instances.bboxes.clone()
            if hasattr(boxes, 'rescale_'):
                boxes.rescale_(ratios)
            else:
                boxes = boxes * boxes.new_tensor(ratios * 2)
            instances.bboxes = boxes
        if 'masks' in instances:
            instances.masks = instances.masks.resize(size)
    if 'gt_sem_seg' in shown:
        from mmengine.structures import PixelData

        labels = shown.gt_sem_seg.sem_seg[None].float()
        small = interpolate(labels, size)[0]
        shown.gt_sem_seg = PixelData(
            sem_seg=small.to(shown.gt_sem_seg.sem_seg.dtype)
        )
    shown.set_metainfo({'img_shape': size, 'pad_shape': size})
    if 'scale_factor' in shown:
        old = shown.scale_factor
        shown.set_metainfo(
            {'scale_factor': (old[0] * ratios[0], old[1] * ratios[1])}
        )
    return {'inputs': resized, 'data_samples': shown}


def collated(samples: Sequence[Mapping], longest: float) -> Any:
    from mmengine.dataset import pseudo_collate

    return pseudo_collate([shrunk(sample, longest) for sample in samples])


def small_or_whole(
    run: Callable[[float], Any], samples: Sequence[Mapping]
) -> Any:
    """Run with small images, and again with larger ones if sizes fail.

    Some detectors accept only one image size.
    """
    sides = [max(getattr(x['inputs'], 'shape', (0,))[-2:]) for x in samples]
    start = time.monotonic()
    for longest in (LARGEST, 2 * LARGEST):
        try:
            with silence():
                return run(longest)
        except Exception as error:
            late = time.monotonic() - start > PATIENCE
            same = max(sides) <= longest
            if late or same or not OF_SIZE.search(str(error)):
                raise
    with silence():
        return run(WHOLE)


def without_gradient(model: Any) -> list[str]:
    """Names of the weights that are to train but got no gradient."""
    return [
        name
        for name, weight in model.named_parameters()
        if weight.requires_grad and weight.grad is None
    ]


def check_idle(names: Sequence[str], samples: Sequence[Any]) -> list[Finding]:
    """Report weights that no loss depends on.

    Args:
        names: Weights without a gradient after a loss step.
        samples: Samples of that step; without objects, parts of a model may
            have no loss.
    """
    if not names or not all(
        len(getattr(x['data_samples'], 'gt_instances', ())) for x in samples
    ):
        return []
    return [
        Finding(
            'warning',
            'model',
            f'{clause(len(names), "weight", "get")} no gradient, because no '
            f'loss depends on them: {some(names)}; on several GPUs training '
            'stops',
            'leave this part of the model out, give it a loss, or set '
            'find_unused_parameters=True',
        )
    ]


def check_loss_step(
    model: Any, samples: Sequence[Any], idle: bool = True
) -> list[Finding]:
    """Run forward and backward on two images; BatchNorm needs two.

    Args:
        model: Detector.
        samples: Training samples; the first and the last are used.
        idle: Whether to report weights without a gradient.
    """
    import torch
    from mmengine.logging import MessageHub

    # The runner sets it before the first step; heads and mmdet's
    # BatchSyncRandomResize read it.
    MessageHub.get_current_instance().update_info('iter', 0)
    key = 'loss step'
    start = time.monotonic()
    pair = [samples[0], samples[-1]]
    # Semi-supervised training steps its student with the labelled branch.
    branch = samples[0].get('branch')
    stepped = model if branch is None else getattr(model, 'student', None)
    if stepped is None:
        message = 'not tried: samples have several branches'
        return [Finding('ok', key, message)]

    def step(longest: float) -> tuple[Any, Mapping]:
        batch = collated(pair, longest)
        # Training mode would need all branches.
        model.train()
        batch = model.data_preprocessor(batch, branch is None)
        total, values = model.parse_losses(stepped(**batch, mode='loss'))
        total.backward()
        return total, values

    unused: list[str] = []
    try:
        total, values = small_or_whole(step, pair)
        if idle and branch is None:
            unused = without_gradient(model)
    except Exception as error:  # Any part of the model may fail.
        return [explained(key, error, fix=fix_of_step(error, samples))]
    finally:
        model.zero_grad()
    shown = ', '.join(
        f'{name} {value:.3g}'
        for name, value in values.items()
        if name.startswith('loss')
    )
    # Leave out their sum, `loss`.
    parts = {
        name: value
        for name, value in values.items()
        if 'loss' in name and name != 'loss'
    }
    if not torch.isfinite(total):
        wrong = [x for x, value in parts.items() if not value.isfinite()]
        # Wrong image values make every loss wrong.
        ranges = check_range(model, samples)
        fix = ranges[0].fix if ranges else with_defaults(model, wrong)
        message = f'the loss is not finite: {shown}'
        return [Finding('error', key, message, fix)]
    wrong = [x for x, value in parts.items() if value < 0]
    if wrong:
        message = f'{wrong[0]} is negative: {shown}'
        return [Finding('error', key, message, with_defaults(model, wrong))]
    seconds = time.monotonic() - start
    findings = check_range(model, samples) + check_idle(unused, pair)
    return [*findings, Finding('ok', key, f'{shown}, in {seconds:.1f} s')]


def with_defaults(model: Any, names: Sequence[str]) -> str:
    """Write the config of the first loss without its options.

    Args:
        model: Detector.
        names: Names of losses: loss_cls, loss_rpn_cls, s0.loss_bbox.
    """
    name = next(iter(names), 'loss_cls').rpartition('.')[2]
    first = 'rpn_head.' if 'rpn_' in name else ''
    wanted = first + name.replace('rpn_', '')
    for path, module in model.named_modules():
        if path.endswith(wanted):
            kept = {'_delete_': True, 'type': type(module).__name__}
            if hasattr(module, 'use_sigmoid'):
                kept['use_sigmoid'] = module.use_sigmoid
            return f'model.{path}={kept}'
    return f'leave the options of {name} out'


def check_range(model: Any, samples: Sequence[Any]) -> list[Finding]:
    """Report implausible values of the images after the preprocessor."""
    whole = samples[0].get('branch') is None
    batch = model.data_preprocessor(collated(samples[:1], LARGEST), whole)
    if not hasattr(batch['inputs'], 'abs'):
        return []
    largest = float(batch['inputs'].abs().max())
    if largest < HUGE:
        return []
    key = 'model.data_preprocessor'
    means = getattr(model.data_preprocessor, 'mean', None)
    if means is not None and float(means.abs().max()) <= 1:
        stds = model.data_preprocessor.std
        right = [
            [round(float(x) * FULL, 3) for x in values.flatten()]
            for values in (means, stds)
        ]
        return [
            Finding(
                'warning',
                'data_preprocessor',
                'mean and std are for values from 0 to 1, but the images have '
                f'0 to {FULL}: the network gets up to {largest:.0f}',
                f'{key}.mean={right[0]} and {key}.std={right[1]}',
            )
        ]
    return [
        Finding(
            'warning',
            'data_preprocessor',
            f'after mean and std the images have values of up to '
            f'{largest:.0f}, not about 3',
            'model.data_preprocessor.mean=[123.675,116.28,103.53] and '
            'std=[58.395,57.12,57.375], or those of your images',
        )
    ]


FIX_OF_STEP = (
    'compare model of the config with that of a stock config '
    '(`retina-plus config NAME` prints ours), or remove your own settings '
    'one by one until the step passes'
)
"""Fix for errors that name no key."""


def fix_of_step(error: Exception, samples: Sequence[Any]) -> str:
    text = str(error)
    channels = len(samples[0]['inputs'])
    if f'but got {channels} channels' in text:
        return (
            f'the images have {channels} channels: '
            f'model.backbone.in_channels={channels}, or color_type of '
            'LoadImageFromFile'
        )
    return FIX_OF_STEP


@contextmanager
def every_score(model: Any) -> Iterator[None]:
    """Set score thresholds to 0: random weights score low."""
    limits: dict[int, tuple[Any, float]] = {}
    for module in model.modules():
        config = getattr(module, 'test_cfg', None)
        for one in walk(config):
            if 'score_thr' in one:
                limits[id(one)] = (one, one['score_thr'])
    for one, _ in limits.values():
        one['score_thr'] = 0.0
    try:
        yield
    finally:
        for one, limit in limits.values():
            one['score_thr'] = limit


def check_prediction(
    model: Any, samples: Sequence[Any], metrics: Sequence[str] = ()
) -> list[Finding]:
    """Predict on one image, as validation does.

    Args:
        model: Detector.
        samples: Validation samples.
        metrics: Metrics of the evaluator: 'bbox', 'segm'.
    """
    import torch

    key = 'prediction'

    def predict(longest: float) -> Any:
        batch = collated(samples[:1], longest)
        model.eval()
        batch = model.data_preprocessor(batch, False)
        with every_score(model):
            return model(**batch, mode='predict')

    try:
        with torch.no_grad():
            (result,) = small_or_whole(predict, samples[:1])
    except Exception as error:  # Any part of the model may fail.
        if 'scale_factor' not in samples[0]['data_samples']:
            message = (
                'the validation samples have no scale_factor: meta_keys of '
                'PackDetInputs leaves it out'
            )
            where = 'val_dataloader.dataset.pipeline'
            return [Finding('error', where, message, META_KEYS)]
        return [explained(key, error, fix=fix_of_step(error, samples))]
    number = len(result.pred_instances) if 'pred_instances' in result else 0
    if number and 'segm' in metrics and 'masks' not in result.pred_instances:
        message = 'scores masks, which the detector does not predict'
        fix = "val_evaluator.metric='bbox'"
        return [Finding('error', 'val_evaluator', message, fix)]
    return [Finding('ok', key, quantity(number, 'box'))]

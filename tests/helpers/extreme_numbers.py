"""Scenes, logits and precisions that break losses, and what they break."""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import cache

import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from tests.helpers.samples import Objects, data_sample

PRECISIONS = {
    'single': None,
    'float16': torch.float16,
    'bfloat16': torch.bfloat16,
}
"""What autocast computes in."""
LARGEST = 1e4
"""Logits of either sign."""
CLASSIFIERS = re.compile(
    r'(retina_cls|conv_cls|atss_cls|cls_convs\.\d\.0|heatmap_head\.2|rpn_cls'
    r'|fc_cls|conv_logits|conv_seg|selector\.fc)$'
)
"""Names of layers whose outputs are logits."""
REGRESSORS = re.compile(r'(retina_reg|conv_reg|convs_(pred|guide)\.\d)$')
"""Names of layers of this package's heads whose outputs are boxes, too."""


def random_objects(
    number: int, side: int, smallest: float, largest: float, seed: int = 0
) -> Objects:
    """Boxes inside of a square image, of three classes."""
    rng = np.random.default_rng(seed)
    sizes = rng.uniform(smallest, largest, (number, 2))
    corners = rng.uniform(0, side - sizes)
    boxes = np.concatenate([corners, corners + sizes], axis=1).tolist()
    return [(box, index % 3) for index, box in enumerate(boxes)]


@cache
def scenes(
    precision: str = 'single', many: int = 2000
) -> dict[str, list[DetDataSample]]:
    """Batches of images of 64 x 64 pixels, where that can be.

    Args:
        precision: Name of the one to compute in.
        many: Number of objects in the image that has most.
    """
    # In bfloat16, torch 2.13's oneDNN leaves parts of the gradient of a
    # convolution with stride 2 on a map of 1 x 1 uninitialised.
    side = 128 if precision == 'bfloat16' else 64
    whole = (0, 0, side, side)
    pixels = [
        (0, 0, 1, 1),
        (side - 1, side - 1, side, side),
        (31.5, 20, 32.5, 21),
    ]
    return {
        'no object': samples_of(((), ()), side),
        'one object': samples_of((random_objects(1, side, 20, 40),), side),
        'an empty image': samples_of(
            (random_objects(3, side, 8, 60), ()), side
        ),
        'objects of a pixel': samples_of((pairs(pixels), ()), side),
        'objects as large as the image': samples_of(
            (pairs([whole] * 3), ()), side
        ),
        f'{many:,} objects': samples_of(
            (random_objects(many, 128, 1, 60),), 128
        ),
    }


def pairs(boxes: Sequence[Sequence[float]]) -> Objects:
    """Boxes of one class each."""
    return [(box, label) for label, box in enumerate(boxes)]


def samples_of(batch: Sequence[Objects], side: int) -> list[DetDataSample]:
    return [data_sample(objects, (side, side)) for objects in batch]


def autocast(precision: str) -> AbstractContextManager:
    """Autocast to a precision, on the CPU."""
    dtype = PRECISIONS[precision]
    return torch.autocast('cpu', dtype) if dtype else nullcontext()


@contextmanager
def saturated(model: nn.Module) -> Iterator[int]:
    """Add 1e4 of random sign to all logits, and to the package's deltas.

    Yields:
        The number of layers.
    """
    head = type(getattr(model, 'bbox_head', None))
    ours = head.__module__.startswith('mmdet_retina_plus')
    hooks = [
        module.register_forward_hook(add_largest)
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
        and (CLASSIFIERS.search(name) or (ours and REGRESSORS.search(name)))
    ]
    try:
        yield len(hooks)
    finally:
        for hook in hooks:
            hook.remove()


def add_largest(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
    signs = torch.randint_like(output, 2) * 2 - 1
    return output + LARGEST * signs


def step_problems(
    model: BaseDetector,
    samples: Sequence[DetDataSample],
    precision: str = 'single',
) -> list[str]:
    """Losses and gradients of a step that are not finite.

    A gradient that is infinite in float16 is no problem: a loss scaler leaves
    such a step out.

    Args:
        model: Model in training mode.
        samples: Samples of images of one size.
        precision: Name of the precision.
    """
    model.zero_grad()
    images = torch.randn(len(samples), 3, *samples[0].batch_input_shape)
    with autocast(precision):
        losses = model.loss(images, deepcopy(samples))
        total, log = model.parse_losses(losses)
        total.backward()
    found = [
        key for key, value in log.items() if not value.detach().isfinite()
    ]
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            gradient = parameter.grad
            half = precision == 'float16'
            sound = ~gradient.isnan() if half else gradient.isfinite()
            if not sound.all():
                found.append(f'gradient of {key}')
    return found


def prediction_problems(
    model: BaseDetector,
    samples: Sequence[DetDataSample],
    precision: str = 'single',
) -> list[str]:
    """Boxes that are not finite, and scores outside of [0, 1].

    Args:
        model: Model, which is left in training mode.
        samples: Samples of images of one size.
        precision: Name of the precision.
    """
    shape = samples[0].batch_input_shape
    images = torch.randn(len(samples), 3, *shape)
    model.eval()
    with torch.no_grad(), autocast(precision):
        results = model.predict(images, deepcopy(samples))
    model.train()
    found = []
    for result in results:
        instances = result.pred_instances
        if not instances.bboxes.isfinite().all():
            found.append('bboxes')
        if not ((instances.scores >= 0) & (instances.scores <= 1)).all():
            found.append('scores')
    return found

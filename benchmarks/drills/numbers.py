"""Train and predict with extreme numbers; count what stays finite.

    python -m benchmarks.drills.numbers

Models are the lab's configs with a head of this package, RetinaMask, Retina
U-Net, and RetinaNet with each loss of this package, all with few channels.
They train and predict in three autocast precisions on images without objects,
with one, with 2,000, with objects of one pixel or of the image's size, and
next to an empty image. Other attempts have logits of ±1e4, large loss scales,
no positives, images of 4000 x 3000 pixels, or watch memory over 500 steps. An
attempt survives if it raises nothing, and losses, gradients, weights and
predictions are finite.

It runs in one thread on the CPU. GPU kernels are not covered: tests run those
in Triton's interpreter.
"""

import ctypes
import gc
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import click
import psutil
import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch.optim import SGD

import mmdet_retina_plus
from benchmarks.drills.count import Count
from tests.helpers.extreme_numbers import (
    LARGEST,
    PRECISIONS,
    autocast,
    prediction_problems,
    random_objects,
    samples_of,
    saturated,
    scenes,
    step_problems,
)
from tests.helpers.samples import data_sample
from tests.helpers.shipped_configs import build_detector, load

NARROW = """
_base_ = {base!r}
lab_backbone = dict(base_channels=8)
lab_channels = [8, 16, 32, 64]
lab_width = 32
lab_convs = 1
lab_neck = dict(in_channels=lab_channels, out_channels=lab_width)
"""
"""Data file that all configs of the lab inherit from."""
WIDTH = 16
"""Channels of the neck and heads of other configs."""
FAMILIES = (
    'lab/assigner_max-iou',
    'lab/assigner_atss',
    'lab/assigner_point-range',
    'lab/method_sapd',
    'lab/method_yolo-asff',
    'retinamask_r18_fpn_shapes',
    'retinaunet_r18_fpn_shapes',
)
"""One config per kind of head, for attempts that take long."""
LONG = {
    'lab/assigner_max-iou',
    'lab/method_sapd',
    'retinamask_r18_fpn_shapes',
    'retinaunet_r18_fpn_shapes',
}
"""Families that train for 500 steps."""
OF_MMDET = {
    f'method_{name}'
    for name in (
        'atss',
        'centernet',
        'faster-rcnn',
        'fcos',
        'ga-retinanet',
        'libra-rcnn',
        'ssd',
    )
}
"""Configs whose losses and heads are mmdet's."""
GAMMAS = (0.0, 0.1, 0.5, 2.0, 5.0)
SCALES = (1.0, 2.0**16, 2.0**24)
"""Initial loss scales; the scaler halves them if gradients are infinite."""
GROWTH = 8.0
"""Allowed growth in MB over 400 steps: more is a leak of 20 KB per step."""


@click.command()
@click.option('--only', default='', help='Pattern of the kinds to run.')
def main(only: str) -> None:
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    drill = Drill(only)
    with tempfile.TemporaryDirectory() as folder:
        narrow = Path(folder, 'narrow.py')
        base = mmdet_retina_plus.config('_base_/lab_shapes')
        narrow.write_text(NARROW.format(base=base))
        os.environ['LAB_DATA'] = str(narrow)
        try_losses(drill)
        for name, config in configs():
            try_model(drill, name, build_detector(config))
        for name in FAMILIES:
            try_family(drill, name)
    drill.conclude()


class Drill(Count):
    """Attempts whose kinds match a pattern."""

    def __init__(self, only: str = '') -> None:
        super().__init__()
        self.only = only

    def run(
        self,
        kind: str,
        name: str,
        attempt: Callable[..., Sequence[str]],
        *args: Any,
    ) -> None:
        """Count a call of `attempt`, which returns its problems or raises."""
        if not re.search(self.only, kind):
            return
        try:
            found = list(attempt(*args))
        except Exception as error:  # Any error counts as a fault.
            found = [f'{type(error).__name__}: {error}']
        self.add(kind, found[:3], f', {name}')


def configs() -> Iterator[tuple[str, Config]]:
    """Yield names and configs of the models."""
    lab = Path(mmdet_retina_plus.config('lab/data')).parent
    for path in sorted(lab.glob('*_*.py')):
        if path.stem not in OF_MMDET:
            yield path.stem, load(f'lab/{path.stem}')
    for name in FAMILIES:
        if not name.startswith('lab/'):
            yield name, narrow(name)
    losses: dict[str, dict] = {
        f'gamma {gamma}': dict(loss_cls=focal_loss(gamma)) for gamma in GAMMAS
    }
    losses |= {
        'FL*': dict(loss_cls=dict(type='FocalLossStar', use_sigmoid=True)),
        'softmax': dict(loss_cls=dict(type='CrossEntropyLoss')),
        'self-adjusting': dict(
            loss_bbox=dict(type='SelfAdjustingSmoothL1Loss')
        ),
    }
    for name, changes in losses.items():
        config = load('lab/assigner_max-iou')
        for key, loss in changes.items():
            config.model.bbox_head[key] = loss
        yield name, config


def narrow(name: str) -> Config:
    """Config with few channels; the lab's get them from its data file."""
    config = load(name)
    if name.startswith('lab/'):
        return config
    model = config.model
    model.neck.out_channels = WIDTH
    model.bbox_head.update(
        in_channels=WIDTH, feat_channels=WIDTH, stacked_convs=1
    )
    if 'roi_head' in model:
        model.roi_head.mask_roi_extractor.out_channels = WIDTH
        model.roi_head.mask_head.update(
            num_convs=1, in_channels=WIDTH, conv_out_channels=WIDTH
        )
    return config


def focal_loss(gamma: float) -> dict:
    return dict(type='FusedFocalLoss', use_sigmoid=True, gamma=gamma)


def try_losses(drill: Drill) -> None:
    """Try losses alone, with logits and box errors of all magnitudes."""
    classifiers = [focal_loss(gamma) for gamma in GAMMAS]
    classifiers += [
        dict(type='FocalLossStar', gamma=gamma, beta=beta)
        for gamma in GAMMAS[1:]
        for beta in (-5.0, 1.0)
    ]
    dtypes = [dtype or torch.float32 for dtype in PRECISIONS.values()]
    sizes = (0.0, 1.0, 100.0, LARGEST)
    labels = {
        'no positive': torch.full((99,), 3),
        'all positive': torch.arange(99) % 3,
        'both': torch.arange(99) % 4,
        'no anchor': torch.zeros(0).long(),
    }
    kind = 'losses alone'
    for loss, dtype, size, (name, target) in product(
        classifiers, dtypes, sizes, labels.items()
    ):
        told = f'{loss}, {dtype}, {size}, {name}'
        args = loss, (len(target), 3), dtype, size, target
        drill.run(kind, told, loss_problems, *args)
    loss = dict(type='SelfAdjustingSmoothL1Loss')
    for dtype, size, count in product(dtypes, sizes, (0, 1, 99)):
        told = f'{loss}, {dtype}, {size}, {count} boxes'
        args = loss, (count, 4), dtype, size, torch.zeros(count, 4)
        drill.run(kind, told, loss_problems, *args)
    loss = dict(type='BatchDiceCELoss')
    for dtype, size, label in product(dtypes, sizes, (0, 1, 255)):
        told = f'{loss}, {dtype}, {size}, label {label}'
        args = loss, (2, 3, 8, 8), dtype, size, torch.full((2, 8, 8), label)
        drill.run(kind, told, loss_problems, *args)


def loss_problems(
    loss: dict,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    size: float,
    target: torch.Tensor,
) -> list[str]:
    """Name what is not finite in a loss and its gradient.

    Args:
        loss: Config of a loss.
        shape: Shape of the predictions.
        dtype: Precision of the predictions.
        size: Factor of predictions drawn from [-1, 1].
        target: Targets of the loss.
    """
    pred = (size * torch.linspace(-1, 1, 99).repeat(9)).to(dtype)
    pred = pred[: torch.Size(shape).numel()].reshape(shape)
    pred.requires_grad_()
    value = MODELS.build(loss)(pred, target)
    value.backward()
    assert pred.grad is not None
    found = {'loss': value, 'gradient': pred.grad}
    return [key for key, x in found.items() if not x.isfinite().all()]


def try_model(drill: Drill, name: str, model: BaseDetector) -> None:
    """Try steps and predictions in all precisions."""
    for dtype in PRECISIONS:
        told = f'{name}, {dtype}'
        batches = scenes(dtype)
        mixed = batches['an empty image']
        for scene, samples in batches.items():
            drill.run(scene, told, step_problems, model, samples, dtype)
        drill.run(
            'predictions', told, prediction_problems, model, mixed, dtype
        )
        with saturated(model):
            for samples in (batches['no object'], mixed):
                args = model, samples, dtype
                drill.run('logits of 1e4', told, step_problems, *args)
            args = model, mixed, dtype
            drill.run('logits of 1e4', told, prediction_problems, *args)


def try_family(drill: Drill, name: str) -> None:
    """Try many steps, and large images."""
    batches = scenes(many=20)
    without, mixed = batches['no object'], batches['an empty image']
    for scale in SCALES:
        args = name, [mixed] * 20, 'float16', scale
        drill.run('loss scales', f'{name} from {scale:,.0f}', train, *args)
    args = name, [*[without] * 100, mixed], 'float16'
    drill.run('100 steps without a positive', name, train, *args)
    drill.run('images of 4000 x 3000', name, large_image_problems, name)
    if name in LONG:
        drill.run('memory over 500 steps', name, growth, name)


def fresh(name: str) -> BaseDetector:
    return build_detector(narrow(name))


def train(
    name: str,
    batches: Sequence[Sequence[DetDataSample]],
    dtype: str,
    scale: float = 1.0,
) -> list[str]:
    """Train, and name what is not finite afterwards.

    Args:
        name: Name of the config.
        batches: One batch per step.
        dtype: Name of the precision.
        scale: Initial loss scale.
    """
    model = fresh(name)
    optimizer = SGD(model.parameters(), 1e-3, momentum=0.9)
    scaler = torch.amp.GradScaler(
        'cpu', scale, enabled=dtype == 'float16', growth_interval=10
    )
    for samples in batches:
        optimizer.zero_grad()
        shape = samples[0].batch_input_shape
        images = torch.randn(len(samples), 3, *shape)
        with autocast(dtype):
            loss, log = model.parse_losses(model.loss(images, list(samples)))
            scaler.scale(loss).backward()
        found = [
            key for key, value in log.items() if not value.detach().isfinite()
        ]
        if found:
            return found
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10 * scale)
        scaler.step(optimizer)
        scaler.update()
    if not optimizer.state:
        return ['no step was taken']
    return [
        key
        for key, value in model.state_dict().items()
        if not value.isfinite().all()
    ]


def large_image_problems(name: str) -> list[str]:
    objects = [((5, 5, 6, 6), 0), ((100, 200, 3900, 2900), 1)]
    sample = data_sample(objects, (3008, 4000))
    sample.set_metainfo(dict(img_shape=(3000, 4000), ori_shape=(3000, 4000)))
    model = fresh(name)
    found = step_problems(model, [sample])
    return found + prediction_problems(model, [sample])


def growth(name: str) -> list[str]:
    """Report the memory that 400 steps add to that after 100 steps."""
    model = fresh(name)
    optimizer = SGD(model.parameters(), 1e-4)
    before = 0.0
    for step in range(500):
        objects = random_objects(step % 9, 64, 4, 60, seed=step)
        optimizer.zero_grad()
        samples = samples_of([objects, ()], 64)
        loss, _ = model.parse_losses(
            model.loss(torch.randn(2, 3, 64, 64), samples)
        )
        loss.backward()
        optimizer.step()
        if step == 99:
            before = resident()
    added = resident() - before
    return [f'{added:.1f} MB'] if added > GROWTH else []


def resident() -> float:
    """Memory of this process in MB, after returning free memory."""
    gc.collect()
    ctypes.CDLL('libc.so.6').malloc_trim(0)
    return psutil.Process().memory_info().rss / 1e6


if __name__ == '__main__':
    main()

"""Losses and assigners against those of mmdet and mmcv."""

from collections.abc import Callable, Iterator
from functools import partial
from unittest.mock import patch

import torch
import torch.nn.functional as F
from mmdet.models.losses import FocalLoss
from torch import Tensor

from benchmarks.assigners import ASSIGNERS, HEIGHT, WIDTH, Scene
from benchmarks.focal_loss import ALPHA, GAMMA, Inputs
from benchmarks.harness import measure
from mmdet_retina_plus.kernels import dispatch
from mmdet_retina_plus.losses import FocalLossStar, FusedFocalLoss

from .run import Run

LOSS_SIZES = (
    (1_612_800, 80),
    (201_600, 80),
    (16_800, 80),
    (201_600, 1203),
    (1_612_800, 1),
)


def assigners(run: Run) -> None:
    """Ours and mmdet's on the anchors of an 800x1344 image."""
    for count in (7,) if run.quick else (500, 7, 100, 4000):
        shape = (64, 96) if run.quick else (HEIGHT, WIDTH)
        scene = Scene(count, False, str(run.device), shape)
        for name, (stock, ours) in ASSIGNERS.items():
            if run.late():
                return
            expected = scene.assign(ours)
            with patch.object(dispatch, 'usable', lambda *tensors: False):
                by_torch = scene.assign(ours)
            theirs, own = measure(
                [partial(scene.assign, side) for side in (stock, ours)],
                run.device,
                repeats=min(run.repeats, 3 if count > 1000 else 9),
                prepare=scene.draw,
            )
            run.write(
                assigner=name,
                objects=count,
                mmdet_ms=theirs.seconds * 1e3,
                ours_ms=own.seconds * 1e3,
                faster=theirs.seconds / own.seconds,
                mmdet_mb=theirs.megabytes,
                ours_mb=own.megabytes,
                # Anchors at the same location are ties in mmdet's ATSS.
                equals_mmdet=scene.agree(stock, ours),
                equals_torch_path=all(
                    torch.equal(getattr(expected, key), getattr(by_torch, key))
                    for key in ('gt_inds', 'max_overlaps', 'labels')
                ),
                waits=run.waits(partial(scene.assign, ours)),
                mmdet_waits=sum(
                    run.waits(partial(scene.assign, stock)).values()
                ),
                launches=run.launches(partial(scene.assign, ours)),
            )


def loss(run: Run) -> None:
    """Focal loss forward and backward against a copy of the logits."""
    ours = FusedFocalLoss(gamma=GAMMA, alpha=ALPHA)

    def value_only(inputs: Inputs) -> Tensor:
        with torch.no_grad():
            return ours(inputs.pred, inputs.labels, inputs.weight)

    for size, inputs in loss_inputs(run):
        copy, own, value, star = measure(
            (
                lambda inputs=inputs: inputs.pred.detach().clone(),
                partial(inputs.step, ours),
                partial(value_only, inputs),
                partial(inputs.step, FocalLossStar()),
            ),
            run.device,
            repeats=run.repeats,
            prepare=inputs.draw,
            ahead=True,
        )
        found = {}
        if size['dtype'] == 'float32' and size['anchors'] < 1e6:
            names = ('value_error', 'gradient_error')
            found = dict(zip(names, inputs.errors(ours), strict=True))
        run.write(
            **size,
            copy_ms=copy.seconds * 1e3,
            copy_gb_per_s=copy.peak_bytes * 2 / copy.seconds / 1e9,
            ours_ms=own.seconds * 1e3,
            copies=own.seconds / copy.seconds,
            forward_ms=value.seconds * 1e3,
            star_copies=star.seconds / copy.seconds,
            peak_mb=own.megabytes,
            **found,
        )


def loss_of_others(run: Run) -> None:
    """The same against mmcv's operator, mmdet's loss and torch.compile."""
    ours = FusedFocalLoss(gamma=GAMMA, alpha=ALPHA)
    stock = FocalLoss(use_sigmoid=True, gamma=GAMMA, alpha=ALPHA)
    compiled_formula = compiled(run, formula)
    for size, inputs in loss_inputs(run):
        sides = dict(
            ours=partial(inputs.step, ours),
            compiled=partial(inputs.step, compiled_formula),
        )
        # mmcv's operator, and so mmdet's loss on a GPU, has no bfloat16.
        if inputs.pred.dtype == torch.float32:
            sides['mmdet'] = partial(inputs.step, stock)
            if run.on_gpu:
                sides['mmcv'] = partial(inputs.step, mmcv_loss)
        results = measure(
            list(sides.values()),
            run.device,
            repeats=run.repeats,
            warmup=2,
            prepare=inputs.draw,
            ahead=True,
        )
        times = dict(zip(sides, results, strict=True))
        run.write(
            **size,
            **{
                f'{name}_ms': result.seconds * 1e3
                for name, result in times.items()
            },
            **{f'{name}_mb': each.megabytes for name, each in times.items()},
            **{
                f'faster_than_{name}': each.seconds / times['ours'].seconds
                for name, each in times.items()
                if name != 'ours'
            },
        )


def loss_inputs(run: Run) -> Iterator[tuple[dict, Inputs]]:
    """Each size in single precision, the usual ones in bfloat16 as well."""
    sizes = [(2000, 80), (300, 1)] if run.quick else LOSS_SIZES
    for dtype in (torch.float32, torch.bfloat16):
        for anchors, classes in sizes[:3] if dtype.itemsize == 2 else sizes:
            if run.late():
                return
            inputs = Inputs(anchors, classes, str(run.device), dtype)
            name = str(dtype).removeprefix('torch.')
            yield dict(anchors=anchors, classes=classes, dtype=name), inputs


def formula(
    pred: Tensor, labels: Tensor, weight: Tensor, avg_factor: float
) -> Tensor:
    """Naive focal loss."""
    classes = torch.arange(pred.size(1), device=pred.device)
    positive = labels[:, None] == classes
    x = torch.where(positive, pred.float(), -pred.float())
    alpha = torch.where(positive, ALPHA, 1 - ALPHA) * weight[:, None]
    value = alpha * torch.sigmoid(-x) ** GAMMA * F.logsigmoid(x)
    return -value.sum() / avg_factor


def compiled(run: Run, function: Callable) -> Callable:
    return torch.compile(
        function, backend='eager' if run.quick else 'inductor'
    )


def mmcv_loss(
    pred: Tensor, labels: Tensor, weight: Tensor, avg_factor: float
) -> Tensor:
    """mmcv's operator by itself, without weights."""
    from mmcv.ops import sigmoid_focal_loss

    value = sigmoid_focal_loss(pred, labels, GAMMA, ALPHA, None, 'none')
    return value.sum() / avg_factor

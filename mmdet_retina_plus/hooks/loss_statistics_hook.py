"""Log statistics of the losses of a one-stage detector.

Terms are those of Lin et al., "Focal Loss for Dense Object Detection",
arXiv 1708.02002, and of RetinaMask, arXiv 1901.03353.
"""

import inspect
import logging
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import count
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce
from mmengine.hooks import Hook, LoggerHook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmdet_retina_plus.common import loss_calls

# Logits per chunk, so that a logged step needs little extra memory.
CHUNK = 2**21
TAKE_OUT = 'remove the hook from default_hooks or custom_hooks'
COORDINATES = ('dx', 'dy', 'dw', 'dh')


@HOOKS.register_module()
class LossStatisticsHook(Hook):
    """Log which anchors the classification loss comes from.

    A sigmoid loss has a term per (anchor, class) pair: positive where the
    target is 1, otherwise negative. A softmax loss has a term per anchor:
    positive for an object, negative for background. Terms of weight 0, such
    as those of ignored anchors, do not count. ``p_t`` (equation 2 of the focal
    loss paper) is the probability of the true label: p for a positive and
    1 - p for a negative term, or the softmax of the anchor's label.

    ``positives``: Positive terms per image, which are anchors.
    ``p_t_positives``, ``p_t_negatives``: Means of p_t.
    ``positive_share``: Fraction of the weighted classification loss, before
        the division by ``avg_factor``, that comes from positive terms.
    ``beta_dx``, ``beta_dy``, ``beta_dw``, ``beta_dh``: Transition points, if
        ``loss_bbox`` has ``transition()`` like SelfAdjustingSmoothL1Loss.

    Each value is that of a single iteration over all processes, for betas the
    mean. The names avoid "loss" and "time", which mmengine averages over a
    window. The mean of no terms is not logged, so the log repeats the previous
    value; ``positives`` is then 0. If no process calls the loss in an
    iteration, only betas are logged, with a warning the first time.

    All calls of ``bbox_head.loss_cls`` in an iteration are summed, for example
    over levels. Calls with ``reduction_override='none'`` do not count, since
    heads use them to weigh anchors.

    Args:
        interval: Number of iterations between values; None for the iterations
            that the LoggerHook logs. Other iterations cost nothing.

    Raises:
        ValueError: The interval is not a positive integer; or, at the first
            logged iteration, targets are soft.
    """

    def __init__(self, interval: int | None = None) -> None:
        whole = isinstance(interval, int) and not isinstance(interval, bool)
        if interval is not None and not (whole and interval >= 1):
            raise ValueError(
                f'interval is {interval!r}: use a number of iterations, or '
                'None for those of the LoggerHook'
            )
        self.interval = interval
        self.logger: LoggerHook | None = None
        self.handle: RemovableHandle | None = None
        self.calls: list[Tensor] = []
        self.has_warned = False

    def before_train(self, runner: Runner) -> None:
        """Find the losses to observe.

        Raises:
            ValueError: The model has no supported classification loss, or
                there is neither an interval nor a LoggerHook.
        """
        self.stop_listening()
        check_classification_loss(require_bbox_head(runner.model))
        self.logger = next(
            (hook for hook in runner.hooks if isinstance(hook, LoggerHook)),
            None,
        )
        if self.logger is None and self.interval is None:
            raise ValueError(
                'There is no LoggerHook whose interval LossStatisticsHook '
                'could use: set its `interval`'
            )

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        # An iteration that raised an error has not removed its handle.
        self.stop_listening()
        if self.is_due(runner, batch_idx):
            self.calls = []
            loss_cls = require_bbox_head(runner.model).get_submodule(
                'loss_cls'
            )
            self.handle = loss_calls.listen(
                loss_cls, partial(self.observe, loss_cls)
            )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        if self.handle is None:
            return
        self.stop_listening()
        # An iteration without a call must still join the all-reduce.
        nothing = torch.zeros((1, 8), dtype=torch.float64)
        sums = torch.stack(self.calls or [*nothing]).sum(0)
        counts = sums.new_tensor([len(data_batch['data_samples']), 1])
        transition = find_transition(require_bbox_head(runner.model)).to(sums)
        values = torch.cat([sums, counts, transition])
        all_reduce(values)
        # Read once, since each read synchronises a GPU.
        numbers = values.tolist()
        num_calls, num_soft, num_images, num_processes = numbers[6:10]
        if num_soft:
            raise ValueError(
                f'{num_soft:.0f} targets of loss_cls are neither 0 nor 1, as '
                'in heads that scale them by IoU, which LossStatisticsHook '
                f'does not support: {TAKE_OUT}'
            )
        scalars = {}
        if num_calls:
            scalars = statistics(numbers[:3], numbers[3:6], num_images)
        else:
            self.warn_once()
        betas = [beta / num_processes for beta in numbers[10:]]
        for name, value in (scalars | name_betas(betas)).items():
            runner.message_hub.update_scalar(f'train/{name}', value)

    def after_train(self, runner: Runner) -> None:
        self.stop_listening()

    def after_run(self, runner: Runner) -> None:
        self.stop_listening()

    def stop_listening(self) -> None:
        if self.handle is not None:
            self.handle.remove()
            self.handle = None

    def warn_once(self) -> None:
        """Warn that the loss was not called."""
        if not self.has_warned:
            print_log(
                'No process called bbox_head.loss_cls in an iteration that '
                'LossStatisticsHook observed, so it logs no statistics of '
                'it. torch.compile may hide the calls: train with '
                f'compile=False, or {TAKE_OUT}',
                logger='current',
                level=logging.WARNING,
            )
        self.has_warned = True

    def is_due(self, runner: Runner, batch_idx: int) -> bool:
        """Whether to log this iteration."""
        if self.interval is not None:
            return self.every_n_train_iters(runner, self.interval)
        assert self.logger is not None
        interval = self.logger.interval
        return self.every_n_inner_iters(batch_idx, interval) or (
            self.end_of_epoch(runner.train_dataloader, batch_idx)
            and (
                not self.logger.ignore_last
                or len(runner.train_dataloader) <= interval
            )
        )

    def observe(
        self,
        loss_cls: nn.Module,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None,
    ) -> None:
        """Add the statistics of a call of the classification loss."""
        if self.handle is None:
            # torch.compile may have traced it into a graph.
            return
        sums = sum_terms(loss_cls, pred, target, weight).flatten()
        counts = sums.new_ones(2)
        counts[1] = count_soft(target, weight)
        self.calls.append(torch.cat([sums, counts]))


@torch.no_grad()
def sum_terms(
    loss_cls: nn.Module, pred: Tensor, target: Tensor, weight: Tensor | None
) -> Tensor:
    """Compute the number of terms, sum of p_t and sum of the loss.

    Args:
        loss_cls: Loss with ``use_sigmoid`` and independent rows.
        pred: Logits of shape (N, C), or (N, C + 1) for a softmax.
        target: Labels of shape (N,), background is C; for sigmoids also
            shape (N, C).
        weight: Shape (N,), (N, 1), (N, C) or flattened (N * C,); or None.

    Returns:
        Shape (2, 3), double precision; positive terms first, then negative.
    """
    sums = pred.new_zeros((2, 3), dtype=torch.float64)
    if not len(pred):
        return sums
    if weight is None:
        weight = pred.new_ones(len(pred))
    weight = weight.reshape(len(pred), -1)
    size = max(1, CHUNK // pred.size(1))
    for logits, targets, weights in zip(
        pred.detach().split(size),
        target.split(size),
        weight.split(size),
        strict=True,
    ):
        # mmdet's losses accept weights of anchors only in one dimension.
        weights = weights.squeeze(1)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        positive, p_t = classify(logits, targets, bool(loss_cls.use_sigmoid))
        loss = loss_cls.forward(
            logits, targets, weights, reduction_override='none'
        )
        counted = weights != 0
        if counted.dim() < p_t.dim():
            counted = counted.unsqueeze(1)
        for row, terms in enumerate((positive, ~positive)):
            terms = terms & counted
            sums[row, 0] += terms.sum()
            sums[row, 1] += p_t.where(terms, 0).sum(dtype=torch.float64)
            sums[row, 2] += loss.where(terms, 0).sum(dtype=torch.float64)
    return sums


def count_soft(target: Tensor, weight: Tensor | None) -> Tensor:
    """Count the soft targets with a weight other than 0.

    Args:
        target: Labels of shape (N,), which are never soft; or shape (N, C).
        weight: See ``sum_terms``.
    """
    if target.dim() == 1 or not len(target):
        return target.new_zeros(())
    soft = (target != 0) & (target != 1)
    if weight is not None:
        soft = soft & (weight.reshape(len(target), -1) != 0)
    return soft.sum()


def classify(
    logits: Tensor, target: Tensor, use_sigmoid: bool
) -> tuple[Tensor, Tensor]:
    """Flag positive terms and compute p_t of all.

    Returns:
        Both of shape (N, C) for sigmoids and (N,) for a softmax.
    """
    if not use_sigmoid:
        positive = target != logits.size(1) - 1
        own = logits.softmax(dim=1).gather(1, target.unsqueeze(1))
        return positive, own.squeeze(1)
    if target.dim() == 1:
        classes = torch.arange(logits.size(1), device=target.device)
        positive = target.unsqueeze(1) == classes
    else:
        positive = target == 1
    return positive, logits.where(positive, -logits).sigmoid()


def statistics(
    positive: Sequence[float], negative: Sequence[float], num_images: float
) -> dict[str, float]:
    """Compute the values to log by name, without undefined ones.

    Args:
        positive: Number of positive terms, sums of their p_t and their loss.
        negative: The same for negative terms.
        num_images: Number of images.
    """
    scalars = dict(positives=positive[0] / num_images)
    if positive[0]:
        scalars['p_t_positives'] = positive[1] / positive[0]
    if negative[0]:
        scalars['p_t_negatives'] = negative[1] / negative[0]
    loss = positive[2] + negative[2]
    if loss:
        scalars['positive_share'] = positive[2] / loss
    return scalars


def name_betas(betas: Sequence[float]) -> dict[str, float]:
    """Name transition points by coordinate, or by number if not four."""
    names: Iterable = COORDINATES if len(betas) == 4 else count()
    return {
        f'beta_{name}': beta for name, beta in zip(names, betas, strict=False)
    }


def find_transition(bbox_head: nn.Module) -> Tensor:
    """Transition points of the box loss, shape (0,) if it has none."""
    transition = getattr(
        getattr(bbox_head, 'loss_bbox', None), 'transition', None
    )
    return transition() if callable(transition) else torch.empty(0)


def require_bbox_head(model: nn.Module) -> nn.Module:
    """Return the box head of a detector, which may be wrapped for DDP.

    Raises:
        ValueError: There is none.
    """
    bbox_head = loss_calls.find_bbox_head(model)
    if bbox_head is None:
        raise ValueError(
            f'{type(loss_calls.unwrap(model)).__name__} has no bbox_head for '
            f'LossStatisticsHook to observe: {TAKE_OUT}'
        )
    return bbox_head


def check_classification_loss(bbox_head: nn.Module) -> None:
    """Check that the loss is a sum of terms with targets of 0 and 1.

    Raises:
        ValueError: ``loss_cls`` is missing or not supported.
    """
    loss_cls = getattr(bbox_head, 'loss_cls', None)
    if loss_cls is None or not has_binary_terms(loss_cls):
        raise ValueError(
            f'{type(bbox_head).__name__} has loss_cls = '
            f'{type(loss_cls).__name__}, which LossStatisticsHook does not '
            'support: use FusedFocalLoss, FocalLossStar, FocalLoss or '
            f'CrossEntropyLoss without ignore_index, or {TAKE_OUT}'
        )


def has_binary_terms(loss_cls: nn.Module) -> bool:
    """Whether rows can be evaluated again, each separately."""
    if not isinstance(getattr(loss_cls, 'use_sigmoid', None), bool):
        return False
    parameters = inspect.signature(loss_cls.forward).parameters
    other_inputs = any(
        getattr(loss_cls, name, False)
        for name in ('activated', 'use_mask', 'custom_cls_channels')
    )
    return (
        {'weight', 'reduction_override'} <= parameters.keys()
        and not loss_calls.has_soft_targets(loss_cls)
        and not other_inputs
        and getattr(loss_cls, 'ignore_index', None) is None
        # The second evaluation would change a state.
        and not list(loss_cls.buffers())
    )

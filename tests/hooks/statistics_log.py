"""What LossStatisticsHook logs, without a Runner."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

from mmengine.logging import MessageHub
from torch import nn

from mmdet_retina_plus.hooks import LossStatisticsHook
from tests.helpers.samples import Objects


def begin_statistics(
    head: nn.Module,
) -> tuple[LossStatisticsHook, SimpleNamespace]:
    """A hook that looks at every iteration, and the run that it is in."""
    hook = LossStatisticsHook(interval=1)
    run = SimpleNamespace(
        model=SimpleNamespace(bbox_head=head),
        hooks=[],
        iter=0,
        message_hub=MessageHub('statistics'),
    )
    hook.before_train(run)
    return hook, run


def logged_values(run: SimpleNamespace) -> dict[str, float]:
    return {
        name.removeprefix('train/'): buffer.current()
        for name, buffer in run.message_hub.log_scalars.items()
    }


def logged_statistics(
    head: nn.Module, step: Callable, batch: Sequence[Objects]
) -> dict[str, float]:
    """What LossStatisticsHook logs of a step, without a Runner."""
    hook, run = begin_statistics(head)
    hook.before_train_iter(run, 0)
    step()
    hook.after_train_iter(run, 0, dict(data_samples=batch))
    return logged_values(run)

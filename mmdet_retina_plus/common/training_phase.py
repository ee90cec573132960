"""How far the training is, as a runner says and a resumed one restores."""


def training_iteration() -> int | None:
    """Number of iterations that are done, None without a runner."""
    from mmengine.logging import MessageHub

    return MessageHub.get_current_instance().get_info('iter')


def training_progress() -> float:
    """Fraction of the training's iterations that are done.

    Without a runner it is 0.
    """
    from mmengine.logging import MessageHub

    total = MessageHub.get_current_instance().get_info('max_iters', 1)
    return (training_iteration() or 0) / max(total, 1)

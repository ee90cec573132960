"""Progress of the training, from the runner's message hub."""


def training_iteration() -> int | None:
    """Number of completed iterations, None without a runner."""
    from mmengine.logging import MessageHub

    return MessageHub.get_current_instance().get_info('iter')


def training_progress() -> float:
    """Fraction of the training's iterations completed, 0 without a runner."""
    from mmengine.logging import MessageHub

    total = MessageHub.get_current_instance().get_info('max_iters', 1)
    return (training_iteration() or 0) / max(total, 1)

"""How far the training is, as a runner says and a resumed one restores."""


def training_progress() -> float:
    """Fraction of the training's iterations that are done.

    Without a runner it is 0.
    """
    from mmengine.logging import MessageHub

    hub = MessageHub.get_current_instance()
    return hub.get_info('iter', 0) / max(hub.get_info('max_iters', 1), 1)

"""What mmengine logs."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def log_level(level: str) -> Iterator[None]:
    """Log only messages of at least this level in a `with` block."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    before = logger.level
    # Not by logging.disable, whose effect MMLogger caches for good.
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)

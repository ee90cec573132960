"""Number of CPU cores."""

import os


def cores() -> int:
    """Cores that this process may use, or all where that is unknown."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

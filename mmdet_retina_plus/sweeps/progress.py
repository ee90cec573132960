"""Show the progress of a sweep on the terminal while it runs."""

import threading
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .point_labels import clip
from .slots import make_slots, visible_gpus
from .summary import SweepResult, summarize
from .trial_queue import SweepStudy
from .units import metric_unit, show_seconds
from .worker import Event, Worker, work_all

REFRESH = 5.0
"""Seconds between two reads of the whole study."""


def work_and_show(
    study: SweepStudy, work_dir: Path, jobs: int, nproc: int
) -> SweepResult:
    """Run workers in this process and show their progress.

    Args:
        study: Queue of the trials.
        work_dir: Parent of the trials' folders.
        jobs: Number of simultaneous training runs.
        nproc: Processes per run.

    Returns:
        Result when no trial waits.

    Raises:
        ValueError: The GPUs do not suffice, or the storage is unreachable.
        KeyboardInterrupt: See `work_all`.
    """
    slots = make_slots(jobs, nproc, visible_gpus())
    with Display(study, Console(), jobs) as display:
        work_all(
            [Worker(study, work_dir, slot, display.tell) for slot in slots]
        )
    return study.result()


class Display:
    """A live table on a terminal; elsewhere a line for every start and end.

    Args:
        study: Study that is worked on.
        console: Console to print to.
        jobs: Number of simultaneous runs, for the remaining time.
    """

    def __init__(self, study: SweepStudy, console: Console, jobs: int) -> None:
        self.study = study
        self.console = console
        self.jobs = jobs
        self.running: dict[int, Event] = {}
        self.lock = threading.Lock()
        self.looked = -REFRESH
        self.result = study.result()
        self.live = Live(
            console=console,
            get_renderable=self.render,
            refresh_per_second=1,
            transient=True,
        )

    def __enter__(self) -> 'Display':
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_) -> None:
        self.live.stop()

    def tell(self, event: Event) -> None:
        """Show an event of a worker; may be called in any thread."""
        with self.lock:
            if event.kind in ('start', 'progress'):
                self.running[event.slot] = event
            else:
                self.running.pop(event.slot, None)
        if event.kind != 'progress':
            line = f'{event.kind:8} {event.name}'
            if event.seconds:
                line += f' after {show_seconds(event.seconds)}'
            if event.text:
                line += f': {event.text}'
            self.console.out(line, highlight=False)

    def render(self) -> Group:
        """The running trials, and a summary of the whole study."""
        unit = metric_unit(self.result.metric)
        table = Table('trial', 'step', unit.label, 'time left', box=None)
        with self.lock:
            events = [event for _, event in sorted(self.running.items())]
        for event in events:
            done, left = event.progress, time_left(event)
            values = list(done.curve.values())
            table.add_row(
                Text(clip(event.name)),
                f'{done.step}/{done.steps or "?"}',
                unit.show(values[-1]) if values else '',
                '?' if left is None else show_seconds(left),
            )
        if time.monotonic() - self.looked > REFRESH:
            # While the storage is unreachable, old numbers stay.
            with suppress(Exception):
                self.result = self.study.result()
            self.looked = time.monotonic()
        return Group(table, Text(summary_line(self.result, self.jobs)))


def time_left(event: Event) -> float | None:
    """Seconds until a run ends, at its speed so far.

    Steps between two lines of the log are estimated.
    """
    done = event.progress
    new = done.step - event.before
    if new <= 0 or not done.steps:
        return None
    seconds = event.seconds - event.waited
    left = seconds * (done.steps - done.step) / new
    return max(0.0, left - event.waited)


def summary_line(result: SweepResult, jobs: int) -> str:
    """One line with counts, the remaining time and the best point so far.

    Args:
        result: Result of the study so far.
        jobs: Number of simultaneous runs on this machine.
    """
    summary = summarize(result)
    points = summary.points
    parts = [summary.counts]
    left = points[['waiting', 'running']].sum()
    seconds = summary.trials.time.mean()
    if seconds > 0 and left.sum():
        seconds *= left.sum() / max(jobs, left.running)
        parts.append(f'about {show_seconds(seconds)} left')
    if summary.best is not None:
        name = points.label[points['mean'].idxmax()]
        so_far = ' so far' if left.sum() else ''
        shown = metric_unit(result.metric).name(summary.best)
        parts.append(f'best mean{so_far} {shown} by {name}')
    return ', '.join(parts)

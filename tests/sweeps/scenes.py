"""Sweeps whose trainings are stand-ins of a second, shared by the tests."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from mmdet_retina_plus.sweeps import training, worker
from mmdet_retina_plus.sweeps.plan import Plan
from mmdet_retina_plus.sweeps.spec import Sweep
from mmdet_retina_plus.sweeps.trial_queue import SweepStudy
from mmdet_retina_plus.sweeps.worker import Event, Worker, make_slots, work_all

STAND_IN = Path(__file__).with_name('stand_in.py')
BASE = """
model = dict(gamma=2.0, alpha=0.25, fails=False)
steps_per_second = 50.0
train_cfg = dict(type='IterBasedTrainLoop', max_iters=10, val_interval=5)
"""


def make_plan(
    points: Sequence[dict], seeds: Sequence[int] = (0,), **changes
) -> Plan:
    """A plan whose trials take a fraction of a second."""
    sweep = Sweep(
        'scene', Path('config.py'), list(points), 'model.', list(seeds)
    )
    return Plan(sweep, **dict(base=BASE, folder='.') | changes)


def make_study(
    storage: str, plan: Plan, name: str = 'scene', grace: float = 300.0
) -> SweepStudy:
    """A study with all of the plan's trials in its queue."""
    study = SweepStudy(storage, name, grace)
    study.create(plan)
    study.fill()
    return study


def work(
    study: SweepStudy,
    work_dir: Path,
    jobs: int = 1,
) -> list[Event]:
    """Work on a study with stand-ins until nothing waits.

    Returns:
        All events but those of progress.
    """
    events: list[Event] = []

    def tell(event: Event) -> None:
        if event.kind != 'progress':
            events.append(event)

    slots = make_slots(jobs, 1, [])
    workers = [Worker(study, work_dir, slot, tell) for slot in slots]
    with patch.object(training, 'train_script', lambda: STAND_IN):
        work_all(workers)
    return events


def start_worker(
    storage: str, name: str, work_dir: Path, grace: float = 300.0
) -> subprocess.Popen:
    """A process that works on a study and ends."""
    code = 'from tests.sweeps.scenes import work_as_process; work_as_process()'
    words = [storage, name, str(work_dir), str(grace)]
    return subprocess.Popen(
        [sys.executable, '-c', code, *words],
        env=os.environ
        | dict(
            PYTHONPATH=os.pathsep.join(sys.path),
            MMDET_RETINA_PLUS_REGISTER='0',  # spares it the import of mmdet
        ),
    )


def work_as_process() -> None:
    storage, name, work_dir, grace = sys.argv[1:]
    worker.POLL = 0.05
    work(SweepStudy(storage, name, float(grace)), Path(work_dir))

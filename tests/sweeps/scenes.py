"""Sweeps whose trainings are stand-ins of a second, shared by the tests."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
from optuna.trial import TrialState

from mmdet_retina_plus.sweeps import training, worker
from mmdet_retina_plus.sweeps.claim import Claim, claim_trial
from mmdet_retina_plus.sweeps.plan import Plan
from mmdet_retina_plus.sweeps.slots import make_slots
from mmdet_retina_plus.sweeps.spec import Sweep
from mmdet_retina_plus.sweeps.trial_queue import SweepStudy
from mmdet_retina_plus.sweeps.worker import Event, Worker, work_all

POINTS = [dict(gamma=0.0), dict(gamma=1.0), dict(gamma=2.0, alpha=(0.1, 0.2))]
GAMMAS = [dict(gamma=float(gamma)) for gamma in range(4)]
STAND_IN = Path(__file__).with_name('stand_in.py')
BASE = """
model = dict(gamma=2.0, alpha=0.25, fails=False)
steps_per_second = 50.0
train_cfg = dict(type='IterBasedTrainLoop', max_iters=10, val_interval=5)
"""


ITERATIONS = dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=10))
EPOCHS = dict(train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=12))
ENDLESS = BASE.replace('max_iters=10', 'max_iters=100000')


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


def states(study: SweepStudy) -> list[TrialState]:
    """State of each trial, in order of their numbers."""
    return [trial.state for trial in study.trials()]


def lost(study: SweepStudy) -> int:
    """How many trials turn out lost."""
    before = states(study).count(TrialState.FAIL)
    study.recover()
    return states(study).count(TrialState.FAIL) - before


def claim_all(study: SweepStudy) -> list[Claim]:
    return list(iter(lambda: claim_trial(study), None))


def expected(point: dict, seed: int) -> float:
    """The stand-in's AP at its last step."""
    return 10 / (10 + point['gamma'] + seed)


def check_done(study: SweepStudy, work_dir: Path) -> None:
    """Every trial complete with its own value, never trained twice at once."""
    result = study.result()
    jobs = len(result.points) * len(result.seeds)
    assert len(result.trials) == jobs
    for trial in result.trials:
        assert trial.state == 'complete', trial
        assert trial.value == pytest.approx(expected(trial.point, trial.seed))
        # A run that was stopped in a validation, but for the last, lacks it.
        assert list(trial.curve) in ([5, 10], [10])
    assert not list(work_dir.glob('*/*/overlap'))
    assert len(list(work_dir.glob('*/*/ended'))) == jobs


def kill_at_random(
    study: SweepStudy,
    storage: str,
    work_dir: Path,
    kills: int = 4,
    draw: random.Random | None = None,
) -> None:
    """Keep two workers alive, kill some, until every trial is complete."""
    draw = draw or random.Random(0)
    workers = [start_worker(storage, study.name, work_dir) for _ in range(2)]
    deadline = time.monotonic() + 200
    killed = 0
    while not all(x.state == 'complete' for x in study.result().trials):
        assert time.monotonic() < deadline, study.result()
        if killed < kills and any(work_dir.glob('*/*/iter_*.pth')):
            time.sleep(draw.uniform(0, 1.5))
            draw.choice(workers).kill()
            killed += 1
        time.sleep(0.1)
        for number, process in enumerate(workers):
            if process.poll() is not None:
                workers[number] = start_worker(storage, study.name, work_dir)
    for process in workers:
        process.wait(60)
    assert killed == kills


def wait_for(
    condition: Callable[[], object], what: str, seconds: float = 20.0
) -> None:
    """Wait for a condition.

    Args:
        condition: Is called until it is true.
        what: What is wrong when it never is.
        seconds: How long to wait.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def checkpoints(folder: Path) -> Callable[[], list[Path]]:
    """Lists the checkpoints in the folder of a trial."""
    return lambda: list(folder.glob('iter_*.pth'))

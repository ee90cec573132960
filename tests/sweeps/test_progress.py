"""What a sweep shows while it runs."""

import io
import time

import pytest
from rich.console import Console

from mmdet_retina_plus.sweeps.progress import Display, summary_line, time_left
from mmdet_retina_plus.sweeps.trial_folder import Progress
from mmdet_retina_plus.sweeps.worker import Event
from tests.sweeps.scenes import make_plan, make_study, work
from tests.sweeps.sweep_results import make_sweep, make_trial, unfinished_sweep


def event(**changes) -> Event:
    return Event(**dict(slot=0, name='gamma=2.0', kind='progress') | changes)


def test_the_time_left_goes_by_the_steps_since_the_start():
    # 900 steps were done before an interruption, 10 s a step since.
    resumed = event(progress=Progress(901, 1000), seconds=10.0, before=900)
    assert time_left(resumed) == pytest.approx(990)
    assert time_left(event(progress=Progress(900, 1000), before=900)) is None
    assert time_left(event(progress=Progress(5, 0))) is None


def test_the_time_left_goes_down_between_two_lines_of_the_log():
    done = Progress(50, 100)
    lefts = [
        time_left(event(progress=done, seconds=60 + waited, waited=waited))
        for waited in (0.0, 20.0, 59.0, 90.0)
    ]
    assert lefts == pytest.approx([60, 40, 1, 0])


def test_the_summary_names_the_best_mean_and_the_time_left():
    points = [dict(gamma=0.0), dict(gamma=2.0)]
    trials = [
        make_trial(0, points[0], value=0.5, seconds=60.0),
        make_trial(1, points[0], value=0.1, seed=1, seconds=60.0),
        # One lucky seed is not the best point.
        make_trial(2, points[1], value=0.4, seconds=60.0),
    ]
    said = summary_line(make_sweep(points, trials, seeds=[0, 1]), jobs=1)
    assert said == (
        '3 of 4 trials finished, 1 waiting, about 1 min 00 s left, '
        'best mean so far bbox_mAP (%) 40.0 by gamma=2.0'
    )


def test_every_state_is_counted():
    said = summary_line(unfinished_sweep(), jobs=2)
    for state in ('running', 'waiting', 'pruned', 'failed'):
        assert state in said


def screen(study, terminal: bool) -> tuple[Display, io.StringIO]:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=100)
    return Display(study, console, jobs=1), text


@pytest.fixture
def study(tmp_path):
    return make_study(
        str(tmp_path / 'study.log'), make_plan([dict(gamma=0.0)])
    )


def test_a_terminal_sees_step_metric_and_time(study):
    display, text = screen(study, terminal=True)
    with display:
        done = Progress(5, 10, {5: 0.25})
        display.tell(event(kind='start'))
        display.tell(event(progress=done, seconds=100.0))
        display.live.refresh()
    shown = text.getvalue()
    for part in ('gamma=2.0', '5/10', '25.0', '1 min 40 s', '0 of 1 trials'):
        assert part in shown


def test_elsewhere_only_starts_and_ends_are_lines(study, tmp_path):
    display, text = screen(study, terminal=False)
    with display:
        for one in work(study, tmp_path):
            display.tell(one)
        display.tell(event(progress=Progress(5, 10)))
    start, end = text.getvalue().splitlines()
    assert start == 'start    gamma=0.0, seed 0'
    assert end.startswith('complete gamma=0.0, seed 0 after ')


def test_a_storage_that_is_away_leaves_the_old_numbers(study, monkeypatch):
    display, _ = screen(study, terminal=False)
    monkeypatch.setattr(time, 'monotonic', lambda: 1e9)

    def away():
        raise OSError('away')

    monkeypatch.setattr(study, 'result', away)
    assert '0 of 1 trials' in display.render().renderables[1].plain

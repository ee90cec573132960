"""Sweeps through the command, as users call it."""

import multiprocessing
import os
import re
import signal
import sys
import time
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from click.testing import CliRunner

import mmdet_retina_plus
from mmdet_retina_plus.cli.main import main
from mmdet_retina_plus.sweeps import training, worker
from mmdet_retina_plus.sweeps.trial_folder import try_lock
from tests.sweeps.scenes import STAND_IN, wait_for

OPTIMIZER = 'optim_wrapper.optimizer.'
CONFIG = mmdet_retina_plus.config('retinanet_r18_fpn_shapes')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A few generated images, and options that train on them in seconds."""
    root = tmp_path_factory.mktemp('data')
    words = ['make-data', 'shapes', str(root), '--num', '4', '--num-val', '2']
    result = CliRunner().invoke(main, [*words, '--size', '96'])
    assert not result.exit_code, result.output
    options = {
        **{
            f'{split}_dataloader.dataset.data_root': root
            for split in ('train', 'val', 'test')
        },
        'val_evaluator.ann_file': root / 'instances_val.json',
        'train_dataloader.batch_size': 2,
        'train_cfg.max_iters': 4,
        'train_cfg.val_interval': 2,
        'default_hooks.logger.interval': 1,
    }
    return [f'{key}={value}' for key, value in options.items()]


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(training, 'train_script', lambda: STAND_IN)
    monkeypatch.setattr(worker, 'POLL', 0.05)


def write_spec(
    folder: Path, body: str, prefix: str, config: str | None = CONFIG
) -> str:
    path = folder / 'spec.py'
    first = f'config = {config!r}\n' if config else ''
    path.write_text(f'{first}prefix = {prefix!r}\n{body}\n')
    return str(path)


def run(*words, code: int = 0) -> str:
    result = CliRunner().invoke(main, ['sweep', *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_a_sweep_from_its_spec_to_its_report(data, tmp_path):
    """With mmdet's own script; the second point cannot train."""
    spec = write_spec(
        tmp_path, 'points = [dict(lr=1e-3), dict(lr=1e30)]', OPTIMIZER
    )
    work_dir = tmp_path / 'sweep'
    command = ['run', spec, '--work-dir', work_dir, '--jobs', 2]
    command += ['--cfg-options', *data]
    said = run(*command, code=1)
    assert re.search(r'complete lr=0.001, .*: bbox_mAP \(%\) \d+\.\d', said)
    assert re.search(r'failed +lr=1e\+30, seed 0', said)
    assert '1 of the trials failed' in said
    # The same command again finds everything done.
    began = time.monotonic()
    said = run(*command, code=1)
    assert 'start' not in said
    assert time.monotonic() - began < 30
    run('report', work_dir)
    summary = (work_dir / 'report/summary.md').read_text()
    assert re.search(r'\| 0.001 +\| .* +1 of 1 \|', summary)
    assert 'loss become infinite or NaN!' in summary
    trial = work_dir.glob('lr-0.001*/seed-0/trial.py')
    assert 'lr=0.001' in next(trial).read_text()


@pytest.mark.parametrize('config', [CONFIG, None])
def test_one_spec_may_be_run_with_a_config_of_your_own(
    data, tmp_path, stand_in, config
):
    """Whether the spec names one or not."""
    own = tmp_path / 'own.py'
    own.write_text(
        f'_base_ = {CONFIG!r}\noptim_wrapper=dict(optimizer=dict(lr=.5))'
    )
    spec = write_spec(
        tmp_path, 'points = [dict(weight_decay=0)]', OPTIMIZER, config
    )
    command = ['run', spec, '--config', own, '--work-dir', tmp_path / 'sweep']
    said = run(*command, '--seeds', 3, 1, '--cfg-options', *data)
    assert said.count('complete weight_decay=0.0') == 2
    trials = sorted((tmp_path / 'sweep').glob('*/*/trial.py'))
    assert [trial.parent.name for trial in trials] == ['seed-1', 'seed-3']
    assert 'lr=0.5' in trials[0].read_text()
    assert 'weight_decay=0.0' in trials[0].read_text()


def test_a_spec_without_a_config_names_the_option(tmp_path):
    spec = write_spec(tmp_path, 'points = [dict(lr=1.0)]', OPTIMIZER, None)
    said = run('run', spec, '--work-dir', tmp_path / 'sweep', code=1)
    assert 'or name one with --config' in ' '.join(said.split())


REFUSED = {
    'an unknown key': (
        'points = [dict(lr=1.0), dict(learning_rate=1.0)]',
        [],
        'did you mean optim_wrapper.optimizer.',
    ),
    'a value of another type': (
        "points = [dict(lr='fast')]",
        [],
        'give a value of type float',
    ),
    'no points': ('', [], 'must set points or product'),
    'a seed among the points': (
        "prefix = ''\npoints = [{'randomness.seed': 1}]",
        [],
        'set `seeds` of the sweep',
    ),
    'a metric that nothing logs': (
        "metric = 'coco/bbox_map'\npoints = [dict(lr=1.0)]",
        [],
        'did you mean coco/bbox_mAP?',
    ),
    'a validation after the end': (
        "prefix = ''\npoints = [{'train_cfg.val_begin': 9}]",
        [],
        'validates from 9 on but ends at 4',
    ),
    'a key inside of a part': (
        "prefix = ''\npoints = [{'optim_wrapper.optimizer': dict(rate=1)}]",
        [],
        'has no optim_wrapper.optimizer.rate',
    ),
    'data that is not there': (
        'points = [dict(lr=1.0)]',
        ['train_dataloader.dataset.data_root=/nowhere'],
        'which does not exist',
    ),
    'a name that only helps to write the config': (
        "prefix = ''\npoints = [{'train_pipeline.3.prob': 0.0}]",
        [],
        'change train_dataloader.dataset.pipeline.3.prob',
    ),
    'a change of the test': (
        "prefix = ''\npoints = [{'test_dataloader.batch_size': 2}]",
        [],
        'change keys that start with val_',
    ),
    'a type that nothing has': (
        "points = [dict(type='AdamWW')]",
        [],
        "optimizer.type is 'AdamWW', which is not in a registry of "
        'AdamW; did you mean AdamW?',
    ),
    'a fraction of an image': (
        "prefix = ''\npoints = [{'train_dataloader.batch_size': 2.5}]",
        [],
        'give a whole number',
    ),
    'half an epoch': (
        "prefix = ''\npoints = [{'train_cfg.val_interval': 1.5}]",
        [],
        'give a whole number',
    ),
    'a seed below zero': (
        'seeds = [0, -1]\npoints = [dict(lr=1.0)]',
        [],
        'whole numbers from 0 to 2147483647',
    ),
    'an infinite option': (
        'points = [dict(lr=1.0)]',
        ['model.train_cfg.assigner.min_pos_iou=-inf'],
        'min_pos_iou is -inf: use a finite number',
    ),
    'a seed among the options': (
        'points = [dict(lr=1.0)]',
        ['randomness.seed=3'],
        'or use --seeds',
    ),
    'an option with a typo at its end': (
        'points = [dict(lr=1.0)]',
        ['train_cfg.max_itrs=4'],
        'did you mean train_cfg.max_iters?',
    ),
    'an option with a typo at its beginning': (
        'points = [dict(lr=1.0)]',
        ['trian_cfg.max_iters=4'],
        'did you mean train_cfg?',
    ),
    'an option that is no pair': (
        'points = [dict(lr=1.0)]',
        ['randomness.seed'],
        'unexpected extra argument (randomness.seed)',
    ),
    'pruning without anything to compare': (
        'points = [dict(lr=1.0)]',
        ['train_cfg.val_interval=4', '--prune'],
        'val_interval is 4 of 4',
    ),
    'processes without GPUs': (
        'points = [dict(lr=1.0)]',
        ['train_cfg.val_interval=4', '--nproc', '2'],
        '--nproc needs a GPU',
    ),
    'sbatch without Slurm': (
        'points = [dict(lr=1.0)]',
        ['train_cfg.val_interval=4', '--sbatch=--partition=gpu'],
        'needs --launcher slurm',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_it_is_refused_before_anything_starts(data, tmp_path, case):
    body, options, error = REFUSED[case]
    spec = write_spec(tmp_path, body, OPTIMIZER)
    command = ['run', spec, '--work-dir', tmp_path / 'sweep']
    command += ['--cfg-options', *data, *options]
    result = CliRunner().invoke(main, ['sweep', *map(str, command)])
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    assert error in ' '.join(result.output.split())
    assert not list(tmp_path.glob('sweep/*/*'))


def test_another_config_in_the_same_work_dir_is_refused(
    data, tmp_path, stand_in
):
    spec = write_spec(tmp_path, 'points = [dict(lr=1.0)]', OPTIMIZER)
    command = ['run', spec, '--work-dir', tmp_path / 'sweep']
    run(*command, '--cfg-options', *data)
    said = run(
        *command, '--cfg-options', *data, 'train_cfg.max_iters=6', code=1
    )
    assert 'train_cfg.max_iters: then 4, now 6' in said


def test_a_sweep_goes_on_in_a_folder_of_another_name(data, tmp_path, stand_in):
    spec = write_spec(tmp_path, 'points = [dict(lr=1.0)]', OPTIMIZER)
    words = ['--cfg-options', *data]
    run('run', spec, '--work-dir', tmp_path / 'sweep', *words)
    (tmp_path / 'sweep').rename(tmp_path / 'renamed')
    said = run('run', spec, '--work-dir', tmp_path / 'renamed', *words)
    assert 'start' not in said
    assert '1 of 1 trials finished' in said
    run('report', tmp_path / 'renamed')
    run(
        'run',
        spec,
        '--work-dir',
        tmp_path / 'renamed',
        *words,
        '--study-name',
        'b',
    )
    (tmp_path / 'renamed').rename(tmp_path / 'again')
    said = run('report', tmp_path / 'again', code=1)
    assert 'has the studies sweep, b: choose one with --study-name' in said


def test_a_mistake_in_the_config_is_corrected_in_the_same_work_dir(
    data, tmp_path, stand_in
):
    own = tmp_path / 'own.py'
    own.write_text(f'_base_ = {CONFIG!r}\nfails = True')
    spec = write_spec(tmp_path, 'points = [dict(lr=1.0)]', OPTIMIZER)
    command = ['run', spec, '--config', own, '--work-dir', tmp_path / 'sweep']
    assert 'failed' in run(*command, '--cfg-options', *data, code=1)
    own.write_text(f'_base_ = {CONFIG!r}')
    said = run(*command, '--cfg-options', *data)
    assert '1 of 1 trials finished' in said


def test_failed_trials_are_run_again_on_request(data, tmp_path, stand_in):
    own = tmp_path / 'own.py'
    own.write_text(f'_base_ = {CONFIG!r}\nfails = True')
    spec = write_spec(tmp_path, 'points = [dict(lr=1.0)]', OPTIMIZER)
    command = ['run', spec, '--config', own, '--work-dir', tmp_path / 'sweep']
    command += ['--cfg-options', *data]
    assert 'failed' in run(*command, code=1)
    assert 'start' not in run(*command, code=1)
    assert 'start' in run(*command, '--retry-failed', code=1)


def test_a_worker_joins_from_another_folder(
    data, tmp_path, stand_in, monkeypatch
):
    spec = write_spec(tmp_path, 'points = [dict(lr=1.0)]', OPTIMIZER)
    command = ['run', spec, '--work-dir', tmp_path / 'sweep']
    run(*command, '--cfg-options', *data)
    here = Path.cwd()
    monkeypatch.chdir(tmp_path)
    assert '1 of 1 trials finished' in run('worker', 'sweep')
    assert Path.cwd() == here
    monkeypatch.chdir(tmp_path)
    said = run('worker', 'sweep', '--folder', tmp_path)
    assert '1 of 1 trials finished' in said
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize(
    ('words', 'error'),
    [
        (['worker', 'nowhere'], 'is not a folder'),
        (['worker', '.'], 'study.log: use the work dir'),
        (['report', '.'], 'study.log: use the work dir'),
    ],
)
def test_an_unknown_study_names_the_fix(tmp_path, monkeypatch, words, error):
    monkeypatch.chdir(tmp_path)
    assert error in run(*words, code=1)
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_named_with_the_extra(tmp_path, monkeypatch):
    for name in [*sys.modules]:
        if name.startswith('mmdet_retina_plus.sweeps'):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'altair', None)
    said = ' '.join(run('report', tmp_path, code=1).split())
    assert 'need altair: pip install "mmdet_retina_plus[sweep]"' in said


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_trainings_and_keeps_everything(
    data, tmp_path, stand_in, number
):
    spec = write_spec(tmp_path, 'points = [dict(lr=1.0)]', OPTIMIZER)
    work_dir = tmp_path / 'sweep'
    words = ['sweep', 'run', spec, '--work-dir', str(work_dir)]
    words += ['--cfg-options', *data, 'train_cfg.max_iters=200']
    said = tmp_path / 'said'

    def sweep():
        with said.open('w') as file, redirect_stderr(file):
            main(words)

    # A fork has all the imports that a new process would take seconds for.
    process = multiprocessing.get_context('fork').Process(target=sweep)
    process.start()
    wait_for(
        lambda: (
            not process.is_alive() or list(work_dir.glob('*/*/iter_*.pth'))
        ),
        'nothing is trained',
        100,
    )
    assert process.is_alive(), said.read_text()
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 130
    assert 'all results and checkpoints are kept' in said.read_text()
    (lock,) = work_dir.glob('*/*/lock')
    with lock.open() as file:
        assert try_lock(file.fileno())
    run('report', work_dir)
    assert '1 waiting' in (work_dir / 'report/summary.md').read_text()

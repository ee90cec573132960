"""What mmengine wrote loads with weights_only on, anything else does not."""

import pathlib
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim.scheduler import OneCycleLR
from mmengine.runner import Runner
from torch.testing import assert_close

import mmdet_retina_plus
from mmdet_retina_plus.synthetic.shapes import make_shapes

NAME = 'retinanet_r18_fpn_shapes'


@pytest.fixture(scope='module')
def shapes(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    make_shapes(folder, num=8, num_val=2, size=128)
    return folder


def options(shapes: pathlib.Path, iterations: int) -> dict:
    """What makes the shipped config a run of seconds on this data."""
    splits = ('train', 'val', 'test')
    return {
        **{
            f'{split}_dataloader.dataset.data_root': str(shapes)
            for split in splits
        },
        **{
            f'{split}_evaluator.ann_file': str(shapes / 'instances_val.json')
            for split in splits[1:]
        },
        'train_dataloader.batch_size': 2,
        'model.bbox_head.loss_bbox.type': 'SelfAdjustingSmoothL1Loss',
        'train_cfg.max_iters': iterations,
        'train_cfg.val_interval': 100,
        'default_hooks.checkpoint.interval': 2,
        'default_hooks.logger.interval': 1,
        'randomness.seed': 0,
    }


def run(shapes, work_dir, iterations: int, resume: bool = False) -> Runner:
    config = Config.fromfile(mmdet_retina_plus.config(NAME))
    config.merge_from_dict(options(shapes, iterations))
    # A schedule that does not depend on where the run ends.
    config.param_scheduler = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=40)
    ]
    config.update(
        work_dir=str(work_dir),
        resume=resume,
        experiment_name=f'{work_dir.name}-{iterations}-{resume}',
    )
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def test_a_resumed_run_equals_an_uninterrupted_one(shapes, tmp_path):
    whole = run(shapes, tmp_path / 'whole', 4)
    run(shapes, tmp_path / 'parts', 2)
    resumed = run(shapes, tmp_path / 'parts', 4, resume=True)
    assert resumed.iter == 4
    expected = whole.model.state_dict()
    assert 'bbox_head.loss_bbox.running_mean' in expected
    for name, value in resumed.model.state_dict().items():
        assert_close(value, expected[name], rtol=0, atol=0, msg=name)


def test_mim_trains_resumes_and_tests(shapes, tmp_path):
    config = mmdet_retina_plus.config(NAME)

    def mim(command: str, iterations: int, *arguments: str) -> str:
        pairs = [
            f'{key}={value}'
            for key, value in options(shapes, iterations).items()
        ]
        result = subprocess.run(
            [
                *(sys.executable, '-m', 'mim', command, 'mmdet', config),
                *('--work-dir', str(tmp_path), *arguments),
                *('--cfg-options', *pairs),
            ],
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    mim('train', 2)
    assert 'resumed' in mim('train', 4, '--resume')
    checkpoint = (tmp_path / 'last_checkpoint').read_text()
    assert checkpoint.endswith('iter_4.pth')
    assert 'Testing finished' in mim('test', 4, '--checkpoint', checkpoint)


def test_log_history_survives_a_checkpoint(tmp_path):
    history = HistoryBuffer([1.0, 2.0, 4.0], [1, 1, 2])
    numbers = [
        np.float64(0.5),
        np.float16(0.5),
        np.uint8(3),
        np.float32(0.5),
        np.int64(3),
        np.bool_(True),
        np.arange(3),
    ]
    torch.save(dict(history=history, numbers=numbers), tmp_path / 'c.pth')
    loaded = torch.load(tmp_path / 'c.pth', weights_only=True)
    assert loaded['history'].statistics('mean') == history.mean()
    assert loaded['history'].statistics('max', 1) == 4
    for value, expected in zip(loaded['numbers'], numbers, strict=True):
        assert value.dtype == expected.dtype
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize('strategy', ['cos', 'linear'])
def test_the_state_of_every_scheduler_survives(strategy, tmp_path):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = OneCycleLR(
        optimizer, eta_max=0.1, total_steps=10, anneal_strategy=strategy
    )
    torch.save(scheduler.state_dict(), tmp_path / 'c.pth')
    loaded = torch.load(tmp_path / 'c.pth')
    assert loaded == scheduler.state_dict()


@pytest.mark.parametrize('core', ['core', '_core'])
def test_arrays_of_any_numpy_load(core, tmp_path):
    """numpy 1 and numpy 2 name their functions differently."""
    torch.save(np.arange(3), tmp_path / 'c.pth')
    with zipfile.ZipFile(tmp_path / 'c.pth') as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / 'd.pth', 'w') as archive:
        for name, content in files.items():
            module = f'numpy.{core}.multiarray'.encode()
            archive.writestr(
                name, content.replace(b'numpy._core.multiarray', module)
            )
    np.testing.assert_array_equal(torch.load(tmp_path / 'd.pth'), np.arange(3))


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'attack',
    [
        lambda path: Calls(pathlib.Path.touch, path),
        lambda path: Calls(eval, f'open({str(path)!r}, "w")'),
        lambda path: Calls(path.touch),
        lambda path: Calls(getattr, HistoryBuffer, '__init__'),
        lambda path: Calls(getattr, 'text', 'format'),
        lambda path: Calls(getattr, np.ndarray, 'tofile'),
        lambda path: Calls(getattr, HistoryBuffer(), 'mean'),
    ],
    ids=[
        *('function', 'eval', 'method', 'history-method', 'text-method'),
        *('array-method', 'instance-method'),
    ],
)
def test_a_checkpoint_that_calls_something_else_is_refused(attack, tmp_path):
    victim = tmp_path / 'created'
    torch.save(dict(meta=attack(victim)), tmp_path / 'bad.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'bad.pth')
    assert not victim.exists()


def test_unpickled_without_the_guard_the_attack_would_work(tmp_path):
    victim = tmp_path / 'created'
    torch.save(Calls(pathlib.Path.touch, victim), tmp_path / 'bad.pth')
    torch.load(tmp_path / 'bad.pth', weights_only=False)
    assert victim.exists()

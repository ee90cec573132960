"""What mmengine wrote loads with weights_only on, anything else does not."""

import pathlib
import pickle
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim.scheduler import OneCycleLR
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner.checkpoint import load_from_http

import mmdet_retina_plus
from mmdet_retina_plus.synthetic.shapes import make_shapes
from tests.helpers.hostile_pickles import ATTACKS, Calls

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


def test_mim_trains_resumes_and_tests(shapes, tmp_path):
    config = mmdet_retina_plus.config(NAME)
    # mim names the distribution: mmdet, or onedl-mmdetection.
    (mmdet,) = set(packages_distributions()['mmdet'])

    def mim(command: str, iterations: int, *arguments: str) -> str:
        pairs = [
            f'{key}={value}'
            for key, value in options(shapes, iterations).items()
        ]
        result = subprocess.run(
            [
                *(sys.executable, '-m', 'mim', command, mmdet, config),
                *('--work-dir', str(tmp_path), *arguments),
                *('--cfg-options', *pairs),
            ],
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    # In this process, since each start of mim takes ten seconds.
    first = Config.fromfile(config)
    first.merge_from_dict(options(shapes, 2))
    first.work_dir = str(tmp_path)
    Runner.from_cfg(first).train()
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


def load_from_address(file: str) -> dict:
    path = pathlib.Path(file)
    return load_from_http(path.as_uri(), model_dir=str(path.parent / 'hub'))


@pytest.mark.parametrize('attack', ATTACKS)
@pytest.mark.parametrize(
    'load',
    [torch.load, CheckpointLoader.load_checkpoint, load_from_address],
)
def test_a_checkpoint_that_calls_something_else_is_refused(
    attack, load, tmp_path
):
    victim = tmp_path / 'created'
    bad = tmp_path / 'bad.pth'
    torch.save(dict(meta=ATTACKS[attack](victim)), bad)
    with pytest.raises(pickle.UnpicklingError):
        load(str(bad))
    assert not victim.exists()


@pytest.mark.parametrize(
    'load', [CheckpointLoader.load_checkpoint, load_from_address]
)
def test_torchs_variable_does_not_make_mmengines_loaders_unsafe(
    load, tmp_path, monkeypatch
):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    victim = tmp_path / 'created'
    torch.save(Calls(pathlib.Path.touch, victim), tmp_path / 'bad.pth')
    with pytest.raises(pickle.UnpicklingError):
        load(str(tmp_path / 'bad.pth'))
    assert not victim.exists()


@pytest.mark.parametrize('is_zip', [True, False])
def test_a_downloaded_checkpoint_loads(is_zip, tmp_path):
    """Also in the format of torch < 1.6, as pretrained backbones may be."""
    content = dict(weight=torch.ones(2), history=HistoryBuffer([1.0], [1]))
    torch.save(
        content, tmp_path / 'c.pth', _use_new_zipfile_serialization=is_zip
    )
    loaded = load_from_address(str(tmp_path / 'c.pth'))
    assert torch.equal(loaded['weight'], torch.ones(2))
    assert loaded['history'].mean() == 1


def test_a_loaded_array_is_saved_as_numpys_own(tmp_path):
    array = np.arange(3, dtype='>i4')
    torch.save(array, tmp_path / 'c.pth')
    torch.save(torch.load(tmp_path / 'c.pth'), tmp_path / 'd.pth')
    saved = torch.load(tmp_path / 'd.pth', weights_only=False)
    assert type(saved) is np.ndarray
    np.testing.assert_array_equal(saved, array)


def test_unpickled_without_the_guard_the_attack_would_work(tmp_path):
    victim = tmp_path / 'created'
    torch.save(Calls(pathlib.Path.touch, victim), tmp_path / 'bad.pth')
    torch.load(tmp_path / 'bad.pth', weights_only=False)
    assert victim.exists()

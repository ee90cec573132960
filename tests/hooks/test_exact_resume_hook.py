"""A training that is killed and resumed is the uninterrupted one."""

import errno
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.drills.kill_resume import drill_config, outcome
from mmdet_retina_plus.synthetic.shapes import make_shapes
from tests.helpers.killed_trainings import (
    Killed,
    Killer,
    NoisyData,
    differences,
    noisy_config,
    train,
)
from tests.helpers.processes import in_two_processes

EPOCHS = dict(
    train_cfg=dict(_delete_=True, by_epoch=True, max_epochs=3, val_interval=1),
    default_hooks__checkpoint=dict(by_epoch=True, interval=1),
    train_dataloader__sampler__type='DefaultSampler',
)
WORKERS = dict(train_dataloader__num_workers=2)
PERSISTENT = dict(
    WORKERS,
    train_dataloader__persistent_workers=True,
    val_dataloader=dict(num_workers=1, persistent_workers=True),
)
FINITE = dict(train_dataloader__sampler__type='DefaultSampler')
BUCKETS = dict(
    train_dataloader__batch_sampler=dict(type='AspectRatioBatchSampler')
)
ACCUMULATION = dict(
    optim_wrapper__accumulative_counts=2,
    default_hooks__checkpoint__interval=3,
)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """mmengine pauses for two seconds when a finite sampler begins anew."""
    clock = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr('mmengine.runner.loops.time', clock)


@pytest.mark.parametrize(
    ('changes', 'moment', 'at'),
    [
        (dict(), 'before_train_iter', 3),
        (dict(), 'after_val_epoch', 4),
        (dict(), 'before_val_epoch', 8),
        (WORKERS, 'before_train_iter', 5),
        (BUCKETS, 'before_train_iter', 5),
        (ACCUMULATION, 'before_train_iter', 5),
        (FINITE, 'before_train_iter', 7),
        (FINITE | WORKERS, 'before_train_iter', 7),
        (FINITE | PERSISTENT, 'before_train_iter', 7),
        (EPOCHS, 'before_train_iter', 7),
        (EPOCHS | WORKERS, 'before_train_iter', 7),
        (EPOCHS | PERSISTENT, 'before_train_iter', 7),
        (EPOCHS, 'before_val_epoch', 15),
    ],
)
def test_a_killed_and_resumed_training_is_the_uninterrupted_one(
    changes, moment, at, tmp_path
):
    """The checkpoint knows the seed, the resuming command does not."""
    config = noisy_config(**changes)
    whole = train(config, tmp_path / 'whole')
    killed = train(config, tmp_path / 'parts', Killer(moment, at))
    assert list(differences(killed, whole))
    resumed = train(
        config, tmp_path / 'parts', resume=True, randomness=dict(seed=None)
    )
    assert list(differences(resumed, whole)) == []


def plain(value: Any) -> Iterator[type]:
    """Types of the values inside of containers."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        for part in value:
            yield from plain(part)
    else:
        yield type(value)


@pytest.mark.parametrize('changes', [dict(), EPOCHS | PERSISTENT])
def test_the_hook_changes_nothing_of_a_training(changes, tmp_path):
    config = noisy_config(**changes)
    with_hook = train(config, tmp_path / 'with')
    config.custom_hooks = config.custom_hooks[1:]
    without = train(config, tmp_path / 'without')
    states = with_hook.pop('exact_resume')
    assert set(plain(states)) <= {
        *(int, float, str, bool, type(None), torch.Tensor)
    }
    assert list(differences(with_hook, without)) == []


@pytest.mark.parametrize(
    ('changes', 'resumed_with', 'message'),
    [
        (dict(), WORKERS, 'num_workers=0, this training has 2'),
        (dict(), dict(train_dataloader__batch_size=3), 'batch_size=2'),
        (
            EPOCHS | dict(default_hooks__checkpoint=dict(by_epoch=False)),
            dict(),
            'in the middle of an epoch',
        ),
        (dict(custom_hooks=[]), dict(), 'has no random states'),
    ],
)
def test_a_resume_that_cannot_be_exact_says_so(
    changes, resumed_with, message, tmp_path, capsys
):
    config = noisy_config(**changes)
    train(config, tmp_path, Killer('before_train_iter', 2))
    config = noisy_config(**{**changes, **resumed_with})
    config.custom_hooks = [dict(type='ExactResumeHook')]
    config.log_level = 'WARNING'
    train(config, tmp_path, resume=True)
    assert message in capsys.readouterr().out


def test_a_killed_write_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    """Though mmengine keeps only one."""
    config = noisy_config(default_hooks__checkpoint__max_keep_ckpts=1)
    whole = train(config, tmp_path / 'whole')
    fsync = 'mmdet_retina_plus.common.output_files.os.fsync'
    writes = iter(range(9))

    def kill(handle: int) -> None:
        # That before flushed a file, and its folder.
        if next(writes) == 2:
            raise Killed

    parts = tmp_path / 'parts'
    with monkeypatch.context() as context:
        context.setattr(fsync, kill)
        train(config, parts, Killer('before_run', 9))
    assert {path.name for path in parts.glob('iter_*')} == {'iter_2.pth'}
    resumed = train(config, parts, resume=True)
    assert list(differences(resumed, whole)) == []


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    """A limit on files stands in for the disk."""
    config = noisy_config(default_hooks__checkpoint__max_keep_ckpts=1)
    train(config, tmp_path, Killer('before_train_iter', 3))
    size = (tmp_path / 'iter_2.pth').stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        with pytest.raises(OSError, match='Cannot write checkpoint') as error:
            train(config, tmp_path, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert error.value.errno == errno.EFBIG
    # As from a notebook, which may train something else next.
    train(config, tmp_path / 'other')
    assert {path.name for path in tmp_path.glob('*iter_*')} == {'iter_2.pth'}
    assert train(config, tmp_path, resume=True)['meta']['iter'] == 8


@pytest.mark.parametrize(
    'broken',
    [
        lambda content: b'',
        lambda content: content[:1000],
        lambda content: content[:8000] + bytes(64) + content[8064:],
    ],
    ids=['empty', 'cut', 'damaged'],
)
def test_a_broken_newest_checkpoint_falls_back_to_the_one_before(
    broken: Callable[[bytes], bytes], tmp_path, capsys
):
    """By its number: copies have times of their own."""
    config = noisy_config(log_level='WARNING')
    whole = train(config, tmp_path / 'whole')
    parts = tmp_path / 'parts'
    train(config, parts, Killer('before_train_iter', 7))
    newest = parts / 'iter_6.pth'
    newest.write_bytes(broken(newest.read_bytes()))
    (parts / 'iter_2.pth').touch()
    torch.save(dict(state_dict={}), parts / 'iter_6-1a2b3c4d.pth')
    resumed = train(config, parts, resume=True)
    assert f'resumes from {parts / "iter_4.pth"}' in capsys.readouterr().out
    assert list(differences(resumed, whole)) == []


def test_broken_checkpoints_without_a_whole_one_are_refused(tmp_path):
    config = noisy_config()
    train(config, tmp_path, Killer('before_train_iter', 3))
    newest = tmp_path / 'iter_2.pth'
    newest.write_bytes(b'PK')
    for _ in range(2):
        with pytest.raises(ValueError, match='has no complete checkpoint'):
            train(config, tmp_path, resume=True)
        (tmp_path / 'last_checkpoint').unlink(missing_ok=True)
    with pytest.raises(ValueError, match='resume from another'):
        train(config, tmp_path, resume=True, load_from=str(newest))


def test_weights_alone_are_no_checkpoint_to_resume_from(tmp_path):
    torch.save(dict(state_dict={}), tmp_path / 'iter_8-1a2b3c4d.pth')
    named = str(tmp_path / 'iter_8-1a2b3c4d.pth')
    with pytest.raises(ValueError, match='load_from instead of resume'):
        train(noisy_config(), tmp_path, resume=True, load_from=named)


def test_the_hook_twice_is_refused(tmp_path):
    config = noisy_config(custom_hooks=[dict(type='ExactResumeHook')] * 2)
    with pytest.raises(ValueError, match='twice: remove one'):
        train(config, tmp_path)


def test_a_resume_inside_an_epoch_validates_at_its_end(tmp_path):
    """And not at once, which would be of no epoch."""
    changes = EPOCHS | dict(default_hooks__checkpoint=dict(by_epoch=False))
    config = noisy_config(**changes)
    train(config, tmp_path, Killer('before_train_iter', 8))
    resumed = train(config, tmp_path, resume=True)
    scores = resumed['message_hub']['log_scalars']['val/mean/value']
    assert len(scores.data[0]) == 3


@pytest.mark.parametrize('out_dir', [None, 'out'])
def test_a_moved_training_replaces_its_own_best_checkpoint(out_dir, tmp_path):
    """And leaves those of the training that it was copied from."""
    out = tmp_path / (out_dir or '')
    changes = dict(default_hooks__checkpoint__out_dir=str(out))
    config = noisy_config(**changes if out_dir else {})
    train(config, tmp_path / 'first', Killer('before_train_iter', 5))
    shutil.copytree(tmp_path / 'first', tmp_path / 'second', symlinks=True)
    shutil.copytree(out / 'first', out / 'second', dirs_exist_ok=True)
    before = {path.name for path in (out / 'first').glob('*.pth')}
    train(config, tmp_path / 'second', resume=True)
    named = str(out / 'first' / 'iter_4.pth')
    train(config, tmp_path / 'third', resume=True, load_from=named)
    assert {path.name for path in (out / 'first').glob('*.pth')} == before
    for name in ('second', 'third'):
        (best,) = (out / name).glob('best_*')
        assert best.name == 'best_mean_value_iter_8.pth'


def test_a_shipped_config_resumes_exactly(tmp_path):
    """With workers, mixed images, EMA, a loss that adjusts itself, and mining
    that begins after the third step.
    """
    make_shapes(tmp_path / 'data', num=8, num_val=2, size=96)
    config = drill_config(tmp_path, workers=2, steps=4)
    config.train_cfg.val_interval = 2
    config.default_hooks.checkpoint.interval = 2
    # Visualizers of one name write into one folder.
    del config.visualizer['name']
    config.model.bbox_head.mining = [
        dict(type='PredictedIoUIgnore', iou_thr=0.1, warmup_iters=3)
    ]
    train(config, tmp_path / 'whole')
    train(config, tmp_path / 'parts', Killer('before_train_iter', 3))
    train(config, tmp_path / 'parts', resume=True)
    whole, resumed = (outcome(tmp_path / name) for name in ('whole', 'parts'))
    assert list(differences(resumed, whole)) == []


def train_twice(rank: int, folder: Path) -> tuple[list[int], list[str]]:
    """Images of a training of two processes, and where its resume differs."""
    config = noisy_config(
        randomness__diff_rank_seed=True,
        val_dataloader__dataset__length=4,
    )
    NoisyData.read.clear()
    whole = train(config, folder / 'whole')
    order = NoisyData.read.pop(10)
    train(config, folder / 'parts', Killer('before_train_iter', 5))
    resumed = train(config, folder / 'parts', resume=True)
    states = resumed['exact_resume']['processes']
    assert list(differences(*(state['random'] for state in states)))
    # DistributedDataParallel leaves them to each process.
    assert {*states[1]['buffers']} == {
        'model.module.drawn',
        'ema.module.drawn',
    }
    config = noisy_config(**EPOCHS)
    train(config, folder / 'epochs', Killer('before_val_epoch', 3))
    return order, list(differences(resumed, whole))


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    """Folder of a training of two, and the order of its images."""
    folder = tmp_path_factory.mktemp('two')
    ranks = in_two_processes(folder, train_twice, folder)
    assert [found for _, found in ranks] == [[], []]
    orders = [order for order, _ in ranks]
    return folder / 'whole', [
        i for pair in zip(*orders, strict=True) for i in pair
    ]


@pytest.mark.parametrize(('batch_size', 'images'), [(4, 8), (2, 4), (3, 6)])
def test_one_process_goes_on_in_the_order_of_two(
    two_processes, batch_size, images, tmp_path, capsys
):
    """After 6 steps with 4 images; random states are those of a start."""
    folder, order = two_processes
    config = noisy_config(
        log_level='WARNING',
        train_dataloader__batch_size=batch_size,
        val_dataloader__dataset__length=4,
    )
    NoisyData.read.clear()
    resumed = train(
        config, tmp_path, resume=True, load_from=str(folder / 'iter_6.pth')
    )
    assert resumed['meta']['iter'] == 8
    assert NoisyData.read[10] == order[6 * 4 :][:images]
    output = capsys.readouterr().out
    assert 'saved with world_size=2, this training has 1' in output
    assert 'images continue in order, random states restart' in output


def test_one_process_goes_on_with_the_epoch_after_that_of_two(
    two_processes, tmp_path
):
    """Whose validation comes first."""
    folder, _ = two_processes
    config = noisy_config(**EPOCHS)
    NoisyData.read.clear()
    train(config, tmp_path / 'whole')
    order = NoisyData.read.pop(10)
    named = str(folder.parent / 'epochs' / 'epoch_1.pth')
    resumed = train(config, tmp_path, resume=True, load_from=named)
    trained, validated = order[10:20], [*range(10)]
    assert NoisyData.read[10][:20] == validated + order[20:30]
    assert trained == validated
    assert resumed['meta']['epoch'] == 3


def resume_as_one_of_two(rank: int, folder: Path) -> list[int]:
    config = noisy_config(val_dataloader__dataset__length=4)
    NoisyData.read.clear()
    named = str(folder / 'one' / 'iter_6.pth')
    train(config, folder / 'two', resume=True, load_from=named)
    return NoisyData.read[10]


def test_two_processes_go_on_in_the_order_of_one(tmp_path):
    """After 6 steps with 2 images, 2 with 4."""
    config = noisy_config(
        train_cfg__max_iters=10, val_dataloader__dataset__length=4
    )
    NoisyData.read.clear()
    train(config, tmp_path / 'one')
    order = NoisyData.read[10]
    ranks = in_two_processes(tmp_path, resume_as_one_of_two, tmp_path)
    assert [i for pair in zip(*ranks, strict=True) for i in pair] == order[12:]

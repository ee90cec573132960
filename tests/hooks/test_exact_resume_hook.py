"""A training that is killed and resumed is the uninterrupted one."""

import logging
from types import SimpleNamespace

import pytest
import torch

from tests.helpers.killed_trainings import (
    Killer,
    differences,
    noisy_config,
    train,
)

EPOCHS = dict(
    train_cfg=dict(
        _delete_=True, by_epoch=True, max_epochs=3, val_interval=1
    ),
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

"""Detectors that train in several processes, of which one may die."""

import os
import signal
from pathlib import Path

import torch

from tests.helpers.distributed_steps import (
    distance,
    joined_gradient,
    narrow,
    train,
)
from tests.helpers.killed_trainings import (
    Killer,
    differences,
    noisy_config,
)
from tests.helpers.killed_trainings import train as train_noisy
from tests.helpers.processes import exit_codes, in_processes
from tests.helpers.shipped_configs import load

NAMES = {
    'retinamask_r18_fpn_shapes': True,
    'retinaunet_r18_fpn_shapes': False,
    'lab/assigner_atss': True,
}
"""Whether several processes are one with all their images. Dice of a batch is
not the mean of those of its parts."""


def train_all(rank: int, configs: list) -> list[tuple]:
    return [train(rank, config) for config in configs]


def test_processes_train_as_one_with_all_images(tmp_path):
    """And stay equal where some have no objects, in one graph of losses."""
    configs = [narrow(load(name)) for name in NAMES]
    ranks = in_processes(2, tmp_path, train_all, configs)
    for name, config, *found in zip(NAMES, configs, *ranks, strict=True):
        (gradient, weights), (_, others) = found
        assert torch.equal(weights, others), name
        assert weights.isfinite().all(), name
        if NAMES[name]:
            assert distance(gradient, joined_gradient(config, 2)) < 1e-5, name


class Death(Killer):
    """SIGKILL for this process."""

    def kill(self, runner, **kwargs):
        if runner.iter >= self.at:
            os.kill(os.getpid(), signal.SIGKILL)


CONFIG = noisy_config(randomness__diff_rank_seed=True)


def train_until_one_dies(rank: int, folder: Path) -> None:
    death = Death('before_train_iter', 5) if rank else None
    train_noisy(CONFIG, folder / 'parts', death)


def resume_and_train_anew(rank: int, folder: Path) -> list[str]:
    resumed = train_noisy(CONFIG, folder / 'parts', resume=True)
    return list(differences(resumed, train_noisy(CONFIG, folder / 'whole')))


def test_a_process_that_dies_ends_the_other_and_both_resume(tmp_path):
    meeting = tmp_path / 'first'
    meeting.mkdir()
    codes = exit_codes(2, meeting, train_until_one_dies, tmp_path)
    assert codes == [1, -signal.SIGKILL]
    found = in_processes(2, tmp_path, resume_and_train_anew, tmp_path)
    assert found == [[], []]

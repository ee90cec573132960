"""Threads, seeds and a folder of its own for every test."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

# Small tensors gain nothing from threads, which on busy cores spin for ages;
# the second line is for the processes that tests start.
torch.set_num_threads(1)
os.environ['OMP_NUM_THREADS'] = '1'


@pytest.fixture(autouse=True)
def seeded() -> None:
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads data/ or work_dirs/ of the clone that it runs in."""
    monkeypatch.chdir(tmp_path)

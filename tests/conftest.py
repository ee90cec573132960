"""Threads, seeds and a folder of its own for every test."""

import functools
import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import mmengine.config
import mmengine.dataset
import numpy as np
import pytest
import torch
from yapf.yapflib import yapf_api

# Small tensors gain nothing from threads, which on busy cores spin for ages;
# the second line is for the processes that tests start.
torch.set_num_threads(1)
os.environ['OMP_NUM_THREADS'] = '1'

HANDLERS = {
    number: signal.getsignal(number)
    for number in (signal.SIGINT, signal.SIGTERM)
}

# Without a card Triton's interpreter runs the kernels, which is settled when
# they are defined, so before the package is imported. Nothing else of the
# suite uses Triton.
if not torch.cuda.is_available():
    os.environ['TRITON_INTERPRET'] = '1'

# For every `mmdet::` base mmengine looks for mmdet's distribution and reads a
# hundred files that list its configs: most of the time that a config takes.
for module, name in (
    (mmengine.config.config, 'is_installed'),
    (mmengine.config.utils, 'load'),
):
    setattr(module, name, functools.cache(getattr(module, name)))

# Every runner writes its config in several places, and laying out the text
# takes longer than a short training. onedl-mmengine imports the function where
# it needs it.
for module in (mmengine.config.config, yapf_api):
    module.FormatCode = lambda text, **_: (text, True)


# Every data set collects garbage, which visits all modules and tests.
mmengine.dataset.base_dataset.gc = SimpleNamespace(collect=lambda: 0)


def pytest_collection_finish() -> None:
    """Collections of garbage need not visit modules and tests."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs on a card where there is one: `pytest -m cuda`."""
    for item in items:
        if {'device', 'card'} & set(getattr(item, 'fixturenames', ())):
            item.add_marker(pytest.mark.cuda)


@pytest.fixture(scope='session')
def device() -> torch.device:
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


@pytest.fixture(scope='session')
def card(device: torch.device) -> torch.device:
    if device.type != 'cuda':
        pytest.skip('only a GPU can show this')
    return device


@pytest.fixture(autouse=True)
def seeded() -> None:
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads data/ or work_dirs/ of the clone that it runs in."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Commands handle signals as the process that they have for themselves.

    Forked workers would inherit that, and not end when a pool of theirs does.
    A module's fixture that runs a command does so before this one.
    """
    yield
    for number, handler in HANDLERS.items():
        signal.signal(number, handler)

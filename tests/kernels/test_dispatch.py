"""Kernels run where Triton can, and nowhere else."""

import shutil
import sysconfig
from types import SimpleNamespace

import pytest
import torch

from mmdet_retina_plus.kernels import dispatch


def test_triton_needs_a_compiler_and_headers(monkeypatch, tmp_path):
    monkeypatch.setattr(dispatch, 'find_spec', lambda name: name)
    monkeypatch.setattr(shutil, 'which', lambda name: name)
    monkeypatch.setattr(sysconfig, 'get_path', lambda name: str(tmp_path))
    assert dispatch.missing() == "Triton needs Python's headers"
    (tmp_path / 'Python.h').touch()
    assert dispatch.missing() == ''
    monkeypatch.setattr(shutil, 'which', lambda name: None)
    assert dispatch.missing() == 'Triton needs a C compiler'
    monkeypatch.setattr(dispatch, 'find_spec', lambda name: None)
    assert dispatch.missing() == 'Triton is not installed'


def test_a_cpu_takes_the_torch_path():
    assert not dispatch.usable(torch.zeros(1))
    assert not dispatch.usable(torch.zeros(1), None)


@pytest.mark.parametrize(
    ('capability', 'expected'), [((6, 1), False), ((7, 0), True)]
)
def test_an_old_gpu_takes_the_torch_path(monkeypatch, capability, expected):
    logits = SimpleNamespace(
        is_cuda=True, dtype=torch.float32, device=capability
    )
    monkeypatch.setattr(dispatch, 'USES_TRITON', True)
    monkeypatch.setattr(
        torch.cuda, 'get_device_capability', lambda device: device
    )
    assert dispatch.usable(logits) == expected

"""What a machine lacks for a build is said in one line, with the fix."""

import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmdet_retina_plus.toolchain import machine
from mmdet_retina_plus.toolchain.machine import (
    check_compiler,
    check_disk,
    check_nvcc,
    ensure_folder,
)


@pytest.fixture
def program(tmp_path):
    """Write a program that prints a text and exits with a status."""

    def write(name: str, text: str, status: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{text}"\nexit {status}\n')
        path.chmod(0o755)
        return path

    return write


def reason(check, *arguments) -> str:
    with pytest.raises(ValueError) as error:
        check(*arguments)
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('standard', [17, 20])
def test_the_compiler_here_will_do(standard):
    check_compiler(standard)


@pytest.mark.parametrize('name', ['no-such-compiler', ' '])
def test_a_missing_compiler_is_named(monkeypatch, name):
    monkeypatch.setenv('CXX', name)
    assert 'install g++' in reason(check_compiler, 17)
    assert '--no-compiler' in reason(check_compiler, 17)
    assert 'make setup' in reason(check_compiler, 17, '`make setup`')


def test_an_old_compiler_is_named_with_the_standard(monkeypatch, program):
    old = program('c++', 'g++ (Debian) 7.5.0', status=1)
    monkeypatch.setenv('CXX', str(old))
    text = reason(check_compiler, 20)
    assert 'g++ (Debian) 7.5.0' in text
    assert 'C++20' in text
    assert 'install g++ 11' in text


def test_a_compiler_that_stops_before_the_standard_is_too_old(monkeypatch):
    """g++ 10 accepts -std=c++20, and says so of a draft of the standard."""
    monkeypatch.setenv('CXX', 'c++ -U__cplusplus -D__cplusplus=201709L')
    assert 'C++20' in reason(check_compiler, 20)
    check_compiler(17)


def test_missing_headers_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, 'get_path', lambda name: str(tmp_path))
    assert '-dev' in reason(check_compiler, 17)


def test_a_small_disk_is_named(monkeypatch, tmp_path):
    usage = SimpleNamespace(free=1.04e9)
    monkeypatch.setattr(machine.shutil, 'disk_usage', lambda path: usage)
    assert '1.0 GB are free' in reason(check_disk, tmp_path, 4)
    check_disk(tmp_path, 1)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / 'file').touch()
    folder = tmp_path / 'file' / 'folder'
    assert reason(ensure_folder, folder, 'another') == (
        f'Cannot write into {folder}: use another'
    )
    ensure_folder(tmp_path / 'new' / 'folder', 'another')
    assert (tmp_path / 'new' / 'folder').is_dir()


def test_a_missing_nvcc_is_named(tmp_path):
    for home in (None, str(tmp_path)):
        text = reason(check_nvcc, '13.0', home)
        assert 'CUDA toolkit 13.0' in text
        assert 'drop --cuda and export CUDA_VISIBLE_DEVICES=-1' in text


def test_nvcc_of_another_cuda_is_named(tmp_path, program):
    program('bin/nvcc', 'Cuda compilation tools, release 12.4, V12.4.1')
    check_nvcc('12.8', str(tmp_path))
    text = reason(check_nvcc, '13.0', str(tmp_path))
    assert 'CUDA 12.4' in text
    assert 'toolkit 13.0' in text

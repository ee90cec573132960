"""Every kernel compiles for cards that are not there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FUSED = re.compile(r'fma\.|mad\.\S*f(32|64)')
# Without `.rn` the assembler may fuse.
FREE = re.compile(r'(mul|add|sub)\.(ftz\.)?f(32|64)')


ARCHITECTURES = '80', '90'


@pytest.fixture(scope='module')
def compiled(tmp_path_factory) -> dict[str, dict[str, list[list[str]]]]:
    """Opcodes of each kernel's variants, by architecture."""
    cache = str(tmp_path_factory.mktemp('triton'))
    environment = dict(os.environ, TRITON_CACHE_DIR=cache)
    environment.pop('TRITON_INTERPRET', None)
    result = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name('compile_all.py')),
            *ARCHITECTURES,
        ],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(params=ARCHITECTURES)
def opcodes(request, compiled) -> dict[str, list[list[str]]]:
    return compiled[request.param]


def test_every_kernel_compiles(opcodes):
    assert len(opcodes) >= 8
    assert all(opcodes.values())


def test_matchers_fuse_no_multiplication_with_an_addition(opcodes):
    """Rounding once where mmdet rounds twice would change bits."""
    matchers = {
        name: sets
        for name, sets in opcodes.items()
        if not name.startswith('sigmoid_loss')
    }
    seen = {code for sets in matchers.values() for one in sets for code in one}
    assert {'div.rn.f32', 'sqrt.rn.f32', 'mul.rn.f32'} <= seen
    assert not list(filter(FUSED.match, seen))
    assert not list(filter(FREE.match, seen))
    # The check would see it: a loss may fuse.
    assert any(
        FUSED.match(code)
        for one in opcodes['sigmoid_loss._loss_kernel']
        for code in one
    )

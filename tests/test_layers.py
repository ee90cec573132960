"""The layer rule: which room of the package imports which, and what else.

Rooms of registered modules meet in mmdet's registries, and values in configs.
An import inside a function counts as one at the top does.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmdet_retina_plus import common
from tests.helpers.imports import PACKAGE, UNREADABLE, Import, imports

FOLDER = Path(__file__).parent.parent / PACKAGE
ROOT = ''
"""The room of the modules that lie in no folder of the package."""

SHARED = {'common', 'kernels'}
REGISTERED = {
    'assigners',
    'backbones',
    'detectors',
    'evaluation',
    'fusion',
    'heads',
    'hooks',
    'losses',
    'mining',
    'necks',
    'runners',
    'transforms',
    'visualization',
}
TOOLS = {
    'analysis',
    'authoring',
    'doctor',
    'inference',
    'sweeps',
    'synthetic',
    'toolchain',
}
MAY_IMPORT: dict[str, set[str]] = {
    **{room: set() for room in SHARED},
    **dict.fromkeys(REGISTERED, SHARED),
    **dict.fromkeys(TOOLS, SHARED | REGISTERED),
    'cli': {ROOT} | SHARED | REGISTERED | TOOLS,
    ROOT: SHARED | REGISTERED,
}
"""What a room may import beside itself; no room imports `cli`."""

HOST = {'mmcv', 'mmdet', 'mmengine', 'numpy', 'torch'}
EXTERNAL: dict[str, set[str]] = {
    'common': HOST | {'pycocotools'},
    **dict.fromkeys(REGISTERED, HOST),
    'evaluation': HOST | {'faster_coco_eval', 'pycocotools'},
    'kernels': {'torch', 'triton'},
    'transforms': HOST | {'cv2'},
    'visualization': HOST | {'PIL'},
    ROOT: HOST | {'packaging'},
}
"""What a room imports of others beside Python's own; the rest may any."""

BESIDE = {'benchmarks', 'configs', 'retina_plus_command', 'scripts', 'tests'}
"""What lies beside the package, and imports it."""

EXEMPT = {
    # A config is read once all modules are registered.
    ('common/config_file.py', PACKAGE),
    ('common/config_file.py', f'{PACKAGE}.register_all_modules'),
    # It tries packages that a config needs.
    ('doctor/weights.py', UNREADABLE),
}
"""Imports inside functions of a module that its room may not have."""

HEAVY = {'loss_calls', 'trained_detectors'}
"""Modules of `common` that import the hosts as they load."""
HEAVY_IMPORTS = (
    'mmcv',
    'mmdet',
    'mmengine',
    'torch',
    *(f'{PACKAGE}.common.{name}' for name in sorted(HEAVY)),
)


def room_of(name: str) -> str:
    """The room of a module, or of what is in it, by its dotted name."""
    first = name.split('.')[1:2]
    return first[0] if first and first[0] in MAY_IMPORT else ROOT


def package_of(module: str) -> str:
    """Dotted package of a module, whose path is from that of ours on."""
    return '.'.join((PACKAGE, *Path(module).parent.parts))


def may(room: str, name: str) -> bool:
    """Whether a room's modules may import a name."""
    first = name.split('.')[0]
    if first == PACKAGE:
        return room_of(name) in {room, *MAY_IMPORT[room]}
    if first in BESIDE or name == UNREADABLE:
        return False
    known = first in sys.stdlib_module_names
    return known or room not in EXTERNAL or first in EXTERNAL[room]


def refused(source: str, module: str) -> Iterator[str]:
    """Imports of a module that the rule forbids.

    Args:
        source: Source text of the module.
        module: Its path from the folder of the package on.
    """
    package = package_of(module)
    for found in imports(source, package):
        exempt = found.late and (module, found.name) in EXEMPT
        if not exempt and not may(room_of(package), found.name):
            yield f'{module}:{found.line} imports {found.name}'


def heavy(source: str, module: str) -> list[Import]:
    """Imports of the hosts while a module loads, or of what does so."""
    return [
        found
        for found in imports(source, package_of(module))
        if not found.late
        and any(f'{found.name}.'.startswith(f'{x}.') for x in HEAVY_IMPORTS)
    ]


SOURCES = {
    path.relative_to(FOLDER).as_posix(): path.read_text()
    for path in sorted(FOLDER.rglob('*.py'))
}
OF_COMMON = {
    Path(module).stem: source
    for module, source in SOURCES.items()
    if module.startswith('common/')
}


def test_every_room_has_a_layer():
    """A new folder is placed in the rule, and in the docs, by its author."""
    folders = {module.split('/')[0] for module in SOURCES if '/' in module}
    assert folders <= MAY_IMPORT.keys()


@pytest.mark.parametrize('room', sorted(MAY_IMPORT))
def test_a_room_imports_what_its_layer_may(room):
    assert [
        line
        for module, source in SOURCES.items()
        if room_of(package_of(module)) == room
        for line in refused(source, module)
    ] == []


@pytest.mark.parametrize(
    ('module', 'source'),
    [
        ('losses/a.py', 'from mmdet_retina_plus.heads import MaskRoIHead'),
        ('losses/a.py', 'from ..heads.mask_roi_head import MaskRoIHead'),
        ('losses/a.py', 'from .. import heads'),
        ('losses/a.py', 'def f():\n    import mmdet_retina_plus.heads'),
        ('losses/a.py', 'import mmdet_retina_plus'),
        ('losses/a.py', "import_module('.heads', 'mmdet_retina_plus')"),
        ('losses/a.py', "importlib.import_module('..heads', __package__)"),
        ('losses/a.py', "__import__('mmdet_retina_plus').heads"),
        ('losses/a.py', "import_module(f'mmdet_retina_plus.{room}')"),
        ('losses/a.py', "import_module(name='mmdet_retina_plus')"),
        ('losses/a.py', "import_module('rich.table')"),
        ('losses/a.py', 'import click'),
        ('losses/a.py', 'def f():\n    from rich import print'),
        ('losses/a.py', 'import optuna.trial'),
        ('transforms/a.py', 'import pycocotools'),
        ('kernels/a.py', 'from mmdet.structures.bbox import bbox_overlaps'),
        ('kernels/a.py', 'import mmcv.ops'),
        ('kernels/a.py', 'from mmdet_retina_plus.common import numbers'),
        ('common/a.py', 'import mmdet_retina_plus'),
        ('common/a.py', 'import_module(f"mmdet_retina_plus.heads.{name}")'),
        ('common/a.py', 'def f():\n    import mmdet_retina_plus'),
        ('common/a.py', 'def f():\n    from mmdet_retina_plus import compat'),
        (
            'common/config_file.py',
            'def f():\n    import mmdet_retina_plus as m\n    m.heads',
        ),
        (
            'common/config_file.py',
            'def f():\n    from mmdet_retina_plus import compat',
        ),
        ('common/config_file.py', 'import mmdet_retina_plus'),
        ('doctor/a.py', 'from mmdet_retina_plus.sweeps.spec import Spec'),
        ('doctor/a.py', 'from mmdet_retina_plus.toolchain import build'),
        ('doctor/a.py', 'import_module(name)'),
        ('authoring/a.py', 'from mmdet_retina_plus.doctor import facts'),
        ('toolchain/a.py', 'from ..authoring import templates'),
        ('inference/a.py', 'from mmdet_retina_plus.cli import options'),
        ('inference/a.py', 'import retina_plus_command'),
        ('sweeps/a.py', 'from tests.helpers import models'),
        ('cli/a.py', 'from retina_plus_command import main'),
        ('a.py', 'from .cli.main import main'),
    ],
)
def test_the_rule_finds(module, source):
    assert list(refused(source, module))


@pytest.mark.parametrize(
    ('module', 'source'),
    [
        (
            'common/config_file.py',
            'def f():\n'
            '    import mmdet_retina_plus\n'
            '    mmdet_retina_plus.register_all_modules()',
        ),
        ('cli/a.py', "import_module(f'mmdet_retina_plus.cli.{name}')"),
        ('sweeps/a.py', 'import optuna'),
        ('kernels/a.py', 'import triton'),
        ('heads/a.py', 'from . import level_sizes'),
        ('heads/a.py', 'from ..kernels.boxes import iou'),
        ('toolchain/a.py', 'from . import build'),
    ],
)
def test_the_rule_allows(module, source):
    assert list(refused(source, module)) == []


@pytest.mark.parametrize('name', OF_COMMON)
def test_modules_of_common_load_without_the_hosts_but_for_the_heavy(name):
    found = heavy(OF_COMMON[name], f'common/{name}.py')
    assert bool(found) == (name in HEAVY), found


@pytest.mark.parametrize(
    'source',
    [
        'import torch, mmdet',
        'from mmengine.config import Config',
        'if True:\n    import mmcv.ops',
        'from .trained_detectors import load_detectors',
        'from . import loss_calls',
        'from mmdet_retina_plus.common import loss_calls',
    ],
)
def test_a_heavy_import_is_found(source):
    assert heavy(source, 'common/text.py')
    body = source.replace('\n', '\n    ')
    assert not heavy(f'def f():\n    {body}', 'common/text.py')


def test_the_room_says_which_of_its_modules_are_heavy():
    said = {name for name in OF_COMMON if f'`{name}`' in common.__doc__}
    assert said == HEAVY


def test_no_test_imports_another():
    """What two share lies in tests/helpers, or beside them."""
    tests = Path(__file__).parent
    for path in tests.rglob('*.py'):
        package = '.'.join(path.relative_to(tests.parent).parent.parts)
        for found in imports(path.read_text(), package):
            of_ours = found.name.startswith('tests.')
            assert not (of_ours and '.test_' in found.name), path

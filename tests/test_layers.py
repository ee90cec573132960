"""The layer rule: which room of the package imports which.

Rooms of registered modules meet in mmdet's registries, and values in configs.
An import inside a function counts as one at the top does.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = 'mmdet_retina_plus'
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
HOSTS = {'torch', 'mmengine', 'mmcv', 'mmdet'}
LIBRARIES = HOSTS | {'numpy'} | sys.stdlib_module_names
MAY_USE: dict[str, set[str]] = {
    **dict.fromkeys(REGISTERED, LIBRARIES),
    'evaluation': LIBRARIES | {'faster_coco_eval', 'pycocotools'},
    'transforms': LIBRARIES | {'cv2'},
    'kernels': {'torch', 'triton'} | sys.stdlib_module_names,
}
"""Libraries of the rooms that run in every training."""
HEAVY = {'loss_calls.py', 'trained_detectors.py'}
"""Modules of `common` that import the hosts, and so only in functions."""
REGISTERS = 'config_file.py'
"""The module of `common` that registers ours before it reads a config."""
COMMAND = 'retina_plus_command'


def room_of(module: str) -> str:
    """The room of a module or name, given by its absolute dotted name."""
    first = module.split('.')[1:2]
    return first[0] if first and (FOLDER / first[0]).is_dir() else ROOT


def names(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Absolute dotted names that a statement imports, or a string gives.

    Args:
        node: Of a module's syntax tree.
        package: Of the module, for relative imports.
    """
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package[: len(package) + 1 - node.level] if node.level else ()
        source = (*above, *(node.module or '').split('.'))
        for alias in node.names:
            yield '.'.join(filter(None, (*source, alias.name)))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        # For import_module, or `python -m`.
        yield from re.findall(rf'^{PACKAGE}\.\w[\w.]*', node.value)
    elif isinstance(node, ast.Call) and 'import' in ast.unparse(node.func):
        # import_module('.heads', 'mmdet_retina_plus'), __import__('…').heads
        yield from (
            argument.value
            for argument in node.args
            if isinstance(argument, ast.Constant) and argument.value == PACKAGE
        )


def nodes(tree: ast.AST, in_function: bool = False) -> Iterator:
    """All nodes below one, each with whether a function holds it."""
    for node in ast.iter_child_nodes(tree):
        inside = in_function or isinstance(node, ast.FunctionDef)
        yield node, inside
        yield from nodes(node, inside)


def refused(path: Path) -> Iterator[str]:
    """Imports of a module that the rule forbids."""
    package = path.relative_to(FOLDER.parent).parent.parts
    room = room_of('.'.join(package))
    for node, in_function in nodes(ast.parse(path.read_text())):
        for name in names(node, package):
            target = room_of(name)
            top = name.split('.')[0]
            # A config is read once all modules are registered.
            registers = (
                (room, path.name) == ('common', REGISTERS)
                and name == PACKAGE
                and in_function
            )
            light = room == 'common' and path.name not in HEAVY
            if (
                top == COMMAND
                or (
                    top == PACKAGE
                    and target not in {room, *MAY_IMPORT[room]}
                    and not registers
                )
                or (light and top in HOSTS and not in_function)
                or (top != PACKAGE and not may_use(room, top))
            ):
                yield f'{path}:{node.lineno} imports {name}'


def may_use(room: str, library: str) -> bool:
    return room not in MAY_USE or library in MAY_USE[room]


def files() -> dict[str, list[Path]]:
    """Modules of each room."""
    by_room: dict[str, list[Path]] = {}
    for path in sorted(FOLDER.rglob('*.py')):
        package = '.'.join(path.relative_to(FOLDER.parent).parent.parts)
        by_room.setdefault(room_of(package), []).append(path)
    return by_room


def test_every_room_has_a_layer():
    """A new folder is placed in the rule, and in the docs, by its author."""
    assert files().keys() <= MAY_IMPORT.keys()


@pytest.mark.parametrize('room', files())
def test_a_room_imports_what_its_layer_may(room):
    assert [line for path in files()[room] for line in refused(path)] == []


@pytest.mark.parametrize(
    ('room', 'line'),
    [
        ('losses', 'from mmdet_retina_plus.heads import MaskRoIHead'),
        ('losses', 'from ..heads.mask_roi_head import MaskRoIHead'),
        ('losses', 'from .. import heads'),
        ('losses', 'def late():\n    import mmdet_retina_plus.heads'),
        ('losses', 'import mmdet_retina_plus'),
        ('losses', 'import click'),
        ('losses', 'import retina_plus_command'),
        ('losses', "import_module('.heads', 'mmdet_retina_plus')"),
        ('losses', "__import__('mmdet_retina_plus').heads"),
        ('kernels', 'import mmdet'),
        ('common', 'import torch'),
        ('common', 'def late():\n    import mmdet_retina_plus as ours'),
        ('common', 'import mmdet_retina_plus'),
        ('common', 'import_module(f"mmdet_retina_plus.heads.{name}")'),
        ('doctor', 'from mmdet_retina_plus.sweeps.spec import Spec'),
        ('inference', 'from mmdet_retina_plus.cli import options'),
        (ROOT, 'from .cli.main import main'),
    ],
)
def test_the_rule_finds(room, line, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), 'FOLDER', tmp_path / PACKAGE)
    for name in {*MAY_IMPORT, room}:
        (tmp_path / PACKAGE / name).mkdir(parents=True, exist_ok=True)
    path = tmp_path / PACKAGE / room / 'module.py'
    path.write_text(line)
    assert len(list(refused(path))) == 1


def test_no_test_imports_another():
    """What two share lies in tests/helpers, or beside them."""
    for path in Path(__file__).parent.rglob('*.py'):
        for node, _ in nodes(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not re.search(r'\btest_', node.module or ''), path

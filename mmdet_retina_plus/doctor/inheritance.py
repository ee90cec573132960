"""Find what a config changes in vain, or takes from its bases unawares."""

import ast
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmdet_retina_plus.common.config_file import READ_BY_MMDET, parts_read
from mmdet_retina_plus.common.config_tree import (
    dotted_items,
    kind,
    part,
    without_scopes,
)
from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.python_code import one_line
from mmdet_retina_plus.common.text import some

from .findings import Finding, Level

BASE = '_base_'
COMMON = ('mode', 'name', 'type')
"""Variables that need not mean the settings of their name."""
SHORT = 100
"""Length of a hook's code that a fix repeats, in characters."""


def bases_of(file: str) -> list[str]:
    """Return the files that a config inherits from, in order."""
    from mmengine.config import Config

    if not file.endswith('.py'):
        return []
    # A variable of the environment may name the base.
    with TemporaryDirectory() as folder:
        plain = f'{folder}/{Path(file).name}'
        Config._substitute_predefined_vars(file, plain)
        Config._substitute_env_variables(plain, plain)
        bases = Config._get_base_files(plain)
    return [Config._get_cfg_path(base, file)[0] for base in bases]


def values_of(file: str) -> Mapping[str, Any]:
    """Merged values of a config; several checks read the same bases."""
    return read_once(file, os.stat(file).st_mtime_ns)


@lru_cache(maxsize=32)
def read_once(file: str, changed: int) -> Mapping[str, Any]:
    from mmengine.config import Config

    return Config.fromfile(file).to_dict()


def root_of(node: ast.AST) -> str:
    """Variable at the start of an expression such as x[0].y, '' if none."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ''


def names_in(node: ast.AST) -> set[str]:
    """Variables that code reads, including `_base_.name`."""
    found = {
        x.id
        for x in ast.walk(node)
        if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Load)
    }
    for x in ast.walk(node):
        if isinstance(x, ast.Attribute) and root_of(x) == BASE:
            found.add(x.attr)
        if isinstance(x, ast.Constant) and isinstance(x.value, str):
            found |= set(re.findall(rf'{BASE}\.(\w+)', x.value))
    return found


def changed_by(statement: ast.stmt) -> set[str]:
    """Variables that a statement sets or changes in place.

    For example `x = x + y`, `x['key'] = y` or `x.insert(0, y)`.
    """
    if isinstance(statement, ast.Assign | ast.Delete):
        return {root_of(x) for x in statement.targets}
    if isinstance(statement, ast.AugAssign | ast.AnnAssign):
        return {root_of(statement.target)}
    if isinstance(statement, ast.Expr):
        return {root_of(statement.value)}
    return set()


def own_variables(file: str) -> tuple[set[str], set[str]]:
    """Variables that a file assigns, and variables that it reads."""
    assigned: set[str] = set()
    used: set[str] = set()
    for statement in ast.parse(Path(file).read_text()).body:
        own = changed_by(statement)
        if isinstance(statement, ast.Assign):
            assigned |= own
        used |= names_in(statement) - own
    return assigned - {'', BASE}, used


def leaves(
    node: ast.AST, key: str, known: Mapping[str, ast.AST]
) -> Iterator[tuple[str, ast.expr]]:
    """Yield dotted keys and expressions of a value, also of inner dicts.

    Args:
        node: Value of an assignment.
        key: Dotted key of the value.
        known: Values of the variables that it may name.
    """
    if isinstance(node, ast.Name) and isinstance(known.get(node.id), NESTED):
        rest = {x: known[x] for x in known if x != node.id}
        yield from leaves(known[node.id], key, rest)
    elif isinstance(node, ast.Call) and root_of(node) == 'dict':
        for one in node.keywords:
            yield from leaves(one.value, f'{key}.{one.arg}', known)
    elif isinstance(node, ast.Dict):
        for name, value in zip(node.keys, node.values, strict=True):
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield from leaves(value, f'{key}.{name.value}', known)
    elif isinstance(node, ast.List | ast.Tuple):
        for at, value in enumerate(node.elts):
            yield from leaves(value, f'{key}.{at}', known)
    elif isinstance(node, ast.expr):
        yield key, node


NESTED = (ast.Call, ast.Dict, ast.List, ast.Tuple)
"""Expressions that may have values at dotted keys."""


def expressions(file: str) -> dict[str, ast.expr]:
    """Expressions of a config by the dotted keys that they set."""
    known = {
        root_of(target): statement.value
        for statement in ast.parse(Path(file).read_text()).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    return {
        key: found
        for name, value in known.items()
        for key, found in leaves(value, name, known)
    }


def ancestors(file: str) -> Iterator[str]:
    """Yield the bases of a config, and theirs."""
    for base in bases_of(file):
        yield base
        yield from ancestors(base)


def value_with(expression: ast.expr, variables: Mapping) -> Any:
    """Value of an expression with other variables, None if it has none."""
    try:
        code = compile(ast.Expression(expression), '', 'eval')
        return eval(code, {'__builtins__': {}}, dict(variables))
    except Exception:  # It is a part of a program.
        return None


def check_numbers(file: str, cfg: Mapping) -> list[Finding]:
    """Report settings made from a number that a config changes too late.

    Others may read the number, so that `check_variables` finds it used.

    Args:
        file: Config file.
        cfg: Merged values of the config.
    """
    bases = [*ancestors(file)]
    read = {*parts_read(), *READ_BY_MMDET}
    assigned = own_variables(file)[0] if bases else set()
    numbers = {x: cfg[x] for x in assigned & cfg.keys() if is_number(cfg[x])}
    if not numbers:
        return []
    own = expressions(file)
    values = dict(dotted_items({x: cfg[x] for x in cfg if x in read}))
    late: dict[str, dict[str, str]] = {}
    for base in bases:
        old = values_of(base)
        before = dict(dotted_items(old))
        for key, expression in expressions(base).items():
            used = {
                x
                for x in names_in(expression) & numbers.keys()
                if old.get(x, numbers[x]) != numbers[x]
            }
            if not used or key in own or key not in values:
                continue
            now = value_with(expression, cfg)
            kept = values[key] == before.get(key)
            if kept and is_number(now) and now != values[key]:
                late.setdefault(min(used), {})[key] = ast.unparse(expression)
    return [
        Finding(
            'warning',
            name,
            f'the base has already used another {name}: '
            f'{some([f"{key}={values[key]}" for key in keys])} '
            f'{"keeps" if len(keys) == 1 else "keep"} its value',
            ' and '.join(f'{key}={text}' for key, text in keys.items()),
        )
        for name, keys in late.items()
    ]


def check_variables(file: str, cfg: Mapping) -> list[Finding]:
    """Report variables that a config reassigns and only its bases read.

    mmengine evaluates a base completely before the inheriting config, so
    settings that the base derived from a variable keep the old value.

    Args:
        file: Config file.
        cfg: Merged values of the config.
    """
    bases = bases_of(file)
    assigned, used = own_variables(file) if bases else (set(), set())
    read = {*parts_read(), *READ_BY_MMDET}
    if part(cfg, 'model.data_preprocessor'):
        read -= {'data_preprocessor'}  # The runner reads it of the model.
    numbers = check_numbers(file, cfg)
    told = {x.subject for x in numbers}
    lonely = sorted((assigned - used - read - told) & cfg.keys())
    if not lonely:
        return numbers
    old = {
        key: value for base in bases for key, value in values_of(base).items()
    }
    settings = {x: without_scopes(cfg[x]) for x in cfg if x in read}
    findings = numbers
    for name in lonely:
        now, before = without_scopes(cfg[name]), without_scopes(old.get(name))
        places = list(dotted_items(settings))
        if before is None:
            findings += unread(name, now, places)
        if before is None or before == now:
            continue
        kept = [key for key, value in places if same(name, key, value, before)]
        if kept and not any(same(name, key, x, now) for key, x in places):
            # A number may have the same name and value by chance.
            level: Level = 'warning' if is_number(now) else 'error'
            findings.append(unused(level, name, outermost(kept)))
    return findings


def unread(
    name: str, now: Any, places: Sequence[tuple[str, Any]]
) -> list[Finding]:
    """Report a new variable that has the name of settings, but no effect.

    Args:
        name: Variable that nothing reads.
        now: Its value.
        places: Dotted keys and values of the settings that are read.
    """
    named = [
        x
        for x in places
        if x[0].rpartition('.')[2] == name and name not in COMMON
    ]
    alike = [key for key, x in named if type(x) is type(now)]
    if not alike or any(x == now for _, x in named):
        return []
    message = f'nothing reads this {name}: {some(alike)} '
    message += f'{"has" if len(alike) == 1 else "have"} another value'
    fix = ' and '.join(f'{key}={name}' for key in alike)
    return [Finding('warning', name, message, fix)]


def same(name: str, key: str, value: Any, wanted: Any) -> bool:
    """Whether a key has the value of a variable, beyond coincidence."""
    if type(value) is not type(wanted) or value != wanted:
        return False
    texts = isinstance(value, str | list | tuple | dict) and bool(value)
    return texts or key.rpartition('.')[2] == name


def outermost(keys: list[str]) -> list[str]:
    """Keys that are not below another one of them."""
    return [
        key
        for key in keys
        if not any(key.startswith(f'{other}.') for other in keys)
    ]


def unused(level: Level, name: str, keys: list[str]) -> Finding:
    verb = 'keeps' if len(keys) == 1 else 'keep'
    return Finding(
        level,
        name,
        f'nothing reads this {name}: {some(keys)} {verb} the value of the '
        'base',
        ' and '.join(f'{key}={name}' for key in keys),
    )


def is_set_later(file: str, key: str, than: str, cfg: Mapping) -> bool:
    """Whether a value is set at a later inheritance level than another.

    Args:
        file: Config file.
        key: Dotted key of the value.
        than: Dotted key of the other value.
        cfg: Merged values of the config.
    """
    values = dict(dotted_items(cfg))
    for base in bases_of(file):
        old = values_of(base)
        before = dict(dotted_items(old))
        if before.get(than) == values.get(than):
            return before.get(key) != values.get(key) or is_set_later(
                base, key, than, old
            )
    return False


def value_before(file: str, key: str, cfg: Mapping) -> Any:
    """Value of a key in the bases before it was set anew; None if none was.

    Args:
        file: Config file.
        key: Dotted key of the value.
        cfg: Merged values of the config.
    """
    now = dict(dotted_items(cfg)).get(key)
    for base in bases_of(file):
        old = values_of(base)
        value = dict(dotted_items(old)).get(key)
        if value is not None and value != now:
            return value
        if value is not None:
            return value_before(base, key, old)
    return None


def check_lost(file: str, cfg: Mapping) -> list[Finding]:
    """Report hooks and clipping of a base that its heir replaced.

    mmengine merges dicts, but replaces lists, and dicts with `_delete_`.

    Args:
        file: Config file.
        cfg: Merged values of the config.
    """
    findings: list[Finding] = []
    for base in bases_of(file):
        old = values_of(base)
        findings += lost_hooks(file, old, cfg) + lost_clipping(old, cfg)
        # Configs of mmdet replace those of mmdet on purpose.
        if not findings and '.mim' not in Path(base).parts:
            findings += check_lost(base, old)
    return findings


def lost_hooks(file: str, old: Mapping, cfg: Mapping) -> list[Finding]:
    before, now = hooks_in(old), hooks_in(cfg)
    lost = [at for at, x in enumerate(before) if x not in now]
    # Who empties the list, or chooses from the base's, means it.
    chosen = '_base_.custom_hooks' in Path(file).read_text()
    if not lost or not now or chosen or '.mim' in Path(file).parts:
        return []
    kept = [f'_base_.custom_hooks[{at}]' for at in lost]
    if len(lost) == len(before):
        kept = ['*_base_.custom_hooks']
    texts = [one_line(x) for x in cfg.get('custom_hooks') or ()]
    own = [
        text if len(text) < SHORT else f'your {name}'
        for text, name in zip(texts, now, strict=True)
    ]
    return [
        Finding(
            'warning',
            'custom_hooks',
            'the list replaces that of the base, which has '
            f'{some([before[at] for at in lost])} as well',
            f'custom_hooks=[{", ".join([*kept, *own])}]',
        )
    ]


def hooks_in(cfg: Mapping) -> list[str]:
    """Names of the classes of `custom_hooks`."""
    hooks = cfg.get('custom_hooks') or ()
    return [kind(x) for x in hooks if isinstance(x, Mapping)]


def lost_clipping(old: Mapping, cfg: Mapping) -> list[Finding]:
    """Report settings of a wrapper whose optimizer stayed the same."""
    key = 'optim_wrapper'
    before, now = part(old, key), part(cfg, key)
    if kind(part(before, 'optimizer')) != kind(part(now, 'optimizer')):
        return []
    lost = [
        x
        for x in ('clip_grad', 'paramwise_cfg')
        if before.get(x) and x not in now
    ]
    if not lost:
        return []
    return [
        Finding(
            'warning',
            key,
            f'it replaces that of the base, which has '
            f'{" and ".join(lost)} as well',
            ' '.join(f'{key}.{x}={one_line(before[x])}' for x in lost)
            + ', or None',
        )
    ]

"""Explain configs that cannot be read, or that training reads differently."""

import ast
import os
import re
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mmdet_retina_plus.common.option_values import read_by_mmengine, read_value
from mmdet_retina_plus.common.python_code import one_line

from .findings import FIX, Finding, failure

TEXT_OF_BASE = re.compile(r'(\w+)\s*=\s*\{\{\s*(_base_[\w.]+)\s*\}\}')
"""Assignment of a base value in braces: x = {{_base_.y}}."""


def config_failure(error: Exception) -> Finding:
    """Explain an exception that a config raised, with file and line."""
    lines = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        # mmengine executes a config under its own file name.
        if frame.name == '<module>' and os.path.isfile(frame.filename)
    ]
    if not lines:
        return failure('config', error, fix_of_merge(error))
    last = lines[-1]
    where = f'{last.filename}, line {last.lineno}'
    message = f'{type(error).__name__}: {error} ({where}: {last.line})'
    fix = f'correct {where}'
    # Inside a config, values are plain dicts; mmengine wraps them later.
    if "'dict' object has no attribute" in str(error) and last.line:
        fix = f'{by_keys(last.line)} in {where}'
    for name, base in TEXT_OF_BASE.findall(Path(last.filename).read_text()):
        if re.search(rf'\b{name}\b', last.line or ''):
            message += f'; {{{{{base}}}}} is a string until the file is read'
            fix = f'{name} = {base}'
    return Finding('error', 'config', message, fix)


def fix_of_merge(error: Exception) -> str:
    """Fix that replaces a part of a base that cannot be merged."""
    merged = re.match(r'(\w+)=(\{.*\}) in child config', str(error))
    if merged is None:
        return FIX
    with suppress(ValueError, SyntaxError):
        own = ast.literal_eval(merged[2])
        return f'{merged[1]}={one_line({"_delete_": True} | own)}'
    return f'{merged[1]}=dict(_delete_=True, …)'


def by_keys(line: str) -> str:
    """Rewrite a line of a config: keys in place of attributes."""
    left, sign, right = line.partition(' = ')
    keys = re.sub(r'\.([a-zA-Z_]\w*)\b(?!\()', r"['\1']", left)
    return keys + sign + right


def check_scope(values: Mapping) -> list[Finding]:
    """Check `default_scope`, in which all types are looked up."""
    from mmengine.registry import MODELS

    scope = values.get('default_scope')
    if scope in list(MODELS.children):
        return []
    message = f'default_scope={scope!r} has none of the types of mmdet'
    if scope is None:
        message = 'default_scope is not set: training finds no type of mmdet'
    return [
        Finding('error', 'default_scope', message, "default_scope='mmdet'")
    ]


def check_options(options: Sequence[str]) -> list[Finding]:
    """Report options that `mim train` reads as another value."""
    findings = []
    for option in options:
        key, _, text = option.partition('=')
        ours = read_value(text)
        try:
            theirs = repr(read_by_mmengine(text))
        except AssertionError:
            theirs = 'no value'
        if repr(ours) != theirs:
            findings.append(
                Finding(
                    'warning',
                    '--cfg-options',
                    f'{key} is {ours!r} here, but `mim train --cfg-options` '
                    f'reads {theirs}',
                    f'write it into the config: {key}={ours!r}',
                )
            )
    return findings

"""What a module imports, read off its source and not run."""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

PACKAGE = 'mmdet_retina_plus'
UNREADABLE = 'a module whose name the call does not show'
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Import(NamedTuple):
    """One import.

    Attributes:
        name: Absolute dotted name of a module or of what is taken from it,
            ``UNREADABLE`` where a call computes it.
        line: In the source.
        late: Whether it runs in a function, and not as the module loads.
    """

    name: str
    line: int
    late: bool


def imports(source: str, package: str) -> list[Import]:
    """All imports of a module.

    Args:
        source: Source text of the module.
        package: Package of the module, for relative imports.
    """
    tree = ast.parse(source)
    own = names_of_ours(tree)
    return [
        Import(name, node.lineno, late)
        for node, late in nodes(tree)
        for name in imported(node, package, own)
    ]


def nodes(tree: ast.AST, late: bool = False) -> Iterator:
    """All nodes below one, each with whether a function holds it."""
    for node in ast.iter_child_nodes(tree):
        inside = late or isinstance(node, FUNCTIONS)
        yield node, inside
        yield from nodes(node, inside)


def names_of_ours(tree: ast.AST) -> set[str]:
    """Names by which a module calls our package itself."""
    return {
        alias.asname or PACKAGE
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == PACKAGE
        or (alias.name.startswith(f'{PACKAGE}.') and not alias.asname)
    }


def imported(node: ast.AST, package: str, own: set[str]) -> Iterator[str]:
    """Names that a node imports, takes off our package, or holds as text."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split('.')
        above = above[: len(above) + 1 - node.level] if node.level else []
        source = [*above, *filter(None, [node.module])]
        yield from ('.'.join([*source, alias.name]) for alias in node.names)
    elif isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id in own:
            yield f'{PACKAGE}.{node.attr}'
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        # For import_module, or `python -m`.
        yield from re.findall(rf'^{PACKAGE}\.\w[\w.]*', node.value)
    elif isinstance(node, ast.Call):
        yield from called_for(node)


def called_for(call: ast.Call) -> Iterator[str]:
    """What a call of `import_module` or `__import__` imports.

    Nothing where it gives a name in our package, a text that counts already.
    """
    function = call.func
    name = getattr(function, 'id', getattr(function, 'attr', None))
    if name not in ('import_module', '__import__'):
        return
    first = call.args[0] if call.args else None
    if isinstance(first, ast.JoinedStr):
        first = first.values[0]
    text = first.value if isinstance(first, ast.Constant) else None
    if not isinstance(text, str) or re.match(rf'\.|{PACKAGE}\.?$', text):
        yield UNREADABLE
    elif not text.startswith(f'{PACKAGE}.'):
        yield text

"""Read the config stored in a checkpoint without running it."""

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from .config_tree import dotted_items, without_scopes
from .option_values import NO_LITERAL

OF_BOXES = (
    'anchor_generator',
    'prior_generator',
    'bbox_coder',
    'data_preprocessor.mean',
    'data_preprocessor.std',
    'data_preprocessor.bgr_to_rgb',
)
"""Settings that change the meaning of a network's outputs, not its weights."""


def model_of(text: str) -> dict[str, Any]:
    """Read the model's settings from a config as mmengine dumps it.

    Args:
        text: Text of the config. It is not run, since a checkpoint may come
            from anyone.

    Returns:
        The settings; empty if there is no model made of literals.
    """
    try:
        for line in ast.parse(text).body:
            if (
                isinstance(line, ast.Assign)
                and isinstance(line.targets[0], ast.Name)
                and line.targets[0].id == 'model'
            ):
                model = literal(line.value)
                return model if isinstance(model, dict) else {}
    except NO_LITERAL:
        pass
    return {}


def literal(node: ast.expr) -> Any:
    """Evaluate literals and `dict(name=…)`.

    Raises:
        ValueError: The node is anything else.
    """
    if isinstance(node, ast.Call):
        name = node.func
        if not isinstance(name, ast.Name) or name.id != 'dict' or node.args:
            raise ValueError(ast.unparse(node))
        return {item.arg: literal(item.value) for item in node.keywords}
    if isinstance(node, ast.List | ast.Tuple):
        return [literal(item) for item in node.elts]
    return ast.literal_eval(node)


def other_settings(
    model: Mapping[str, Any], text: str
) -> Iterator[tuple[str, Any, Any]]:
    """Find settings of `OF_BOXES` that differ from those in training.

    Args:
        model: The model's config.
        text: Text of the config used in training.

    Yields:
        Dotted key below `model`, value in training, value in the config, for
        keys that both have.
    """
    trained = settings(model_of(text))
    for key, value in settings(model).items():
        if key in trained and trained[key] != value:
            yield key, trained[key], value


def settings(model: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, strings and lists of `OF_BOXES`, by dotted key."""
    found: dict[str, Any] = {}
    for key, value in dotted_items(plain(without_scopes(model))):
        is_of_boxes = any(f'.{name}.' in f'.{key}.' for name in OF_BOXES)
        if is_of_boxes and not isinstance(value, dict):
            found[key] = value
    return found


def plain(value: Any) -> Any:
    """Convert tuples to lists, recursively."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value

"""The config that a checkpoint carries, read without running it."""

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
"""Settings without weights that decide what a network's outputs mean."""


def model_of(text: str) -> dict[str, Any]:
    """The model's settings in a config as mmengine dumps it.

    Args:
        text: The config's text, which is not run: a checkpoint may come from
            anyone.

    Returns:
        Empty where there is no model of literals.
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
    """Value of literals and of `dict(name=…)`.

    Raises:
        ValueError: There is something else.
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
    """Settings of `OF_BOXES` that are not those of the training.

    Args:
        model: The config's.
        text: Config of the training.

    Yields:
        Dotted key below `model`, value of the training, value of the config;
        of keys that both have.
    """
    trained = settings(model_of(text))
    for key, value in settings(model).items():
        if key in trained and trained[key] != value:
            yield key, trained[key], value


def settings(model: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, texts and lists of `OF_BOXES`, by dotted key."""
    found: dict[str, Any] = {}
    for key, value in dotted_items(plain(without_scopes(model))):
        is_of_boxes = any(f'.{name}.' in f'.{key}.' for name in OF_BOXES)
        if is_of_boxes and not isinstance(value, dict):
            found[key] = value
    return found


def plain(value: Any) -> Any:
    """A value whose tuples are lists."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value

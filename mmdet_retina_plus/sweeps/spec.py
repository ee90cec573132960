"""A sweep as data: a config, changes to it, seeds."""

import ast
import inspect
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import product as cells
from pathlib import Path
from typing import Any

Point = dict[str, Any]
"""Dotted key, without the sweep's prefix, to value."""
FIELDS = ('config', 'metric', 'points', 'prefix', 'product', 'seeds')


@dataclass(frozen=True)
class Sweep:
    """What is to be trained: each point with each seed.

    Attributes:
        name: Of the file.
        config: That the points change.
        prefix: Of every key of a point.
        points: Of the file, then the cells of its product, each once.
        seeds: Of the training runs.
        metric: Name in the log of what is compared; more is better.
    """

    name: str
    config: Path
    points: list[Point]
    prefix: str = ''
    seeds: list[int] = field(default_factory=lambda: [0])
    metric: str = 'coco/bbox_mAP'

    def changes(self, point: Point) -> dict[str, Any]:
        """Changes of the config, with whole keys."""
        return {self.prefix + key: value for key, value in point.items()}


def read_sweep(path: Path) -> Sweep:
    """Read a file that sets some of `FIELDS`, as those in configs/sweeps do.

    Raises:
        ValueError: It sets something else, or not what a sweep needs.
    """
    try:
        content = runpy.run_path(str(path))
    except Exception as error:  # A spec is a program.
        raise ValueError(f'{path}: {type(error).__name__}: {error}') from error
    given = {
        name: value
        for name, value in content.items()
        if not name.startswith('_') and not inspect.ismodule(value)
    }
    for name in given:
        if name not in FIELDS:
            near = (get_close_matches(name, FIELDS, n=1) or ['points'])[0]
            raise ValueError(
                f'{path} sets {name}, which a sweep does not have; did you '
                f'mean {near}? (A helper of your own starts with _)'
            )
    product = given.pop('product', {})
    points = given.pop('points', [])
    check_form(path, points, product, given)
    points = distinct([*points, *expand(product)])
    if 'config' not in given or not points:
        raise ValueError(
            f'{path} must set config, a path relative to it, and points or '
            'product'
        )
    config = path.parent / given.pop('config')
    return Sweep(path.stem, config, points, **given)


def check_form(
    path: Path, points: Any, product: Any, others: Mapping[str, Any]
) -> None:
    """Refuse what would otherwise fail somewhere later.

    Raises:
        ValueError: With what it should be.
    """
    seeds = others.get('seeds', [0])
    wanted = ''
    if not isinstance(points, list) or not all(
        isinstance(point, dict) and point for point in points
    ):
        wanted = 'points to a list of dicts, key to value'
    elif not isinstance(product, dict) or not all(
        isinstance(values, list) and values for values in product.values()
    ):
        wanted = 'product to a dict, key to list of values'
    elif (
        not isinstance(seeds, list)
        or not seeds
        or not all(isinstance(seed, int) for seed in seeds)
    ):
        wanted = 'seeds to a list of whole numbers'
    elif not all(
        isinstance(others.get(name, ''), str)
        for name in ('config', 'prefix', 'metric')
    ):
        wanted = 'config, prefix and metric to texts'
    if wanted:
        raise ValueError(f'{path} must set {wanted}')


def expand(product: Mapping[str, Sequence[Any]]) -> list[Point]:
    """All cells of a grid, the last key changing fastest."""
    if not product:
        return []
    return [
        dict(zip(product, values, strict=True))
        for values in cells(*product.values())
    ]


def distinct(points: Sequence[Point]) -> list[Point]:
    """Each point once, the first of equals."""
    return list({point_key(point): point for point in points}.values())


def point_key(point: Point) -> str:
    """The same text for the same changes, in whatever order."""
    return point_text(dict(sorted(point.items())))


def point_text(point: Point) -> str:
    """A point as text that `read_point` takes.

    Raises:
        ValueError: A value is no plain Python value.
    """
    text = repr(point)
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise ValueError(
            f'The point {point} must consist of plain values: finite numbers, '
            'texts, None, True, False, and lists, tuples and dicts of them'
        ) from None
    return text


def read_point(text: str) -> Point:
    """Inverse of `point_text`."""
    return ast.literal_eval(text)

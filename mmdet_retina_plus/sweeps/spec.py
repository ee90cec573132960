"""A sweep as data: a config, changes to it, seeds."""

import ast
import os
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product as cells
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mmdet_retina_plus.common.config_tree import LAST_SEED
from mmdet_retina_plus.common.suggestions import did_you_mean

from .point_labels import CONFIG, identity

Point = dict[str, Any]
"""Dotted key, without the sweep's prefix, to value."""
FIELDS = ('config', 'metric', 'points', 'prefix', 'product', 'seeds')


@dataclass(frozen=True)
class Sweep:
    """The trainings of a sweep: each point with each seed.

    Attributes:
        name: Stem of the file.
        config: Path of the config for points without their own; otherwise the
            config of the first point.
        prefix: Prefix of every key of a point.
        points: Points of the file, then the cells of its product, each once.
        seeds: Seeds of the training runs.
        metric: Name of the compared metric in the log; higher is better.
    """

    name: str
    config: Path
    points: list[Point]
    prefix: str = ''
    seeds: list[int] = field(default_factory=lambda: [0])
    metric: str = 'coco/bbox_mAP'

    def changes(self, point: Point) -> dict[str, Any]:
        """Changes of the point's config, with whole keys."""
        return {
            self.prefix + key: value
            for key, value in point.items()
            if key != CONFIG
        }

    def config_of(self, point: Point) -> str:
        """Path of the config that a point changes."""
        return point.get(CONFIG, str(self.config))

    @property
    def configs(self) -> list[str]:
        """Path of every config that is changed, each once."""
        return list(dict.fromkeys(map(self.config_of, self.points)))

    @property
    def config_text(self) -> str:
        """The config, or the number of configs."""
        configs = self.configs
        return configs[0] if len(configs) == 1 else f'{len(configs)} configs'


def read_sweep(path: Path, config: Path | None = None) -> Sweep:
    """Read a file that sets some of `FIELDS`, as those in configs/sweeps do.

    Args:
        path: Path of the file.
        config: Config in place of the file's, which then needs none.

    Raises:
        ValueError: The file sets an unknown name or a value of another form.
    """
    try:
        content = runpy.run_path(str(path))
    except Exception as error:  # A spec is a program.
        raise ValueError(f'{path}: {type(error).__name__}: {error}') from error
    given = {
        name: value
        for name, value in content.items()
        if not name.startswith('_')
        and not isinstance(value, ModuleType)
        and not callable(value)
    }
    for name in given:
        if name not in FIELDS:
            raise ValueError(
                f'{path} sets {name}, which a sweep does not have'
                f'{did_you_mean(name, FIELDS)} '
                '(Start the name of a helper variable with _)'
            )
    product = plain(given.pop('product', {}))
    points = plain(given.pop('points', []))
    given['seeds'] = plain(given.get('seeds', [0]))
    check_form(path, points, product, given)
    points = distinct([*points, *expand(product)])
    if not points:
        raise ValueError(f'{path} must set points or product')
    named = [point for point in points if CONFIG in point]
    for point in named:
        if not isinstance(point[CONFIG], str):
            raise ValueError(f'{path} must set config of a point to a string')
        # Independent of the current folder.
        point[CONFIG] = os.path.abspath(path.parent / point[CONFIG])
    own = given.pop('config', None)
    if config is not None and named:
        raise ValueError(
            f'the points of {path} name their configs, such as '
            f'{named[0][CONFIG]}: leave --config out'
        )
    if config is None and own is not None:
        config = path.parent / own
    if config is None:
        if len(named) < len(points):
            raise ValueError(
                f'{path} must set config, a path relative to it; or name one '
                'with --config'
            )
        config = Path(named[0][CONFIG])
    return Sweep(path.stem, config, points, **given)


def check_form(
    path: Path, points: Any, product: Any, others: Mapping[str, Any]
) -> None:
    """Refuse values that would fail later.

    Raises:
        ValueError: A value has another form than a sweep needs.
    """
    seeds = others['seeds']
    wanted = ''
    if not is_many(points) or not all(map(has_text_keys, points)):
        wanted = 'points to a list of dicts, key to value'
    elif product != {} and not (
        has_text_keys(product)
        and all(is_many(values) and values for values in product.values())
    ):
        wanted = 'product to a dict, key to list of values'
    elif not is_many(seeds) or not seeds or not all(map(is_seed, seeds)):
        wanted = f'seeds to a list of whole numbers from 0 to {LAST_SEED}'
    elif not all(
        isinstance(others.get(name, ''), str)
        for name in ('config', 'prefix', 'metric')
    ):
        wanted = 'config, prefix and metric to strings'
    if wanted:
        raise ValueError(f'{path} must set {wanted}')


def plain(value: Any) -> Any:
    """Replace numpy's numbers and arrays, and ranges, by Python's own."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, range):
        return list(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value


def is_many(value: Any) -> bool:
    return isinstance(value, list | tuple)


def has_text_keys(value: Any) -> bool:
    """Whether a value is a dict that is not empty, with strings as keys."""
    keys = [*value] if isinstance(value, dict) else []
    return keys != [] and all(isinstance(key, str) for key in keys)


def is_seed(value: Any) -> bool:
    # A boolean is an int, too.
    return type(value) is int and 0 <= value <= LAST_SEED


def expand(product: Mapping[str, Sequence[Any]]) -> list[Point]:
    """All cells of a grid, the last key changing fastest."""
    if not product:
        return []
    rows = cells(*product.values())
    return [dict(zip(product, row, strict=True)) for row in rows]


def distinct(points: Sequence[Point]) -> list[Point]:
    """Copies of the points without later duplicates."""
    first: dict[str, Point] = {}
    for point in points:
        point_text(point)  # Refuses values that are not plain.
        first.setdefault(identity(point), dict(point))
    return list(first.values())


def point_text(point: Point) -> str:
    """A point as text that `read_point` takes.

    Raises:
        ValueError: A value is not a plain Python value.
    """
    text = repr(point)
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise ValueError(
            f'The point {point} must consist of plain values: finite numbers, '
            'strings, None, True, False, and lists, tuples and dicts of them'
        ) from None
    return text


def read_point(text: str) -> Point:
    """Inverse of `point_text`."""
    return ast.literal_eval(text)

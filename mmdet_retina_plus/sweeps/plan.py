"""The plan of a sweep, on which all its workers agree."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmdet_retina_plus.common.config_file import parse_options, read_config
from mmdet_retina_plus.common.config_tree import dotted_items

from .point_labels import identity
from .spec import Point, Sweep, point_text, read_point, read_sweep
from .trial_config import counts_epochs, parse_config
from .value_checks import check_sweep, merge

Job = tuple[str, int]
"""Identity of a point, and seed."""


@dataclass(frozen=True)
class Plan:
    """Settings that all workers of a study share.

    Attributes:
        sweep: Points with the values that the config's types want.
        base: Text of the whole config, which the points change.
        folder: Paths in the config are relative to it.
        prune: Whether trials that fall behind are ended.
        by_epoch: Whether the runs count epochs, and not steps.
    """

    sweep: Sweep
    base: str
    folder: str
    prune: bool = False
    by_epoch: bool = False

    def dump(self) -> dict[str, Any]:
        """The plan as values that JSON can hold."""
        sweep = vars(self.sweep) | dict(
            config=str(self.sweep.config),
            points=[point_text(point) for point in self.sweep.points],
        )
        return vars(self) | dict(sweep=sweep)

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> 'Plan':
        sweep = dict(dumped['sweep'])
        sweep['config'] = Path(sweep['config'])
        sweep['points'] = [read_point(key) for key in sweep['points']]
        return cls(**dumped | dict(sweep=Sweep(**sweep)))

    @property
    def identity(self) -> str:
        """Text of the settings that must be equal for a run to resume."""
        return f'{self.folder}\n{self.sweep.prefix}\n{self.base}'

    @property
    def jobs(self) -> dict[Job, Point]:
        """Point of each job, all points before the next seed."""
        return {
            (identity(point), seed): point
            for seed in self.sweep.seeds
            for point in self.sweep.points
        }


def make_plan(
    spec: Path,
    config: Path | None,
    seeds: Sequence[int],
    cfg_options: Sequence[str],
    prune: bool,
) -> Plan:
    """Read and check what is to be trained.

    Args:
        spec: Path of the file that `read_sweep` reads.
        config: Path of a config in place of the spec's.
        seeds: Seeds in place of the spec's, if there are any.
        cfg_options: Changes of the config, each KEY=VALUE.
        prune: Whether trials that fall behind are ended.

    Raises:
        ValueError: The spec, the config or a value does not fit.
        ImportError: The environment is broken.
    """
    sweep = read_sweep(spec, config)
    sweep = replace(
        sweep,
        config=Path(os.path.normpath(sweep.config)),
        seeds=list(dict.fromkeys(seeds or sweep.seeds)),
    )
    cfg = read_config(sweep.config)
    _, cfg = merge(parse_options(cfg_options), cfg)
    sweep = replace(sweep, points=check_sweep(sweep, cfg, prune))
    return Plan(sweep, cfg.pretty_text, os.getcwd(), prune, counts_epochs(cfg))


def differences(old: Plan, new: Plan) -> list[str]:
    """Settings that make two plans incomparable, a line each."""
    lines = [
        f'{name}: then {then!r}, now {now!r}'
        for name, then, now in (
            ('start folder', old.folder, new.folder),
            ('prefix', old.sweep.prefix, new.sweep.prefix),
            ('metric', old.sweep.metric, new.sweep.metric),
        )
        if then != now
    ]
    if old.base != new.base:
        lines.append(first_difference(old.base, new.base))
    return lines


def first_difference(old: str, new: str) -> str:
    """The first key in which the texts of two configs differ."""
    then, now = (
        dict(dotted_items(parse_config(text).to_dict())) for text in (old, new)
    )
    for key in [*then, *now]:
        before, after = (
            repr(part[key]) if key in part else 'not set'
            for part in (then, now)
        )
        if before != after and not are_parts(then.get(key), now.get(key)):
            return f'{key}: then {before}, now {after}'
    return 'the order of keys in the config'


def are_parts(old: Any, new: Any) -> bool:
    """Whether two values are of one kind and differ in what is inside."""
    kinds = dict | list | tuple
    alike = isinstance(old, kinds) and type(old) is type(new)
    return alike and bool(old) and bool(new)

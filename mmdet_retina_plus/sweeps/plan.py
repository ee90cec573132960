"""The plan of a sweep, which all its workers share."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmdet_retina_plus.common.config_file import parse_options, read_config
from mmdet_retina_plus.common.config_tree import dotted_items

from .point_labels import CONFIG, identity
from .spec import Point, Sweep, point_text, read_point, read_sweep
from .trial_config import counts_epochs, parse_config
from .value_checks import check_sweep, merge

Job = tuple[str, int]
"""Identity of a point, and a seed."""


@dataclass(frozen=True)
class Plan:
    """Settings that all workers of a study share.

    Attributes:
        sweep: Sweep with values of the config's types.
        base: Text of the whole config that points change.
        others: Texts of the configs that points name, by path.
        folder: Folder that paths in the config are relative to.
        prune: Whether trials below the median are ended.
        by_epoch: Whether the runs count epochs instead of steps.
    """

    sweep: Sweep
    base: str
    folder: str
    prune: bool = False
    by_epoch: bool = False
    others: dict[str, str] = field(default_factory=dict)

    def dump(self) -> dict[str, Any]:
        """The plan as JSON values."""
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

    def base_of(self, point: Point) -> str:
        """Text of the config that a point changes."""
        return self.others[point[CONFIG]] if CONFIG in point else self.base

    def identity_of(self, point: Point) -> str:
        """Text that must be equal for a run to resume."""
        return f'{self.folder}\n{self.sweep.prefix}\n{self.base_of(point)}'

    @property
    def jobs(self) -> dict[Job, Point]:
        """Point of each job; all points come before the next seed."""
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
    """Read and check a sweep.

    Args:
        spec: Path of the file that `read_sweep` reads.
        config: Path of a config in place of the spec's.
        seeds: Seeds in place of the spec's; empty for those of the spec.
        cfg_options: Changes of the config, each KEY=VALUE.
        prune: Whether trials below the median are ended.

    Raises:
        ValueError: The spec, the config or a value is wrong.
        ImportError: The environment is broken.
    """
    sweep = read_sweep(spec, config)
    sweep = replace(
        sweep,
        config=Path(os.path.normpath(sweep.config)),
        seeds=list(dict.fromkeys(seeds or sweep.seeds)),
    )
    options = parse_options(cfg_options)
    configs = {
        path: merge(options, read_config(Path(path)))[1]
        for path in sweep.configs
    }
    by_epoch = {counts_epochs(cfg): path for path, cfg in configs.items()}
    if len(by_epoch) > 1:
        raise ValueError(
            f'{by_epoch[True]} counts epochs and {by_epoch[False]} steps: '
            'give both one train_cfg, or sweep each by itself'
        )
    sweep = replace(sweep, points=check_sweep(sweep, configs, prune))
    texts = {path: cfg.pretty_text for path, cfg in configs.items()}
    named = {point.get(CONFIG) for point in sweep.points}
    return Plan(
        sweep,
        base=texts.get(str(sweep.config), ''),
        folder=os.getcwd(),
        prune=prune,
        by_epoch=True in by_epoch,
        others={path: texts[path] for path in texts if path in named},
    )


def differences(old: Plan, new: Plan) -> list[str]:
    """Settings whose results do not compare, one line each."""
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
    for path, text in old.others.items():
        if new.others.get(path, text) != text:
            found = first_difference(text, new.others[path])
            lines.append(f'{path}: {found}')
    return lines


def first_difference(old: str, new: str) -> str:
    """The first key in which two config texts differ."""
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
    """Whether two values are containers of one type, which differ inside."""
    kinds = dict | list | tuple
    alike = isinstance(old, kinds) and type(old) is type(new)
    return alike and bool(old) and bool(new)

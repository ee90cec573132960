"""Build evaluators whose metrics leave no files."""

import copy
import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmdet_retina_plus.common.config_tree import part, walk

from .run_parts import Parts

TRUSTED = ('mmdet', 'mmengine', 'mmdet_retina_plus')
"""Packages whose metrics write only to `out_file…` and `output_dir`."""


def metric_settings(cfg: Mapping, name: str, folder: str) -> Any:
    """Copy evaluator settings, with output files redirected to a folder."""
    settings = copy.deepcopy(cfg[f'{name}_evaluator'])
    for one in walk(settings):
        assert isinstance(one, dict)
        for key, value in one.items():
            if not isinstance(value, str):
                continue
            if str(key).startswith(('out_file', 'outfile')):
                one[key] = os.path.join(folder, os.path.basename(value))
            elif key == 'output_dir':
                one[key] = folder
    return settings


def is_trusted(member: type) -> bool:
    """Whether a class belongs to one of the `TRUSTED` packages."""
    return member.__module__.partition('.')[0] in TRUSTED


def may_write(metric: Any, settings: Any) -> bool:
    """Whether scoring may write files outside the temporary folder.

    Args:
        metric: Built metric.
        settings: Its config.
    """
    from mmdet.evaluation import DumpProposals
    from mmengine.evaluator import DumpResults

    if isinstance(metric, DumpResults | DumpProposals):
        return True
    if is_trusted(type(metric)) or not isinstance(settings, Mapping):
        return False
    known = {
        name
        for owner in type(metric).__mro__
        if is_trusted(owner) and '__init__' in vars(owner)
        for name in inspect.signature(owner).parameters
    }
    return any(
        isinstance(value, str)
        and (os.path.dirname(value) or os.path.splitext(value)[1])
        for key, value in settings.items()
        if key not in ('type', *known)
    )


def metrics_of(metric: Any) -> Sequence[str]:
    """Metrics of a built metric: 'bbox', 'segm'."""
    return getattr(metric, 'metrics', ())


def build_evaluator(cfg: Mapping, name: str, folder: str) -> Any:
    """Build an evaluator whose metrics that may write files do nothing."""
    settings = metric_settings(cfg, name, folder)
    # Copied first: building may change it.
    listed = part({'x': settings}, 'x').get('metrics', settings)
    listed = listed if isinstance(listed, list | tuple) else [listed]
    listed = copy.deepcopy(listed)
    evaluator = Parts(cfg, None).build_evaluator(settings)
    for metric, given in zip(evaluator.metrics, listed, strict=False):
        if may_write(metric, given):
            metric.process = lambda *_: None
            metric.evaluate = lambda *_: {}
    return evaluator

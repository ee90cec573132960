"""Report how a config's anchors fit its objects, and suggest better ones."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdet_retina_plus.common.config_file import check_kinds, read_config
from mmdet_retina_plus.common.output_files import check_out, replace
from mmdet_retina_plus.common.python_code import as_code
from mmdet_retina_plus.common.text import building


def fit_report(
    config: str,
    cfg_options: Sequence[str],
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    enough: float = -1.0,
) -> dict[str, Any]:
    """Measure the anchors of a config and search for better ones.

    Args:
        config: An mmdet config.
        cfg_options: Changes of the config.
        progress: Wraps an iterable to show progress.
        enough: Search only if more than this fraction of the objects is below
            an IoU of .5.

    Returns:
        The report as JSON values.

    Raises:
        ValueError: The config has no anchors, or no objects.
        ImportError: The environment is broken.
    """
    check_kinds(config, ())
    cfg = read_config(config, cfg_options)
    # After read_config, which reports a broken mmdet better.
    from mmdet.registry import MODELS

    from .anchor_fit import anchor_head, measure, read_objects
    from .anchor_search import search, shapes_of

    with building('detector'):
        model = MODELS.build(cfg.model)
    key, head = anchor_head(model)
    divisor = getattr(model.data_preprocessor, 'pad_size_divisor', 1)
    objects = read_objects(cfg, divisor)
    generator = head.prior_generator
    finer = finer_start(model, key, head)
    fit = measure(objects, generator)
    found = None
    if fit['all']['below_05'] > enough:
        found = search(objects, generator, finer is not None, progress)
    suggestion = None
    if found is not None:
        options = found.changes
        if 'anchor_generator' not in cfg.model[key]:
            # The config must repeat the head's default.
            options = dict(type='AnchorGenerator', **found.options)
        model_changes = overrides(key, options, found.changes, finer)
        suggestion = dict(
            changes=found.changes,
            anchors=found.anchors,
            model=model_changes,
            paste=f'model = {as_code(model_changes, taken=8)}',
            fit=measure(objects, found.generator),
        )
    return dict(
        config=config,
        objects=len(objects.boxes),
        of=objects.seen,
        searched=shapes_of(generator) is not None,
        fit=fit,
        suggestion=suggestion,
    )


def finer_start(model: Any, key: str, head: Any) -> int | None:
    """`start_level` of an FPN with one finer level, None if impossible.

    Other heads on the same pyramid, and ranges of an assigner, refer to levels
    by number, so they rule it out.
    """
    from mmdet_retina_plus.assigners import PointRangeAssigner

    start = getattr(getattr(model, 'neck', None), 'start_level', 0)
    alone = (
        key == 'bbox_head'
        and not getattr(model, 'with_roi_head', False)
        and not getattr(model, 'with_semantic', False)
        and not getattr(model, 'bbox_start_level', 0)
        and not isinstance(getattr(head, 'assigner', None), PointRangeAssigner)
    )
    strides = head.prior_generator.strides
    doubling = [(4 << start + level,) * 2 for level in range(99)]
    fits = list(strides) == doubling[: len(strides)]
    return start - 1 if alone and start > 0 and fits else None


def overrides(
    key: str,
    options: Mapping[str, Any],
    changes: Mapping[str, Any],
    finer: int | None,
) -> dict[str, Any]:
    """Changes of a config's `model`.

    Args:
        key: Key of the head.
        options: Arguments of its anchor generator.
        changes: Arguments that change.
        finer: `start_level` of the neck if a finer level is added.
    """
    neck = {}
    if 'strides' in changes:
        outs = len(changes['strides'])
        neck = dict(neck=dict(start_level=finer, num_outs=outs))
    return {**neck, key: dict(anchor_generator=dict(options))}


def as_json(report: Mapping[str, Any]) -> str:
    return json.dumps(report, indent=2)


def write(report: Mapping[str, Any], out: Path, config: str) -> None:
    """Write a report as JSON.

    Raises:
        ValueError: The file is the config, or its folder is missing.
        OSError: The file cannot be written.
    """
    check_out(out, [config])
    replace(out, f'{as_json(report)}\n')

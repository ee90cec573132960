"""Check that the trainings of a sweep will log the metric to compare."""

import math
from pathlib import Path
from typing import Any

from mmdet_retina_plus.common.config_tree import (
    annotation_path,
    datasets_in,
    kind,
)
from mmdet_retina_plus.common.suggestions import did_you_mean

from .trial_config import total_steps


def check_run(cfg: Any, metric: str, prune: bool = False) -> None:
    """Refuse a config whose trials would all fail or could not be compared.

    Args:
        cfg: Config of a trial.
        metric: Name of the compared metric in the log.
        prune: Whether trials are compared before their end.

    Raises:
        ValueError: The validation, the metric or the data is missing, or
            pruning has only one validation to go by.
    """
    loop = cfg.get('train_cfg') or {}
    if not cfg.get('val_dataloader') or not cfg.get('val_evaluator'):
        raise ValueError(
            'the config has no val_dataloader or no val_evaluator, so trials '
            'cannot be compared'
        )
    steps = total_steps(cfg)
    interval = loop.get('val_interval') or 1
    begin = loop.get('val_begin') or 1
    if steps and begin > steps:
        raise ValueError(
            f'train_cfg validates from {begin} on but ends at {steps}: reduce '
            'val_begin'
        )
    first = math.ceil(begin / interval) * interval
    if prune and first >= steps and 'dynamic_intervals' not in loop:
        raise ValueError(
            f'train_cfg.val_interval is {interval} of {steps}: --prune '
            'compares trials at validations before the last, so set it to a '
            'fraction of that'
        )
    check_metric(cfg.val_evaluator, metric)
    for split in ('train', 'val'):
        loader = cfg.get(f'{split}_dataloader') or {}
        for dataset in datasets_in(loader.get('dataset')):
            if not dataset.get('ann_file'):
                continue
            path = Path(annotation_path(dataset))
            if not path.is_file():
                raise ValueError(
                    f'{split}_dataloader reads {path}, which does not exist: '
                    'start from the folder that the paths are relative to, '
                    'or set data_root'
                )


COCO_ITEMS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


def check_metric(evaluator: Any, metric: str) -> None:
    """Refuse a name that mmdet's COCO metric does not log.

    Other evaluators, and extra items, may log any name.

    Raises:
        ValueError: The metric is not logged.
    """
    if kind(evaluator) not in ('CocoMetric', 'FasterCocoMetric'):
        return
    if evaluator.get('metric_items') or evaluator.get('classwise'):
        return
    tasks = evaluator.get('metric', 'bbox')
    tasks = [tasks] if isinstance(tasks, str) else tasks
    prefix = evaluator.get('prefix') or 'coco'
    names = [f'{prefix}/{task}_{x}' for task in tasks for x in COCO_ITEMS]
    if metric not in names and not set(tasks) & {'proposal', 'proposal_fast'}:
        hint = did_you_mean(metric, names, always=True)
        raise ValueError(
            f'the evaluator logs no {metric}{hint} Set `metric` of the sweep'
        )

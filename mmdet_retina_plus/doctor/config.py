"""Every check of a config and its data, in order."""

from collections.abc import Sequence
from pathlib import Path

from mmdet_retina_plus.common.config_file import load_config

from . import annotations, settings, weights
from .consistency import (
    check_evaluators,
    check_labels,
    check_num_classes,
    check_registration,
)
from .data_sets import read_splits
from .findings import Finding, failure, guarded
from .model import check_model
from .segmentations import check_segmentations

SETTING_CHECKS = (*settings.CHECKS, *weights.CHECKS, check_evaluators)
"""Checks of the config alone."""


def check_config(path: Path, options: Sequence[str] = ()) -> list[Finding]:
    """All findings about a config and the data that it names."""
    try:
        cfg = load_config(path, options)
    except FileNotFoundError as error:
        way_out = 'give a path; `retina-plus config NAME` prints ours'
        return [failure('config', error, way_out)]
    except Exception as error:  # A config is a program, it may raise anything.
        return [failure('config', error)]
    values = cfg.to_dict()
    findings = guarded(check_registration, values, cfg.text)
    for check_setting in SETTING_CHECKS:
        findings += guarded(check_setting, values)
    splits, unread = read_splits(values)
    findings += unread + guarded(check_num_classes, values, splits)
    findings += guarded(check_labels, splits)
    for split in splits:
        for check_split in (*annotations.CHECKS, check_segmentations):
            findings += guarded(check_split, split)
    return findings + guarded(check_model, cfg, splits)

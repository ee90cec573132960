"""Try the pipeline of test-time augmentation on a validation image."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmdet_retina_plus.common.config_tree import kind, part

from .data_sets import silence
from .findings import Finding
from .pipelines import choose, step_failed, step_of
from .switches import replaced
from .unread_settings import source_of

KEY = 'tta_pipeline'
OF_VIEWS = ('flip', 'flip_direction')
"""Meta keys of a view that a model may need to map boxes back."""


def check_views_load(cfg: Mapping, dataset: Any, there: Any) -> list[Finding]:
    """Load the views of an image; warn, because training does not stop.

    Args:
        cfg: Config of the run.
        dataset: Validation data set as the runner builds it.
        there: Tells whether a path is a readable image.
    """
    steps: Any = cfg.get(KEY)
    if not steps or not cfg.get('tta_model'):
        return []
    if not hasattr(dataset, 'pipeline') or not len(dataset):
        return []
    changed = copy.copy(dataset)
    if replaced(KEY, changed, steps):  # `check_tta` reports it.
        return []
    for index in choose(changed, there)[:1]:
        try:
            with silence():
                sample = changed[index]
        except Exception as error:  # A transform may raise anything.
            found = step_failed(KEY + step_of(changed, error), error)
            return [replace(found, level='warning')]
        return check_packed_views(cfg, sample)
    return []


def check_packed_views(cfg: Mapping, sample: Any) -> list[Finding]:
    """Report views without what the model merges them by."""
    from mmdet.registry import MODELS

    views: Any = part({'x': sample}, 'x').get('data_samples')
    if not isinstance(views, Sequence):
        return [
            Finding(
                'warning',
                KEY,
                'it gives one view of an image, not a list of views',
                "tta_pipeline=[dict(type='LoadImageFromFile'), "
                "dict(type='TestTimeAug', transforms=[[…], […], [dict(type="
                "'PackDetInputs')]])]",
            )
        ]
    model = part(cfg, 'tta_model').get('type')
    if isinstance(model, str):
        model = MODELS.get(model)  # That of mmdet is one of mmengine.
    text = source_of(model) if isinstance(model, type) else ''
    absent = [
        x
        for x in OF_VIEWS
        if f"'{x}'" in text and not all(x in view for view in views)
    ]
    if not absent:
        return []
    return [
        Finding(
            'warning',
            KEY,
            f'its views have no {" and no ".join(absent)}, at which '
            f'{kind(cfg["tta_model"])} stops',
            "dict(type='RandomFlip', prob=0.0) in its transforms, and "
            "PackDetInputs with 'flip' and 'flip_direction' in meta_keys",
        )
    ]

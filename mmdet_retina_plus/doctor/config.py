"""Every check of a config and its data, in order."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmdet_retina_plus.common.config_file import load_config
from mmdet_retina_plus.common.config_tree import part
from mmdet_retina_plus.common.option_values import (
    read_by_mmengine,
    read_value,
)

from . import (
    annotations,
    images,
    optimizer_settings,
    run_parts,
    settings,
    weights,
)
from .anchors import (
    check_anchors,
    check_distinct,
    check_scales,
    positive_threshold,
)
from .consistency import (
    check_evaluators,
    check_labels,
    check_num_classes,
    check_registration,
    join_labels,
)
from .data_sets import DataSets, read_data_sets, without_collection
from .findings import (
    Finding,
    any_error,
    explains,
    failure,
    guarded,
    is_error,
    joined,
    without_consequences,
)
from .image_files import Look, Track
from .model import (
    blank_samples,
    build_model,
    check_features,
    input_channels,
    prior_generator,
)
from .model_fit import explain_heads
from .model_traits import scored_sets
from .pictures import draw_samples
from .pipelines import build_data
from .scoring import check_evaluator, check_monitors
from .segmentations import check_segmentations
from .trial import check_loss_step, check_prediction

SETTING_CHECKS = (
    *settings.CHECKS,
    *weights.CHECKS,
    *run_parts.CHECKS,
    *optimizer_settings.CHECKS,
    check_evaluators,
)
"""Checks of the config alone."""


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Only errors of mmengine's loggers, while parts are built."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def check_config(
    path: Path,
    options: Sequence[str] = (),
    fast: bool = False,
    show: Path | None = None,
    track: Track = iter,
) -> list[Finding]:
    """All findings about a config and the data that it names, worst first.

    Args:
        path: Of the config.
        options: Changes, each 'key.of.the.config=value'.
        fast: Decode a sample of the images, not all.
        show: Folder for pictures of samples.
        track: Shows progress over many images.
    """
    try:
        cfg = load_config(path, options)
    except FileNotFoundError as error:
        fix = 'give a path; `retina-plus config NAME` prints ours'
        if path.is_dir():
            message = f'{path} is a folder, not a config'
            return [Finding('error', 'config', message, fix)]
        return [failure('config', error, fix)]
    except ImportError as error:
        fix = (
            'correct custom_imports, or install or put into PYTHONPATH what '
            'it names'
        )
        message = str(error).partition(', the current sys.path')[0]
        return [Finding('error', 'custom_imports', message, fix)]
    except Exception as error:  # A config is a program, it may raise anything.
        return [failure('config', error)]
    values = cfg.to_dict()
    scope = check_scope(values)
    if scope:
        return scope
    findings = guarded(check_registration, values, cfg.text)
    findings += guarded(check_options, options)
    for check_setting in SETTING_CHECKS:
        findings += guarded(check_setting, values)
    # Each collection would look at millions of annotations again.
    with quiet_logs(), without_collection():
        data = read_data_sets(values)
        findings += data.findings
        looks, found = check_data(values, data, fast, track)
        findings += found
        known = list(findings)
        findings += check_run(cfg, values, data, looks, show, known)
    return join_labels(joined(findings))


def check_scope(values: Mapping) -> list[Finding]:
    """`default_scope`, where all types are looked up."""
    from mmengine.registry import MODELS

    scope = values.get('default_scope', 'mmdet')
    if scope in list(MODELS.children):
        return []
    message = f'default_scope={scope!r} has none of the types of mmdet'
    return [
        Finding('error', 'default_scope', message, "default_scope='mmdet'")
    ]


def check_options(options: Sequence[str]) -> list[Finding]:
    """Options that `mim train` would read as another value."""
    findings = []
    for option in options:
        key, _, text = option.partition('=')
        ours = read_value(text)
        try:
            theirs = repr(read_by_mmengine(text))
        except AssertionError:
            theirs = 'no value'
        if repr(ours) != theirs:
            findings.append(
                Finding(
                    'warning',
                    '--cfg-options',
                    f'{key} is {ours!r} here, `mim train --cfg-options` '
                    f'reads {theirs}',
                    f'write it into the config: {key}={ours!r}',
                )
            )
    return findings


def check_data(
    values: Mapping, data: DataSets, fast: bool, track: Track
) -> tuple[dict[str, Look], list[Finding]]:
    """Annotations and image files."""
    findings = guarded(check_num_classes, values, data.splits)
    findings += guarded(check_labels, data.splits)
    findings += guarded(annotations.check_unused_classes, data.splits)
    for split in data.splits:
        findings += annotations.check_annotations(split)
        findings += guarded(check_segmentations, split)
    looks: dict[str, Look] = {}

    def check_images() -> list[Finding]:
        looks.update(images.look_at_images(data.splits, fast, track))
        found = images.check_shared(data.splits, looks)
        for split in data.splits:
            for check_image in images.CHECKS:
                found += guarded(check_image, split, looks)
        return found

    return looks, findings + guarded(check_images)


def check_run(
    cfg: Any,
    values: Mapping,
    data: DataSets,
    looks: Mapping[str, Look],
    show: Path | None,
    known: Sequence[Finding],
) -> list[Finding]:
    """What the runner builds, a step and a prediction."""

    def readable(path: Any) -> bool:
        if path in looks:
            return not looks[path].error
        return not isinstance(path, str) or os.path.isfile(path)

    findings: list[Finding] = []
    built, samples, scores, loaders = {}, {}, {}, {}
    for name in ('train', *scored_sets(values)):
        if not part(values, f'{name}_dataloader'):
            continue

        def check_pipeline(name: str = name) -> list[Finding]:
            built[name], samples[name], found = build_data(
                values, name, data, readable
            )
            # Of annotations that cannot be loaded the file's findings tell.
            if any(x.subject == f'{name} data' for x in known if is_error(x)):
                found = [x for x in found if 'LoadAnno' not in x.subject]
            if built[name] is not None:
                loaders[name], more = run_parts.build_loader(
                    values, name, built[name]
                )
                found += more
            return found

        def draw(name: str = name) -> list[Finding]:
            if show is not None and samples.get(name):
                classes = built[name].metainfo.get('classes', ())
                draw_samples(show, name, samples[name], classes)
            return []

        findings += guarded(check_pipeline) + guarded(draw)
        if name == 'train':
            continue

        key = f'{name}_evaluator'
        wrong = {x.subject for x in known if is_error(x)}
        if key in wrong or (
            built.get(name) is None and f'{name} data' in wrong
        ):
            continue

        def check_scoring(name: str = name) -> list[Finding]:
            scores[name], found = check_evaluator(
                values, name, built.get(name)
            )
            return found

        findings += guarded(check_scoring)
    findings += guarded(check_monitors, values, scores.get('val') or {})
    causes = [*known, *findings]
    return findings + check_model(
        cfg, values, data, samples, loaders.get('train'), causes
    )


def check_model(
    cfg: Any,
    values: Mapping,
    data: DataSets,
    samples: Mapping[str, Sequence[Any]],
    loader: Any,
    known: Sequence[Finding],
) -> list[Finding]:
    """Build it, lay its anchors over objects, take a step."""
    model, findings = build_model(cfg)
    if model is None and any(
        explains(cause, x.message)
        or (is_error(cause) and cause.fix.startswith('model.'))
        for cause in known
        for x in findings
    ):
        findings = []
    findings += guarded(weights.check_weights, values, model)
    findings += guarded(run_parts.check_run, values, model, loader)
    if model is None:
        return findings
    seen = samples.get('train') or samples.get('val') or ()
    features, strides = check_features(model, seen)
    findings += strides
    if samples.get('train') != []:
        findings += guarded(check_priors, cfg, model, data)
        findings += guarded(check_scales, data.splits, samples)
    if any_error(strides):
        return findings
    batch = samples.get('train')
    failed = batch is not None and not batch
    tried: list[Finding] = []
    if values.get('train_cfg') is not None and model_trains(model):
        given = batch or blank_samples(input_channels(model, seen))
        found = guarded(check_loss_step, model, given)
        # Of blank images only a failure tells something.
        tried += found if not failed or any_error(found) else []
    if samples.get('val'):
        tried += guarded(check_prediction, model, samples['val'])
    if any_error(tried):
        tried = explain_heads(model, features) or tried
    return findings + without_consequences(tried, known)


def model_trains(model: Any) -> bool:
    return getattr(model, 'train_cfg', True) is not None


def check_priors(cfg: Any, model: Any, data: DataSets) -> list[Finding]:
    """Anchors that are distinct and fit the objects of the first split."""
    from mmdet.models.task_modules import AnchorGenerator

    generator = prior_generator(model)
    if not isinstance(generator, AnchorGenerator):
        return []
    findings = check_distinct(generator)
    if data.splits:
        preprocessor = cfg.model.get('data_preprocessor') or {}
        findings += check_anchors(
            data.splits[0],
            generator,
            preprocessor.get('pad_size_divisor', 1),
            positive_threshold(cfg.model.get('train_cfg') or {}),
        )
    return findings

"""Run every check of a config and its data, in order."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmdet_retina_plus.common.config_file import load_config
from mmdet_retina_plus.common.config_tree import datasets_in, kind, part, walk
from mmdet_retina_plus.common.text import quantity

from . import (
    annotations,
    hook_settings,
    images,
    run_parts,
    settings,
    unread_settings,
    weights,
)
from .anchors import check_batch_scales, check_scales, check_stretch
from .balance import check_balance
from .categories import check_parts, check_unused_classes
from .checkpoints import check_weights
from .config_reading import check_options, check_scope, config_failure
from .consistency import (
    check_evaluators,
    check_exchanged,
    check_labels,
    check_num_classes,
    check_objects,
    check_registration,
    check_shifted_ids,
    join_labels,
    respelt,
)
from .crowding import check_crowding
from .data_sets import (
    DataSets,
    is_other,
    metrics_of,
    read_data_sets,
    without_collection,
)
from .drawn_boxes import check_drawn_boxes
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
from .frames import check_frames
from .image_files import Look, Track
from .inheritance import check_lost, check_variables
from .loader_settings import check_learning_rate, check_small_batch
from .mirrors import check_mirrors
from .model import (
    blank_samples,
    build_model,
    check_features,
    input_channels,
)
from .model_fit import explain_heads
from .model_traits import scored_sets
from .monitors import check_monitors
from .old_settings import check_old_keys
from .pictures import draw_samples, loads_late
from .pipeline_trials import steps_of
from .pipelines import build_data, is_image
from .placement import check_placement
from .priors import check_priors
from .sample_values import (
    check_channels,
    check_contrasts,
    check_mean_order,
    check_tiny,
)
from .scoring import check_evaluator, without_causes
from .segmentations import check_segmentations
from .semantic_maps import check_maps
from .shared_images import check_shared
from .switches import check_switches
from .tints import check_tints
from .trial import check_loss_step, check_prediction
from .views import check_views_load

SETTING_CHECKS = (
    *settings.CHECKS,
    *weights.CHECKS,
    *run_parts.CHECKS,
    *hook_settings.CHECKS,
    *unread_settings.CHECKS,
    check_evaluators,
    check_exchanged,
)
"""Checks of the config alone."""


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Show only errors of mmengine's loggers, and no warnings of packages."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
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
    """Check a config and the data that it names; worst findings first.

    Args:
        path: Config file.
        options: Overrides, each 'key.of.the.config=value'.
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
            'correct custom_imports, or install what it names or add it to '
            'PYTHONPATH'
        )
        message = str(error).partition(', the current sys.path')[0]
        return [Finding('error', 'custom_imports', message, fix)]
    except Exception as error:  # A config is a program, it may raise anything.
        return [config_failure(error)]
    values = cfg.to_dict()
    scope = check_scope(values)
    if scope:
        return scope
    with quiet_logs():
        findings = check_values(cfg, values, options, fast, show, track)
    return join_labels(joined(findings))


def check_values(
    cfg: Any,
    values: Mapping,
    options: Sequence[str],
    fast: bool,
    show: Path | None,
    track: Track,
) -> list[Finding]:
    """Check a config that was read; see `check_config`."""
    findings = guarded(check_registration, values, cfg.text)
    findings += guarded(check_old_keys, values, cfg.text)
    findings += guarded(run_parts.check_keys, values, cfg.text)
    for check_file in (
        check_variables,
        check_learning_rate,
        check_small_batch,
    ):
        findings += guarded(check_file, cfg.filename, values)
    lost = guarded(check_lost, cfg.filename, values)
    if not any(x.subject == 'custom_hooks' for x in lost):
        lost += guarded(hook_settings.check_mixing, values)
    findings += lost
    findings += guarded(check_options, options)
    ignored = unread_settings.misplaced(values)
    findings += ignored.values()
    for key in ignored:  # They have no effect that could be judged.
        above, _, name = key.rpartition('.')
        for tree in (values, {'model': cfg.model}):
            settings_of: Any = part(tree, above)
            settings_of.pop(name)
    for check_setting in SETTING_CHECKS:
        findings += guarded(check_setting, values)
    # Each garbage collection would visit millions of annotations again.
    with without_collection():
        data = read_data_sets(values)
        findings += data.findings
        looks, found = check_data(values, data, fast, track)
        findings += found
        known = list(findings)
        findings += check_run(cfg, values, data, looks, show, known)
    return findings


def check_data(
    values: Mapping, data: DataSets, fast: bool, track: Track
) -> tuple[dict[str, Look], list[Finding]]:
    """Check annotations and image files."""
    others = [x for x in data.bare.values() if is_other(x)]
    findings = guarded(check_num_classes, values, data.splits, others)
    findings += guarded(check_labels, data.splits)
    findings += guarded(check_shifted_ids, data.splits)
    findings += guarded(check_mirrors, values, data.splits)
    labelled = {x.name for x in data.splits if x.trains and x.usable.any()}
    for split in data.splits:
        rest = bool(labelled - {split.name})
        counts = annotations.check_annotations(split, rest)
        masks = []
        if not annotations.of_other_images(counts):
            masks = guarded(check_segmentations, split)
        if any_error(masks):  # Nothing is kept where loading stops.
            kept = ('training keeps', 'it has')
            counts = [x for x in counts if not x.message.startswith(kept)]
        findings += counts + masks
    findings = respelt(findings, data.splits)
    findings += guarded(check_unused_classes, data.splits, findings)
    findings += guarded(check_parts, data.splits)
    findings += guarded(check_balance, data.splits)
    findings += guarded(check_crowding, values, data.splits)
    configs = datasets_in(part(values, 'train_dataloader.dataset'))
    training = [data.bare.get(id(config)) for config in configs]
    if training and all(x in others for x in training):
        findings += guarded(check_objects, training)
    looks: dict[str, Look] = {}

    def check_images() -> list[Finding]:
        looks.update(images.look_at_images(data.splits, fast, track))
        found = check_shared(data.splits, looks)
        shared = {x.subject for x in found}
        rest = [x for x in data.splits if x.subject not in shared or x.trains]
        found += guarded(check_frames, rest, looks)
        found += guarded(check_tints, data.splits, looks)
        for split in data.splits:
            for check_image in images.CHECKS:
                found += guarded(check_image, split, looks)
            told = [*findings, *found]
            found += guarded(check_placement, split, told)
            found += guarded(check_drawn_boxes, split)
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
    """Build what a run builds, then try a loss step and a prediction."""

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
            # An error of the settings explains failures of the pipeline.
            wrong = f'{name}_dataloader.dataset.pipeline'
            if any(x.subject == wrong for x in known if is_error(x)):
                found = [x for x in found if x.subject != wrong]
            # Findings about the file explain annotations that do not load.
            if any(x.subject == f'{name} data' for x in known if is_error(x)):
                found = [x for x in found if x.cause != 'annotations']
            if built[name] is not None:
                loaders[name], more = run_parts.build_loader(
                    values, name, built[name]
                )
                found += more
                found += run_parts.check_batch(
                    name, loaders[name], samples[name]
                )
            return found

        def draw(name: str = name) -> list[Finding]:
            if show is not None and samples.get(name):
                meta = getattr(built[name], 'metainfo', {})
                classes = meta.get('classes', ())
                late = loads_late(steps_of(built[name]))
                shown = [x for x in samples[name] if is_image(x)]
                files = draw_samples(show, name, shown, classes, late)
                message = f'{quantity(len(files), "sample")} drawn in {show}'
                return [Finding('ok', f'{name} data', message)]
            return []

        findings += guarded(check_pipeline) + guarded(draw)
        if name == 'train':
            continue
        if name == 'val':
            bare = built.get(name)
            findings += guarded(check_views_load, values, bare, readable)

        key = f'{name}_evaluator'
        wrong = {x.subject for x in known if is_error(x)}
        if key in wrong or (
            built.get(name) is None and f'{name} data' in wrong
        ):
            continue

        def check_scoring(name: str = name) -> list[Finding]:
            scores[name], found = check_evaluator(
                values, name, built.get(name), samples.get(name) or ()
            )
            read = any(x.name.startswith(name) for x in data.splits)
            return without_causes(found, name if read else 'val', known)

        findings += guarded(check_scoring)
    findings += guarded(check_monitors, values, scores.get('val') or {})
    causes = [*known, *findings]
    return findings + check_model(
        cfg, values, data, samples, loaders.get('train'), readable, causes
    )


def check_model(
    cfg: Any,
    values: Mapping,
    data: DataSets,
    samples: Mapping[str, Sequence[Any]],
    loader: Any,
    there: Callable[[Any], bool],
    known: Sequence[Finding],
) -> list[Finding]:
    """Build the model, match its anchors with objects, and try it."""
    if not part(values, 'model'):
        message = 'the config has no model'
        fix = (
            "_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py'], or the "
            'path of another config that has one'
        )
        return [
            Finding('error', 'model', message, fix),
            *guarded(run_parts.check_run, values, None, loader),
        ]
    model, findings = build_model(cfg)
    if model is None and any(
        explains(cause, x.message)
        or (is_error(cause) and cause.fix.startswith('model.'))
        for cause in known
        for x in findings
    ):
        findings = []
    findings += guarded(check_weights, values, model, cfg.filename)
    findings += guarded(run_parts.check_run, values, model, loader)
    if model is None:
        return findings
    seen = samples.get('train') or samples.get('val') or ()
    features: list[Any] = []

    def check_strides() -> list[Finding]:
        levels, found = check_features(model, seen)
        features.extend(levels)
        return found

    strides = guarded(check_strides)
    findings += strides
    if samples.get('train') != []:
        findings += guarded(check_priors, cfg, model, data.splits)
        findings += guarded(check_scales, data.splits, samples)
        findings += guarded(check_stretch, data.splits)
        findings += guarded(check_batch_scales, values, samples)
    channels = guarded(check_channels, samples)
    pipelines = [x for x in known if x.subject.endswith('dataset.pipeline')]
    if not any_error(pipelines):
        findings += guarded(check_tiny, data.splits, samples)
        findings += guarded(check_contrasts, samples)
        findings += guarded(check_mean_order, values, samples)
    # Unloaded masks are the cause of empty maps.
    if not any(x.subject == 'pipeline' and is_error(x) for x in known):
        paints = any(
            kind(x) == 'PaintInstances'
            for x in walk(values.get('train_dataloader'))
        )
        channels += guarded(
            check_maps, model, samples.get('train') or (), paints
        )
    findings += channels
    if any_error(strides):
        return findings
    batch = samples.get('train')
    failed = batch is not None and not batch
    tried: list[Finding] = []
    switched: list[Finding] = []
    if values.get('train_cfg') is None:
        message = 'not tried: train_cfg=None, the config does not train'
        tried.append(Finding('ok', 'loss step', message))
    else:

        def check_step() -> list[Finding]:
            given = batch or blank_samples(input_channels(model, seen))
            idle = not values.get('find_unused_parameters')
            return check_loss_step(model, given, idle)

        found = guarded(check_step)
        # On blank images only a failure is informative.
        if failed and not any_error(found):
            message = 'not tried: no sample of training can be loaded'
            found = [Finding('ok', 'loss step', message)]
        if batch and loader is not None and not any_error(found):
            switched = guarded(
                check_switches, values, model, loader.dataset, there, batch
            )
        tried += found
    if samples.get('val'):
        metrics = metrics_of(values, 'val')
        tried += guarded(check_prediction, model, samples['val'], metrics)
    else:
        message = 'not tried: no sample of validation can be loaded'
        tried.append(Finding('ok', 'prediction', message))
    if any_error(tried):
        tried = guarded(explain_heads, model, features) or tried
    tried += switched
    return findings + without_consequences(tried, [*known, *channels])

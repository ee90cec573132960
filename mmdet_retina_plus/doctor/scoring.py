"""Evaluators, tried with the data set's own objects as predictions."""

import copy
import inspect
import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mmdet_retina_plus.common.config_tree import (
    annotation_path,
    dataset_chains,
    datasets_in,
    dotted_items,
    kind,
    part,
    walk,
)
from mmdet_retina_plus.common.run_lengths import compressed, cut_off
from mmdet_retina_plus.common.text import quantity, some

from .coco_metric import explain_arguments
from .data_sets import ids_of, silence
from .explanations import explained
from .findings import Finding
from .pipelines import META
from .run_parts import Parts
from .unread_settings import source_of

IMAGES = 300
"""Images to score; more take longer and tell no more."""
PERFECT = 0.99
OF_PRECISION = re.compile(r'(mAP|(^|/|_)AP\d*)$')
"""Names of scores that are 1 at most."""
OF_QUALITY = re.compile(r'mAP|AR|(^|/|_)AP')
"""Names of scores that are the better the higher they are."""
TOLD = (*META, 'pred_instances')
"""What samples have, or lack and have a finding of their own."""
MANY = 100
"""COCO's AP counts as many objects an image."""
TRUSTED = ('mmdet', 'mmengine', 'mmdet_retina_plus')
"""Packages whose metrics write into `out_file…` and `output_dir` alone."""


def perfect_sample(
    info: Mapping, masks: bool, packed: Any = None
) -> dict[str, Any]:
    """What a detector would return that finds every object.

    Args:
        info: Of an image.
        masks: Whether masks are scored.
        packed: What the pipeline hands on, of this image where a metric reads
            its objects; None: all that a metric may read.
    """
    import torch

    instances = [
        x for x in info.get('instances') or () if not x.get('ignore_flag')
    ]
    boxes = torch.tensor([x['bbox'] for x in instances]).reshape(-1, 4)
    labels = torch.tensor([x['bbox_label'] for x in instances]).long()
    found: dict[str, Any] = {
        'bboxes': boxes.float(),
        'labels': labels,
        'scores': torch.ones(len(instances)),
    }
    size = (info['height'], info['width'])
    if masks:
        found['masks'] = [compressed(x['mask'], *size) for x in instances]
    given = {
        'gt_instances': found,
        'ignored_instances': {
            'bboxes': torch.zeros(0, 4),
            'labels': torch.zeros(0).long(),
        },
    }
    if packed is not None and packed.get('img_id') == info['img_id']:
        given = {x: plain(packed.get(x)) for x in given if x in packed}
    read = given | {
        'img_id': info['img_id'],
        'img_path': info.get('img_path', ''),
        'ori_shape': size,
        'img_shape': size,
        'instances': info.get('instances') or [],
        'pred_instances': found,
    }
    return {
        key: value
        for key, value in read.items()
        if packed is None or key in packed or key in TOLD
    }


def plain(instances: Any) -> Any:
    """Objects of a sample, their boxes as the model hands them on."""
    instances = instances.clone()
    if 'bboxes' in instances:
        boxes = instances.bboxes
        instances.bboxes = getattr(boxes, 'tensor', boxes)
    return instances


def reads_samples(metric: Any) -> bool:
    """Whether it scores against the objects that the pipeline hands on."""
    built: Any = type(metric)
    return 'gt_instances' in source_of(built)


def some_infos(dataset: Any, ids: Container | None) -> list[Mapping]:
    """Images that are scored, of these ids or spread over the data set."""
    if ids is not None:
        infos = map(dataset.get_data_info, range(len(dataset)))
        return [info for info in infos if info['img_id'] in ids]
    number = min(len(dataset), IMAGES)
    indices = np.unique(np.linspace(0, len(dataset) - 1, number).astype(int))
    return [dataset.get_data_info(int(index)) for index in indices]


def metric_settings(cfg: Mapping, name: str, folder: str) -> Any:
    """Evaluator settings that write their files into a folder."""
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
    """Whether it is of a package whose metrics write where they are told."""
    return member.__module__.partition('.')[0] in TRUSTED


def may_write(metric: Any, settings: Any) -> bool:
    """Whether scoring may leave a file where a user keeps his own.

    Args:
        metric: Built.
        settings: It was built of.
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
    """What a built metric scores: 'bbox', 'segm'."""
    return getattr(metric, 'metrics', ())


def build_evaluator(cfg: Mapping, name: str, folder: str) -> Any:
    """The evaluator, of which metrics that write files do nothing."""
    settings = metric_settings(cfg, name, folder)
    # Before it is built, which may change it.
    listed = part({'x': settings}, 'x').get('metrics', settings)
    listed = listed if isinstance(listed, list | tuple) else [listed]
    listed = copy.deepcopy(listed)
    evaluator = Parts(cfg, None).build_evaluator(settings)
    for metric, given in zip(evaluator.metrics, listed, strict=False):
        if may_write(metric, given):
            metric.process = lambda *_: None
            metric.evaluate = lambda *_: {}
    return evaluator


def formats_only(cfg: Mapping, name: str) -> bool:
    return any(x.get('format_only') for x in walk(cfg[f'{name}_evaluator']))


def check_reports(cfg: Mapping) -> list[Finding]:
    """Validation that writes files and scores nothing."""
    if any(monitored(cfg)):  # `check_monitors` tells.
        return []
    key = 'val_evaluator'
    message = 'format_only=True: validation reports no AP'
    return [Finding('warning', key, message, f'{key}.format_only=False')]


def check_evaluator(
    cfg: Mapping,
    name: str,
    dataset: Any,
    samples: Sequence[Any] = (),
) -> tuple[dict[str, float], list[Finding]]:
    """Scores of perfect predictions, and findings about the evaluator.

    Args:
        cfg: Of the run.
        name: 'val' or 'test'.
        dataset: As the runner builds it; None if that failed.
        samples: Those that went through its pipeline.
    """
    with TemporaryDirectory() as folder:
        return score_perfect(cfg, name, dataset, samples, folder)


def score_perfect(
    cfg: Mapping,
    name: str,
    dataset: Any,
    samples: Sequence[Any],
    folder: str,
) -> tuple[dict[str, float], list[Finding]]:
    """As `check_evaluator`, with a folder for files of metrics."""
    key = f'{name}_evaluator'
    if cfg.get(key) is None:
        return {}, []
    try:
        with silence():
            evaluator = build_evaluator(cfg, name, folder)
    except Exception as error:  # Of a metric.
        fix = f'correct {key}, such as {key}.ann_file'
        return {}, explain_arguments(key, cfg[key]) or [
            explained(key, error, fix=fix)
        ]
    if formats_only(cfg, name):
        return {}, [] if name == 'test' else check_reports(cfg)
    if any('proposal_fast' in metrics_of(x) for x in evaluator.metrics) and (
        np.lib.NumpyVersion(np.__version__) >= '1.24.0'
    ):
        message = (
            'proposal_fast stops where images have different numbers of '
            'objects, with numpy from 1.24 on'
        )
        fix = f"{key}.metric='proposal'"
        return {}, [Finding('error', key, message, fix)]
    if not hasattr(dataset, 'get_data_info'):
        return {}, []
    evaluator.dataset_meta = dataset.metainfo
    packed = {
        x['data_samples'].get('img_id'): x['data_samples'] for x in samples
    }
    first = next(iter(packed.values()), None)
    own = bool(packed) and any(map(reads_samples, evaluator.metrics))
    infos = some_infos(dataset, packed if own else None)
    masks = any('segm' in metrics_of(x) for x in evaluator.metrics)
    if not any(info.get('instances') for info in infos):
        return {}, []
    # Of many images only some are scored, where those left out lack, too.
    left_out = check_left_out(cfg, name, dataset, evaluator)
    if left_out:
        return {}, left_out
    try:
        with silence():
            refuse_cut_masks(evaluator, infos)
            perfect = [
                perfect_sample(info, masks, packed.get(info['img_id'], first))
                for info in infos
            ]
            if len(infos) < len(dataset):
                for metric in evaluator.metrics:
                    metric.img_ids = [info['img_id'] for info in infos]
            evaluator.process(perfect)
            scores = evaluator.evaluate(len(perfect))
    except KeyError as error:
        if error.args == ('mask',):  # Named by the annotations' check.
            return {}, []
        return {}, explain_arguments(key, cfg[key]) or [
            scoring_failed(cfg, name, error)
        ]
    except Exception as error:  # Of a metric.
        return {}, explain_arguments(key, cfg[key]) or [
            scoring_failed(cfg, name, error)
        ]
    findings = check_scores(key, scores, infos)
    # Where CocoMetric has no AP at all it answers -1.
    if findings and min(scores.values()) < 0:
        findings = explain_arguments(key, cfg[key]) or findings
    if findings and len({x['img_id'] for x in infos}) < len(infos):
        findings = [repeated(x, name) for x in findings]
    elif own and findings:
        findings = [replace(x, fix=loaded_late(name)) for x in findings]
    return dict(scores), subset_instead(cfg, name, findings)


def refuse_cut_masks(evaluator: Any, infos: Sequence[Mapping]) -> None:
    """Stop at masks that pycocotools would compare forever.

    Raises:
        ValueError: There are any.
    """
    objects = [x for info in infos for x in info.get('instances') or ()]
    listed = [(x.get('id', ''), x.get('mask')) for x in objects]
    for metric in evaluator.metrics:
        anns = getattr(getattr(metric, '_coco_api', None), 'anns', {})
        if 'segm' in metrics_of(metric):
            listed += [(key, x.get('segmentation')) for key, x in anns.items()]
    cut = cut_off([mask for _, mask in listed])
    if cut:
        raise ValueError(
            f'run lengths of {len(cut)} objects do not add up to height x '
            f'width, at which scoring hangs: ids '
            f'{some([x for x, _ in map(listed.__getitem__, cut)])}'
        )


def loaded_late(name: str) -> str:
    """Where boxes are loaded that a metric reads of the samples."""
    return (
        f"dict(type='LoadAnnotations', with_bbox=True) after Resize in "
        f'{name}_dataloader.dataset.pipeline: predictions are in the pixels '
        'of the image files, and loaded before it boxes are not'
    )


def repeated(finding: Finding, name: str) -> Finding:
    """Low scores, explained by images that come more than once."""
    return replace(
        finding,
        message='images of the data set come more than once, and the objects '
        'of an image once: the predictions of the others count as wrong',
        fix=f'{name}_dataloader.dataset without RepeatDataset, and each file '
        'once in a ConcatDataset',
    )


def chooses(cfg: Mapping, name: str) -> bool:
    """Whether `indices` chooses of the images."""
    data = part(cfg, f'{name}_dataloader').get('dataset')
    return any(x.get('indices') is not None for x in datasets_in(data))


def check_left_out(
    cfg: Mapping, name: str, dataset: Any, evaluator: Any
) -> list[Finding]:
    """Images with objects that are scored, and that `indices` leaves out."""
    if len(dataset) <= IMAGES or not chooses(cfg, name):
        return []
    ids = ids_of(dataset)
    scored: set = set()
    for metric in evaluator.metrics:
        api = getattr(metric, '_coco_api', None)
        scored |= set() if api is None else {*api.imgToAnns}
    lost = scored - (ids or set())
    if not lost:
        return []
    number = quantity(len(lost), 'image')
    finding = Finding(
        'warning', f'{name}_evaluator', f'{number} more are scored', 'see'
    )
    return subset_instead(cfg, name, [finding])


def subset_instead(
    cfg: Mapping, name: str, findings: Sequence[Finding]
) -> list[Finding]:
    """Low scores, explained by `indices` of the data set if it has any."""
    if not chooses(cfg, name):
        return list(findings)
    key = f'{name}_dataloader.dataset.indices'
    return [
        replace(
            finding,
            message=f'{key} leaves images out, whose objects are scored all '
            f'the same: {finding.message.partition(":")[0]}',
            fix=f'{key}=None, or give {name}_evaluator an ann_file of these '
            'images alone',
        )
        for finding in findings
    ]


def scoring_failed(cfg: Mapping, name: str, error: Exception) -> Finding:
    key = f'{name}_evaluator'
    members = list(
        dataset_chains(part(cfg, f'{name}_dataloader').get('dataset'))
    )
    metrics = cfg[key] if isinstance(cfg[key], list | tuple) else [cfg[key]]
    if 'do not correspond to current coco set' in str(error):
        message = 'it scores images that are not in its ann_file'
        fix = ann_file_fix(cfg, name)
        if len(members) > 1:
            metrics = [x for x in metrics if isinstance(x, Mapping)]
            names = [f'set{n}' for n in range(1, len(members) + 1)]
            message += (
                f': the data set is joined of {len(members)}, and each '
                'metric gets the images of all'
            )
            fix = (
                f"{key}=dict(type='MultiDatasetsEvaluator', metrics="
                f'[{", ".join(repr(dict(x)) for x in metrics)}], '
                f'dataset_prefixes={names})'
            )
        return Finding('error', key, message, fix)
    if 'ground truth is required' in str(error):
        message = 'without ann_file it has no objects to score against'
        return Finding('error', key, message, ann_file_fix(cfg, name))
    twice = re.search(r'with the same metric name (\S+)\. ', str(error))
    if twice:
        named = [x.get('prefix') or kind(x) for x in metrics]
        again = (n for n, x in enumerate(named) if x in named[:n])
        fix = f"{key}.{next(again, 1)}.prefix='other'"
        message = f'two of its metrics are called {twice[1]}'
        return Finding('error', key, message, fix)
    fix = f'correct {key} or the annotations that it scores'
    finding = explained(key, error, fix=fix)
    unknown = finding.fix == fix
    return replace(finding, cause='annotations' if unknown else '')


def ann_file_fix(cfg: Mapping, name: str) -> str:
    """The file that an evaluator is to score against."""
    key = f'{name}_evaluator'
    data = datasets_in(part(cfg, f'{name}_dataloader').get('dataset'))
    files = [annotation_path(x) for x in data if x.get('ann_file')]
    number = '.0' if isinstance(cfg[key], list | tuple) else ''
    file = repr(files[0]) if files else '… of the data set'
    return f'{key}{number}.ann_file={file}'


def without_causes(
    findings: Sequence[Finding], name: str, known: Sequence[Finding]
) -> list[Finding]:
    """Findings about scores that those about the annotations do not explain.

    Args:
        findings: About an evaluator.
        name: Its set: 'val', 'test'.
        known: Findings about the annotation files.
    """
    explained_by = [
        x
        for x in known
        if x.subject.startswith(f'{name} ')
        and (x.level == 'error' or x.cause == 'annotations')
    ]
    if not explained_by:
        return list(findings)
    return [x for x in findings if x.cause != 'annotations']


def check_scores(
    key: str, scores: Mapping[str, float], infos: Sequence[Mapping]
) -> list[Finding]:
    """Predictions of the objects themselves have to reach an AP of 1."""
    crowded = any(len(x.get('instances') or ()) > MANY for x in infos)
    low = {
        name: value
        for name, value in scores.items()
        if OF_PRECISION.search(name) and value < PERFECT
    }
    if crowded or not low:
        return []
    listed = ', '.join(f'{name} {value:.3f}' for name, value in low.items())
    return [
        Finding(
            'warning',
            key,
            'its own objects, as predictions, score '
            f'{listed}, not 1: it scores others than the data set has',
            f'{key}.ann_file=… of the data set, or write the annotations '
            'as boxes and masks in pixels of their images',
            'annotations',
        )
    ]


def waits(config: Mapping) -> bool:
    """Whether its `monitor` or `save_best` names a metric of validation."""
    name = kind(config)
    return name in ('CheckpointHook', 'EarlyStoppingHook') or 'Plateau' in name


def best_of(scores: Mapping[str, float]) -> str:
    """The first metric that has a value."""
    return next((x for x, value in scores.items() if value >= 0), 'auto')


def lowers(config: Mapping) -> bool:
    """Whether it takes a lower value for a better one."""
    # Hooks find the rule of a usual name by themselves.
    usual = 'less' if 'Plateau' in kind(config) else None
    return config.get('rule', usual) == 'less'


def monitored(cfg: Mapping) -> Iterator[tuple[str, str, Mapping]]:
    """Key, name of a metric, and the part of the config that waits for it."""
    waiting = {
        path: one
        for name in ('default_hooks', 'custom_hooks', 'param_scheduler')
        for path, one in dotted_items({name: cfg.get(name)})
        if isinstance(one, Mapping) and waits(one)
    }
    for path, one in waiting.items():
        for key in ('save_best', 'monitor'):
            names = one.get(key)
            names = [names] if isinstance(names, str) else names or ()
            for name in names if isinstance(names, list | tuple) else ():
                yield f'{path}.{key}', name, one


def check_monitors(cfg: Mapping, scores: Mapping[str, float]) -> list[Finding]:
    """Names of metrics that hooks and schedules wait for."""
    from mmdet_retina_plus.common.suggestions import hint, near_name

    findings = []
    # Other loops name metrics in ways of their own.
    if kind(cfg.get('val_cfg')) not in ('', 'ValLoop'):
        scores = {}
    for key, name, one in monitored(cfg):
        if cfg.get('val_evaluator') is None:
            message = f'waits for {name}, and there is no validation'
            fix = f'{key}=None, or val_dataloader, val_cfg and val_evaluator'
            level: Any = 'warning'
        elif formats_only(cfg, 'val'):
            message = f'waits for {name}, and format_only=True scores nothing'
            fix = 'val_evaluator.format_only=False'
            level = 'error'
        elif scores and name not in ('auto', *scores):
            near = near_name(name, scores, always=True)
            message = f'no metric is called {name}{hint(near)}'
            fix = f'{key}={near or next(iter(scores))!r}'
            level = 'error'
        elif scores.get(name, 0) < 0:
            message = f'{name} is -1: no object of validation counts for it'
            fix = f'{key}={best_of(scores)!r}'
            level = 'error'
        elif lowers(one) and OF_QUALITY.search(name):
            message = f"rule='less' keeps the lowest {name}"
            if 'Plateau' in kind(one):
                message = (
                    f"rule='less', the default: the learning rate falls "
                    f'while {name} rises'
                )
            fix = f"{key.rpartition('.')[0]}.rule='greater'"
            level = 'warning'
        else:
            continue
        findings.append(Finding(level, key, message, fix))
    return findings

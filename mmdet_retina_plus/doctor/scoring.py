"""Test evaluators with the data set's own objects as predictions."""

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mmdet_retina_plus.common.coco_format import has_box
from mmdet_retina_plus.common.config_tree import (
    annotation_path,
    dataset_chains,
    datasets_in,
    kind,
    part,
)
from mmdet_retina_plus.common.run_lengths import compressed, cut_off
from mmdet_retina_plus.common.text import quantity, some

from .coco_metric import explain_arguments
from .data_sets import ids_of, silence
from .evaluators import build_evaluator, metrics_of
from .explanations import explained
from .findings import Finding
from .monitors import formats_only, monitored
from .pipelines import META
from .unread_settings import source_of

IMAGES = 300
"""Maximum number of images to score."""
PERFECT = 0.99
OF_PRECISION = re.compile(r'(mAP|(^|/|_)AP\d*)$')
"""Names of scores whose maximum is 1."""
TOLD = (*META, 'pred_instances')
"""Keys to keep even if samples lack them, which another check reports."""
MANY = 100
"""Objects per image that COCO's AP counts."""


def perfect_sample(
    info: Mapping, masks: bool, packed: Any = None
) -> dict[str, Any]:
    """Return the result of a perfect detector.

    Args:
        info: Image info of the data set.
        masks: Whether masks are scored.
        packed: Data sample of the pipeline, whose keys the result is limited
            to; None: all keys that a metric may read.
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
    """Copy the objects of a sample, with boxes as plain tensors."""
    instances = instances.clone()
    if 'bboxes' in instances:
        boxes = instances.bboxes
        instances.bboxes = getattr(boxes, 'tensor', boxes)
    return instances


def reads_samples(metric: Any) -> bool:
    """Whether a metric scores against objects from the pipeline."""
    built: Any = type(metric)
    return 'gt_instances' in source_of(built)


def some_infos(dataset: Any, ids: Container | None) -> list[Mapping]:
    """Image infos to score: those with these ids, or an even sample."""
    if ids is not None:
        infos = map(dataset.get_data_info, range(len(dataset)))
        return [info for info in infos if info['img_id'] in ids]
    number = min(len(dataset), IMAGES)
    indices = np.unique(np.linspace(0, len(dataset) - 1, number).astype(int))
    return [dataset.get_data_info(int(index)) for index in indices]


def check_reports(cfg: Mapping) -> list[Finding]:
    """Report validation that writes files and scores nothing."""
    if any(monitored(cfg)):  # `check_monitors` reports it.
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
    """Score perfect predictions.

    Args:
        cfg: Config of the run.
        name: 'val' or 'test'.
        dataset: Data set as the runner builds it; None if that failed.
        samples: Samples that passed its pipeline.

    Returns:
        Scores by name, and findings about the evaluator.
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
    """Implement `check_evaluator`, with a folder for files of metrics."""
    key = f'{name}_evaluator'
    if cfg.get(key) is None:
        return {}, []
    try:
        with silence():
            evaluator = build_evaluator(cfg, name, folder)
    except Exception as error:  # A metric may raise anything.
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
            'with numpy 1.24 or newer, proposal_fast stops if images have '
            'different numbers of objects'
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
    # A sample of the images cannot show what `indices` leaves out.
    left_out = check_left_out(cfg, name, dataset, evaluator)
    if left_out:
        return {}, left_out
    dropped = dropped_objects(evaluator, infos)
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
        if error.args == ('mask',):  # The annotation checks report it.
            return {}, []
        return {}, explain_arguments(key, cfg[key]) or [
            scoring_failed(cfg, name, error)
        ]
    except Exception as error:  # A metric may raise anything.
        return {}, explain_arguments(key, cfg[key]) or [
            scoring_failed(cfg, name, error)
        ]
    findings = check_scores(key, scores, infos)
    if dropped[0]:
        findings = [explained_by_dropped(x, *dropped) for x in findings]
    # CocoMetric returns -1 if there is no AP at all.
    if findings and min(scores.values()) < 0:
        findings = explain_arguments(key, cfg[key]) or findings
    if findings and len({x['img_id'] for x in infos}) < len(infos):
        findings = [repeated(x, name) for x in findings]
    elif own and findings:
        findings = [replace(x, fix=loaded_late(name)) for x in findings]
    return dict(scores), subset_instead(cfg, name, findings)


def refuse_cut_masks(evaluator: Any, infos: Sequence[Mapping]) -> None:
    """Refuse masks at which pycocotools hangs.

    Raises:
        ValueError: There is such a mask.
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


DROPPED = {
    'marked "ignore", not "iscrowd"': (
        lambda x: x.get('ignore'),
        'write "iscrowd": 1 in place of "ignore": 1 for regions that are not '
        'to count, and no "ignore" for objects',
    ),
    'of area 0': (
        lambda x: x.get('area', 0) <= 0,
        'write area as width * height of bbox, or the pixels of the mask',
    ),
    'thinner than a pixel': (
        lambda x: has_box(x) and min(x['bbox'][2:]) < 1,
        'delete objects thinner than a pixel',
    ),
}
"""Objects that mmdet drops and pycocotools scores, and the fix."""


def dropped_objects(
    evaluator: Any, infos: Sequence[Mapping]
) -> tuple[str, str, bool]:
    """Objects that are scored though mmdet drops them.

    Scoring overwrites their flags, so look before it.

    Returns:
        What they are, '' if there are none; the fix; and whether the data set
        has all other objects that are scored.
    """
    images = {x['img_id'] for x in infos}
    scored: dict[Any, Mapping] = {}
    for metric in evaluator.metrics:
        api = getattr(metric, '_coco_api', None)
        if api is None:
            continue
        classes = list(evaluator.dataset_meta.get('classes', ()))
        known = {*api.get_cat_ids(cat_names=classes)}
        scored |= {
            key: x
            for key, x in api.anns.items()
            if x.get('category_id') in known
            and x.get('image_id') in images
            and not x.get('iscrowd')
        }
    left = list(scored.values())
    listed, fixes = [], []
    for name, (is_dropped, fix) in DROPPED.items():
        rest = [x for x in left if not is_dropped(x)]
        if len(rest) < len(left):
            number = quantity(len(left) - len(rest), 'object')
            listed.append(f'{number} {name}')
            fixes.append(fix)
        left = rest
    kept = sum(
        not x.get('ignore_flag')
        for info in infos
        for x in info.get('instances') or ()
    )
    return ', and '.join(listed), '; '.join(fixes), len(left) == kept


def explained_by_dropped(
    finding: Finding, what: str, fix: str, all_others: bool
) -> Finding:
    """Explain low scores by the `dropped_objects`."""
    if all_others:
        scores = finding.message.partition(':')[0]
        message = f'{scores}: it counts {what}, which mmdet drops'
        return replace(finding, message=message, fix=fix)
    return replace(
        finding,
        message=f'{finding.message}; it also counts {what}, which mmdet drops',
        fix=f'{finding.fix}; {fix}',
    )


def loaded_late(name: str) -> str:
    """Fix for a metric that reads boxes of the samples."""
    return (
        f"dict(type='LoadAnnotations', with_bbox=True) after Resize in "
        f'{name}_dataloader.dataset.pipeline: predictions are in pixels of '
        'the image files, but boxes loaded before Resize are not'
    )


def repeated(finding: Finding, name: str) -> Finding:
    """Explain low scores by repeated images."""
    return replace(
        finding,
        message='images of the data set are repeated, but their objects '
        'count once: further predictions count as false positives',
        fix=f'{name}_dataloader.dataset without RepeatDataset, and each file '
        'once in a ConcatDataset',
    )


def chooses(cfg: Mapping, name: str) -> bool:
    """Whether `indices` selects images."""
    data = part(cfg, f'{name}_dataloader').get('dataset')
    return any(x.get('indices') is not None for x in datasets_in(data))


def check_left_out(
    cfg: Mapping, name: str, dataset: Any, evaluator: Any
) -> list[Finding]:
    """Report images that are scored although `indices` leaves them out."""
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
    """Explain low scores by `indices`, if the data set has any."""
    if not chooses(cfg, name):
        return list(findings)
    key = f'{name}_dataloader.dataset.indices'
    return [
        replace(
            finding,
            message=f'{key} leaves images out, but their objects are still '
            f'scored: {finding.message.partition(":")[0]}',
            fix=f'{key}=None, or give {name}_evaluator an ann_file of only '
            'the selected images',
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
                f': the data set concatenates {len(members)}, and each '
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
    """Fix that names the file to score against."""
    key = f'{name}_evaluator'
    data = datasets_in(part(cfg, f'{name}_dataloader').get('dataset'))
    files = [annotation_path(x) for x in data if x.get('ann_file')]
    number = '.0' if isinstance(cfg[key], list | tuple) else ''
    file = repr(files[0]) if files else '… of the data set'
    return f'{key}{number}.ann_file={file}'


def without_causes(
    findings: Sequence[Finding], name: str, known: Sequence[Finding]
) -> list[Finding]:
    """Drop findings about scores that annotation findings explain.

    Args:
        findings: Findings about an evaluator.
        name: Its set: 'val' or 'test'.
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
    """Report an AP below 1 for perfect predictions."""
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
            f'{listed}, not 1: it scores other objects than the data set has',
            f'{key}.ann_file=… of the data set, or write the annotations '
            'as boxes and masks in pixels of their images',
            'annotations',
        )
    ]

"""Data sets with their pipelines, as the runner builds them, and samples."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from mmdet_retina_plus.common.config_tree import dataset_chains, kind, part

from .data_sets import DataSets, silence
from .explanations import explained
from .findings import Finding

SAMPLES = 8
SECONDS = 10
"""Samples of a pipeline to load, and for how long at most."""


def check_steps(key: str, config: Any) -> list[Finding]:
    """Build each step of the pipelines of a data set and its wrappers."""
    from mmdet.registry import TRANSFORMS

    findings = []
    done: list[int] = []
    for chain in dataset_chains(config):
        for link in chain:
            steps = link.get('pipeline')
            if not isinstance(steps, list | tuple) or id(steps) in done:
                continue
            done.append(id(steps))
            for number, step in enumerate(steps):
                try:
                    if not isinstance(step, Mapping):
                        raise TypeError(f'{step!r} is no dict(type=…)')
                    TRANSFORMS.build(dict(step))
                except Exception as error:  # Whatever a constructor raises.
                    where = f'{key}.pipeline[{number}] ({kind(step)})'
                    findings.append(explained(where, error))
    return findings


def assembled(config: Any, bare: Mapping[int, Any]) -> Any:
    """A data set with its pipeline, wrapped; None if one is not built."""
    from mmdet.registry import DATASETS
    from mmengine.dataset import Compose

    if isinstance(config, Mapping) and id(config) in bare:
        dataset = bare[id(config)]
        dataset.pipeline = Compose(config.get('pipeline') or ())
        return dataset
    if not isinstance(config, Mapping):
        return None
    single = 'dataset' in config
    members = [config['dataset']] if single else config.get('datasets') or ()
    built = [assembled(member, bare) for member in members]
    if not built or any(member is None for member in built):
        return None
    # Wrappers take configs, or data sets that are no wrappers themselves.
    given = [{'type': (lambda member=member: member)} for member in built]
    inner = {'dataset': given[0]} if single else {'datasets': given}
    return DATASETS.build(dict(config, **inner))


def choose(dataset: Any, there: Any) -> list[int]:
    """Indices of samples, those with objects and an existing file first."""
    length = len(dataset)
    step = max(length // 200, 1)
    chosen: list[int] = []
    empty: list[int] = []
    for index in range(0, length, step):
        info = dataset.get_data_info(index)
        if not there(info.get('img_path')):
            continue
        full = any(
            not x.get('ignore_flag') for x in info.get('instances') or ()
        )
        (chosen if full else empty).append(index)
    return (chosen + empty)[:SAMPLES]


def step_of(dataset: Any, error: BaseException) -> str:
    """The transform that an error came out of, '' if none."""
    transforms: list[Any] = []
    wrappers = [dataset]
    while wrappers:
        one = wrappers.pop()
        pipeline = getattr(one, 'pipeline', ())
        transforms += getattr(pipeline, 'transforms', pipeline)
        wrappers += getattr(one, 'datasets', None) or [
            x for x in [getattr(one, 'dataset', None)] if x is not None
        ]
    trace = error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get('self')
        for number, transform in enumerate(transforms):
            if owner is transform:
                return f'.pipeline[{number}] ({type(transform).__name__})'
        trace = trace.tb_next
    return ''


def load_samples(
    key: str, dataset: Any, there: Any
) -> tuple[list[Any], list[Finding]]:
    """Samples that went through the whole pipeline, and what failed."""
    samples: list[Any] = []
    end = time.monotonic() + SECONDS
    for index in choose(dataset, there):
        try:
            with silence():
                sample = dataset[index]
        except Exception as error:  # Of any transform.
            where = key + step_of(dataset, error)
            return samples, [step_failed(where, error)]
        if not isinstance(sample, Mapping) or 'inputs' not in sample:
            return samples, [
                Finding(
                    'error',
                    key,
                    'the pipeline gives no inputs to the model',
                    "end the pipeline with dict(type='PackDetInputs')",
                )
            ]
        samples.append(sample)
        if time.monotonic() > end:
            break
    return samples, []


def step_failed(where: str, error: Exception) -> Finding:
    fix = f'correct {where}, or leave it out'
    if 'CopyPaste' in where or 'func != 0' in str(error):
        fix = (
            'put Resize before CopyPaste: it is to get images and masks of '
            'their last size'
        )
    finding = explained(where, error, fix=fix)
    return Finding(
        'error',
        where,
        f'a sample does not pass: {finding.message}',
        finding.fix,
    )


def check_sample(key: str, samples: Sequence[Any]) -> list[Finding]:
    """What training needs in samples."""
    objects = 0
    for sample in samples:
        instances = getattr(sample['data_samples'], 'gt_instances', None)
        if instances is None or 'bboxes' not in instances:
            return [
                Finding(
                    'error',
                    key,
                    'the training samples have no boxes',
                    "dict(type='LoadAnnotations', with_bbox=True)",
                )
            ]
        if 'labels' not in instances:
            return [
                Finding(
                    'error',
                    key,
                    'the training samples have no labels',
                    "dict(type='LoadAnnotations', with_label=True)",
                )
            ]
        objects += len(instances)
    if samples and not objects:
        return [
            Finding(
                'warning',
                key,
                f'{len(samples)} samples have no object after the pipeline',
                'look at the crops and filters of the pipeline, with '
                '`retina-plus doctor CONFIG --show DIR`',
            )
        ]
    return []


META = ('img_id', 'ori_shape', 'scale_factor')
"""What scoring and the way back to the original image need."""


def check_meta(key: str, samples: Sequence[Any]) -> list[Finding]:
    """What validation needs in samples."""
    absent = [
        x for x in META if samples and x not in samples[0]['data_samples']
    ]
    # Without a Resize the static checks speak.
    if not absent or absent == ['scale_factor']:
        return []
    return [
        Finding(
            'error',
            key,
            f'the samples have no {" and no ".join(absent)}',
            "dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', "
            "'ori_shape', 'img_shape', 'scale_factor'))",
        )
    ]


def build_data(
    cfg: Mapping, name: str, data: DataSets, there: Any
) -> tuple[Any, list[Any], list[Finding]]:
    """Data set, samples and findings of a loader."""
    key = f'{name}_dataloader.dataset'
    config = part(cfg, f'{name}_dataloader').get('dataset')
    findings = check_steps(key, config)
    if findings:
        return None, [], findings
    try:
        with silence():
            dataset = assembled(config, data.bare)
    except Exception as error:  # Of a wrapper.
        return None, [], [explained(key, error)]
    if dataset is None or not len(dataset):
        return None, [], []
    samples, findings = load_samples(key, dataset, there)
    if not findings:
        check = check_sample if name == 'train' else check_meta
        findings = check(f'{key}.pipeline', samples)
        if not any(x.usable.any() for x in data.splits if x.trains):
            findings = [x for x in findings if x.level == 'error']
    return dataset, samples, findings

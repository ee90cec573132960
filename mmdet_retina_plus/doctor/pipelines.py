"""Build data sets with their pipelines, and load samples."""

import inspect
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from mmdet_retina_plus.common.config_tree import (
    dataset_chains,
    datasets_in,
    kind,
    part,
)

from .data_sets import DataSets, silence
from .explanations import META_KEYS, explained
from .findings import Finding
from .moved_labels import check_moved
from .pipeline_trials import check_chance, check_losses, place_of
from .sample_values import check_extent, check_outside

SAMPLES, SECONDS = 8, 10
"""Samples to load, and time limit in seconds."""
RARE = 2
"""Ratio of images per class to the median from which a class is rare."""
META = ('img_id', 'img_shape', 'ori_shape')
"""Meta keys that scoring needs."""
NEEDED = (
    (("'img'", '`img`'), "dict(type='LoadImageFromFile')"),
    (
        ("'gt_bboxes", "'gt_ignore_flags'"),
        "dict(type='LoadAnnotations', with_bbox=True)",
    ),
    (
        ("'gt_masks'",),
        "dict(type='LoadAnnotations', with_bbox=True, with_mask=True)",
    ),
)
"""Phrases of errors about missing data, and the step that loads it."""


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
                        raise TypeError(f'{step!r} is not a dict(type=…)')
                    TRANSFORMS.build(dict(step))
                except Exception as error:  # A constructor may raise anything.
                    where = f'{key}.pipeline[{number}] ({kind(step)})'
                    fix = taken_by(step) or f'correct {where}'
                    findings.append(explained(where, error, fix=fix))
    return findings


def taken_by(step: Any) -> str:
    """Describe the arguments that a step's class expects."""
    from mmdet.registry import TRANSFORMS

    built = TRANSFORMS.module_dict.get(kind(step))
    if built is None:
        return ''
    parameters = inspect.signature(built).parameters
    taken = [
        f'{name}={parameters[name].default!r}'
        if parameters[name].default is not inspect.Parameter.empty
        else re.sub(r'typing\.', '', str(parameters[name]))
        for name in step
        if name in parameters
    ]
    return f'{kind(step)} takes {", ".join(taken)}' if taken else ''


def check_packed(key: str, config: Any) -> list[Finding]:
    """Report steps after `PackDetInputs`."""
    for chain in dataset_chains(config):
        steps = [
            kind(step)
            for link in reversed(chain)
            for step in link.get('pipeline') or ()
        ]
        if 'PackDetInputs' not in steps[:-1]:
            continue
        after = steps[steps.index('PackDetInputs') + 1]
        return [
            Finding(
                'error',
                f'{key}.pipeline',
                f'{after} comes after PackDetInputs, which leaves it no image',
                f"move dict(type='PackDetInputs') to the end of {key}."
                'pipeline, and use it once',
            )
        ]
    return []


def assembled(config: Any, bare: Mapping[int, Any]) -> Any:
    """Add pipelines and wrappers; None if a data set was not built."""
    from mmdet.registry import DATASETS
    from mmengine.dataset import Compose

    if isinstance(config, Mapping) and id(config) in bare:
        dataset = bare[id(config)]
        if 'pipeline' in config:
            dataset.pipeline = Compose(config['pipeline'] or ())
        return dataset
    if not isinstance(config, Mapping):
        return None
    single = 'dataset' in config
    members = [config['dataset']] if single else config.get('datasets') or ()
    built = [assembled(member, bare) for member in members]
    if not built or any(member is None for member in built):
        return None
    # Wrappers take configs, or data sets that are not wrappers themselves.
    given = [{'type': (lambda member=member: member)} for member in built]
    inner = {'dataset': given[0]} if single else {'datasets': given}
    return DATASETS.build(dict(config, **inner))


def choose(dataset: Any, there: Any) -> list[int]:
    """Indices of images with an existing file, those with objects first.

    They are spread over the data set, whose parts may differ.
    """
    length = len(dataset)
    # Plain torch data sets have no infos.
    if not hasattr(dataset, 'get_data_info'):
        return list(range(min(length, SAMPLES)))
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
    chosen = chosen[:: -(-len(chosen) // SAMPLES) or 1]
    return (chosen + empty)[:SAMPLES]


def step_of(dataset: Any, error: BaseException) -> str:
    """Place of the transform that raised an error, '' if none did."""
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
                return f'.{place_of(number, transform)}'
        trace = trace.tb_next
    return ''


def load_samples(
    key: str, dataset: Any, there: Any
) -> tuple[list[Any], list[Finding]]:
    """Load samples through the whole pipeline, and report failures."""
    samples: list[Any] = []
    end = time.monotonic() + SECONDS
    indices = choose(dataset, there)
    for index in indices:
        try:
            with silence():
                sample = dataset[index]
        except Exception as error:  # A transform may raise anything.
            found = []
            if 'Cannot find valid image' in str(error):
                found = check_losses(key, dataset, indices, empty=True)
            where = key + step_of(dataset, error)
            return samples, found or [step_failed(where, error)]
        if not isinstance(sample, Mapping) or 'inputs' not in sample:
            return samples, [
                Finding(
                    'error',
                    key,
                    'the pipeline gives no inputs to the model',
                    "end the pipeline with dict(type='PackDetInputs')",
                )
            ]
        samples.append(labelled_branch(sample))
        if time.monotonic() > end:
            break
    return samples, []


def labelled_branch(sample: Mapping) -> Mapping:
    """Select the branch with objects, or else the first one."""
    inputs, shown = sample['inputs'], sample.get('data_samples')
    if not isinstance(inputs, Mapping) or not isinstance(shown, Mapping):
        return sample
    there = [name for name in inputs if inputs[name] is not None]
    full = [
        name
        for name in there
        if len(getattr(shown.get(name), 'gt_instances', ()))
    ]
    for name in full + there:
        return {
            'inputs': inputs[name],
            'data_samples': shown[name],
            'branch': name,
        }
    return sample


def is_image(sample: Mapping) -> bool:
    """Whether a sample is one image, not several inputs by name."""
    return hasattr(sample['inputs'], 'shape')


def step_failed(where: str, error: Exception) -> Finding:
    fix = f'correct {where}, or leave it out'
    if 'CopyPaste' in where or 'func != 0' in str(error):
        fix = (
            'put Resize before CopyPaste, which needs images and masks of '
            'their final size'
        )
    for phrases, loading in NEEDED:
        if any(phrase in str(error) for phrase in phrases):
            fix = f'{loading} before {where}'
    finding = explained(where, error, fix=fix)
    return Finding(
        'error',
        where,
        f'a sample fails: {finding.message}',
        finding.fix,
        'annotations' if '(LoadAnnotations)' in where else '',
    )


def check_sample(
    key: str, samples: Sequence[Any], dataset: Any, indices: Sequence[int]
) -> list[Finding]:
    """Check that training samples have what training needs.

    Args:
        key: Dotted key of the data set.
        samples: Samples as the network gets them.
        dataset: Data set of the samples.
        indices: Indices of their images.
    """
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
    empty = bool(samples) and not objects
    lost = check_losses(key, dataset, indices, empty)
    if lost:
        return lost
    if empty:
        return [
            Finding(
                'warning',
                f'{key}.pipeline',
                f'{len(samples)} samples have no object after the pipeline',
                'look at the crops and filters of the pipeline, with '
                '`retina-plus doctor CONFIG --show DIR`',
                'annotations',
            )
        ]
    return check_extent(f'{key}.pipeline', samples) or check_outside(
        f'{key}.pipeline', samples
    )


def check_meta(
    key: str, samples: Sequence[Any], needed: Sequence[str]
) -> list[Finding]:
    """Report required keys that `meta_keys` leaves out."""
    absent = [
        x for x in needed if samples and x not in samples[0]['data_samples']
    ]
    if not absent:
        return []
    return [
        Finding(
            'error',
            f'{key}.pipeline',
            f'the samples have no {" and no ".join(absent)}',
            META_KEYS,
        )
    ]


def wrappers(dataset: Any) -> Iterator[Any]:
    """Yield a built data set, and what it wraps."""
    yield dataset
    inner = getattr(dataset, 'dataset', None)
    for one in [inner] if inner else getattr(dataset, 'datasets', ()):
        yield from wrappers(one)


def check_balancing(key: str, dataset: Any) -> list[Finding]:
    """Report rare classes that `ClassBalancedDataset` does not repeat."""
    findings = []
    for one in wrappers(dataset):
        if type(one).__name__ != 'ClassBalancedDataset':
            continue
        number = len(one.dataset)
        if len(one) != number:
            continue
        counts = Counter(
            label
            for at in range(number)
            for label in {*one.dataset.get_cat_ids(at)}
        )
        least, usual = min(counts.values()), median(counts.values())
        if least > usual / RARE:
            continue
        findings.append(
            Finding(
                'warning',
                key,
                f'oversample_thr={one.oversample_thr} of ClassBalancedDataset '
                f'repeats no image: the rarest class is in {least} of '
                f'{number:,}, more than that fraction',
                f'oversample_thr={usual / number:.2g}, the median of the '
                'classes',
            )
        )
    return findings


def build_data(
    cfg: Mapping, name: str, data: DataSets, there: Any
) -> tuple[Any, list[Any], list[Finding]]:
    """Build the data set of a loader, load samples and check them."""
    key = f'{name}_dataloader.dataset'
    config = part(cfg, f'{name}_dataloader').get('dataset')
    findings = check_steps(key, config) or check_packed(key, config)
    if findings:
        return None, [], findings
    try:
        with silence():
            dataset = assembled(config, data.bare)
    except Exception as error:  # A wrapper may raise anything.
        return None, [], [explained(key, error)]
    if dataset is not None and not len(dataset):
        members = [data.bare.get(id(x)) for x in datasets_in(config)]
        if all(x is not None and len(x) for x in members):
            message = f'{kind(config)} leaves no image'
            fix = f'{key}.times=1, or without {kind(config)}'
            return None, [], [Finding('error', key, message, fix)]
    if dataset is None or not len(dataset):
        return None, [], []
    samples, findings = load_samples(key, dataset, there)
    if findings or not all(map(is_image, samples)):
        return dataset, samples, findings
    indices = choose(dataset, there)
    if name == 'train':
        findings = check_balancing(key, dataset)
        findings += check_meta(key, samples, ['img_shape'])
        findings += check_sample(key, samples, dataset, indices)
        findings += check_moved(key, dataset, indices)
    else:
        findings = check_meta(key, samples, META)
        if samples:
            findings += check_chance(name, key, dataset, indices[0])
    if not any(x.usable.any() for x in data.splits if x.trains):
        findings = [x for x in findings if x.level == 'error']
    return dataset, samples, findings

"""Check pipelines that run but return wrong samples."""

import re
from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any

from mmdet_retina_plus.common.config_tree import (
    dataset_chains,
    kind,
    part,
    walk,
    without_scopes,
)
from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.suggestions import did_you_mean

from .findings import Finding
from .model_traits import scored_sets
from .pipeline_trials import FOR_GOOD
from .unread_settings import source_of

MOVES = ('Resize', *FOR_GOOD)
"""Suffixes of transforms that move pixels and boxes."""
FILTERS = ('filter_empty_gt', 'min_size', 'bbox_min_size')
"""Filters that some data set of mmdet reads."""


def pipelines_of(cfg: Mapping, name: str) -> Iterator[tuple[str, list]]:
    """Key and steps of each pipeline of a loader."""
    loader = part(cfg, f'{name}_dataloader')
    for chain in dataset_chains(loader.get('dataset')):
        for link in chain:
            steps = link.get('pipeline')
            if isinstance(steps, list | tuple):
                yield f'{name}_dataloader.dataset.pipeline', list(steps)


def kinds_of(cfg: Mapping, name: str) -> Iterator[tuple[str, list[str]]]:
    """Key and names of the steps of each pipeline of a loader."""
    for key, steps in pipelines_of(cfg, name):
        yield key, [kind(step) for step in steps]


def as_call(step: Mapping) -> str:
    """Write a step as in a config: dict(type='Resize', scale=(96, 80))."""
    arguments = without_scopes(step).items()
    return f'dict({", ".join(f"{key}={x!r}" for key, x in arguments)})'


def check_order(cfg: Mapping) -> list[Finding]:
    """Report boxes that are loaded after their image was moved."""
    findings = []
    for key, pipeline in pipelines_of(cfg, 'train'):
        steps = [kind(step) for step in pipeline]
        places = [at for at, x in enumerate(steps) if x == 'LoadAnnotations']
        # The last one overwrites the others.
        for place in places[-1:]:
            moved = [step for step in steps[:place] if step.endswith(MOVES)]
            if not moved:
                continue
            findings.append(
                Finding(
                    'error',
                    key,
                    f'{moved[0]} comes before LoadAnnotations: the image is '
                    'moved, its boxes are not',
                    f'{as_call(pipeline[place])} directly after the step that '
                    f'loads the image{", only once" * (len(places) > 1)}',
                )
            )
    return findings


def check_normalized_twice(cfg: Mapping) -> list[Finding]:
    """Report images normalised twice, or only in some pipelines."""
    preprocessor = part(cfg, 'model.data_preprocessor')
    has = {
        name: any('Normalize' in steps for _, steps in kinds_of(cfg, name))
        for name in ('train', *scored_sets(cfg))
        if any(True for _ in pipelines_of(cfg, name))
    }
    if preprocessor.get('mean') is None and len({*has.values()}) > 1:
        without = next(name for name in has if not has[name])
        return [
            Finding(
                'error',
                f'{without}_dataloader.dataset.pipeline',
                'images are not normalised here, but those of '
                f'{next(name for name in has if has[name])} are',
                'the same Normalize in all pipelines, or mean and std in '
                'model.data_preprocessor in place of it',
            )
        ]
    return [
        Finding(
            'error',
            key,
            'images are normalised twice, here and by data_preprocessor',
            'leave Normalize out, or '
            'model.data_preprocessor.mean=None and std=None',
        )
        for name in ('train', *scored_sets(cfg))
        for key, steps in kinds_of(cfg, name)
        if 'Normalize' in steps and preprocessor.get('mean') is not None
    ]


COLOURS = ('Distortion', 'HSVRandomAug', 'Brightness', 'Contrast', 'Equalize')
"""Suffixes of transforms for values from 0 to 255."""


def check_colours(cfg: Mapping) -> list[Finding]:
    """Report colour transforms after `Normalize`."""
    return [
        Finding(
            'error',
            key,
            f'{step} comes after Normalize, but expects values from 0 to 255',
            f'{step} before Normalize, or mean and std of '
            'model.data_preprocessor in place of Normalize',
        )
        for key, steps in kinds_of(cfg, 'train')
        if 'Normalize' in steps
        for step in steps[steps.index('Normalize') + 1 :]
        if step.endswith(COLOURS)
    ]


ALBU_MOVES = (
    *('Flip', 'Rotate', 'Rotate90', 'Transpose', 'D4', 'Affine', 'Crop'),
    *('Resize', 'Size', 'Scale', 'Pad', 'Perspective', 'Distortion'),
    *('PadIfNeeded', 'ElasticTransform', 'CropNonEmptyMaskIfExists'),
)
"""Ends of the names of transforms of Albumentations that move pixels."""


def check_albu(cfg: Mapping) -> list[Finding]:
    """Check that Albumentations gets boxes and masks, as mmdet has them."""
    findings = []
    steps_of_all = list(walk(part(cfg, 'train_dataloader')))
    loaded = {'gt_bboxes': 'boxes'}
    if any(x.get('with_mask') for x in steps_of_all):
        loaded['gt_masks'] = 'masks'
    for key, steps in pipelines_of(cfg, 'train'):
        for number, step in enumerate(steps):
            where = f'{key}[{number}] (Albu)'
            given = part(step, 'bbox_params').get('format', 'pascal_voc')
            keys = part(step, 'keymap') or loaded
            inner = walk(part({'x': step}, 'x').get('transforms'))
            moves = any(kind(x).endswith(ALBU_MOVES) for x in inner)
            absent = [x for x in loaded if x not in keys]
            if kind(step) != 'Albu':
                continue
            if given != 'pascal_voc':
                message = f'format={given!r}, but boxes of mmdet are x1, y1, '
                message += "x2, y2: 'pascal_voc'"
                fix = "bbox_params.format='pascal_voc'"
            elif absent and moves:
                message = f'keymap has no {" and ".join(absent)}: the image '
                message += 'is moved, its '
                message += f'{" and ".join(loaded[x] for x in absent)} are not'
                names = {'img': 'image', 'gt_bboxes': 'bboxes'}
                if 'gt_masks' in loaded:
                    names['gt_masks'] = 'masks'
                fix = f'keymap={names}'
            else:
                continue
            findings.append(
                Finding('error', where, message, f'{fix} of {where}')
            )
    return findings


def filters_of(config: Mapping) -> list[str]:
    """Filters that a data set of mmdet reads; [] for other data sets."""
    from mmdet.registry import DATASETS

    # `Registry.get` logs names that it does not know.
    built = DATASETS.module_dict.get(kind(config))
    method = getattr(built, 'filter_data', None)
    if not getattr(method, '__module__', '').startswith('mmdet.'):
        return []
    return re.findall(r"filter_cfg\.get\('(\w+)'", source_of(built))


def is_pair(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(map(is_number, value))
    )


def check_mosaic_border(cfg: Mapping) -> list[Finding]:
    """Report a border that does not undo the doubled size of a mosaic."""
    return [
        Finding(
            'warning',
            f'{key}[{after}]',
            f'border={border} of RandomAffine leaves the mosaic at twice '
            f'img_scale={scale}: four times the memory, or objects of half '
            'the size once it is resized',
            f'border={right} of {key}[{after}]',
        )
        for key, steps in pipelines_of(cfg, 'train')
        for at, step in enumerate(steps)
        if kind(step).endswith('Mosaic')
        # Colours may change in between, but not the size.
        for after in [
            at + 1 + number
            for number, x in enumerate(steps[at + 1 :])
            if kind(x).endswith(MOVES)
        ][:1]
        if kind(steps[after]) == 'RandomAffine'
        # A later crop has the right size.
        if not any('Crop' in kind(x) for x in walk(steps[after + 1 :]))
        for scale in [step.get('img_scale', (640, 640))]
        for border in [steps[after].get('border', (0, 0))]
        if is_pair(scale) and is_pair(border)
        for right in [tuple(-x // 2 for x in scale)]
        if tuple(border) != right
    ]


def check_filters(cfg: Mapping) -> list[Finding]:
    """Report filters that nothing reads."""
    findings = []
    for parent in walk(part(cfg, 'train_dataloader')):
        known = filters_of(parent)
        for name in part(parent, 'filter_cfg'):
            if known and name not in known:
                guess = did_you_mean(name, known, always=True)
                findings.append(
                    Finding(
                        'warning' if name in FILTERS else 'error',
                        'train_dataloader.dataset.filter_cfg',
                        f'nothing reads {name}{guess}',
                        'filter_cfg=dict(filter_empty_gt=True, min_size=32)',
                    )
                )
    return findings


def check_shuffle(cfg: Mapping) -> list[Finding]:
    sampler = part(cfg, 'train_dataloader.sampler')
    if sampler.get('shuffle', True):
        return []
    key = 'train_dataloader.sampler'
    message = 'training sees the images in the order of the file'
    return [Finding('warning', key, message, f'{key}.shuffle=True')]


def check_flips(cfg: Mapping) -> list[Finding]:
    """Report flips that leave no image of training as it is."""
    findings = []
    for key, steps in pipelines_of(cfg, 'train'):
        for step in walk(steps):
            given: Any = step.get('prob')
            several = isinstance(given, list | tuple)
            chances = list(given) if several else [given]
            if kind(step) != 'RandomFlip' or not all(map(is_number, chances)):
                continue
            # Another check reports larger sums.
            if not isclose(sum(chances), 1):
                continue
            right = [x / 2 for x in chances] if several else 0.5
            message = (
                f'prob={given} of RandomFlip flips every image: training '
                'never sees one as validation does'
            )
            fix = f'prob={right} of RandomFlip'
            findings.append(Finding('warning', key, message, fix))
    return findings


def check_ratios(cfg: Mapping) -> list[Finding]:
    """Report aspect ratios of objects that differ from training."""
    train = resizing_steps(cfg, 'train')
    ratios = {step.get('keep_ratio', False) for step in train}
    scales = [tuple_of_scale(step) for step in train]
    turned = [
        Finding(
            'warning',
            f'{name}_dataloader.dataset.pipeline',
            f'scale={own} of Resize, (width, height), is {scales[0]} in '
            'training: objects have other shapes',
            f"dict(type='Resize', scale={scales[0]}, keep_ratio=False)",
        )
        for name in scored_sets(cfg)
        for step in resizing_steps(cfg, name)[:1]
        for own in [tuple_of_scale(step)]
        if ratios == {False}
        and len(train) == 1
        and own
        and own[0] != own[1]
        and own == scales[0][::-1]
    ]
    return turned + [
        Finding(
            'warning',
            f'{name}_dataloader.dataset.pipeline',
            f'keep_ratio={step.get("keep_ratio", False)} of Resize, and '
            f'{ratio} in training: objects have other shapes',
            f"dict(type='Resize', scale={step.get('scale')}, "
            f'keep_ratio={ratio})',
        )
        for name in scored_sets(cfg)
        for step in resizing_steps(cfg, name)[:1]
        if len(ratios) == 1
        for ratio in ratios
        if step.get('keep_ratio', False) is not ratio
    ]


def tuple_of_scale(step: Mapping) -> tuple:
    """Width and height of a step, () if it has several or none."""
    scale: Any = step.get('scale')
    if not isinstance(scale, list | tuple) or len(scale) != 2:
        return ()
    return tuple(scale) if all(map(is_number, scale)) else ()


def resizing_steps(cfg: Mapping, name: str) -> list[Mapping]:
    loader = part(cfg, f'{name}_dataloader')
    return [
        step
        for step in walk(loader)
        if kind(step).endswith('Resize') and 'scale_factor' not in step
    ]


CHECKS = (
    check_ratios,
    check_order,
    check_colours,
    check_albu,
    check_normalized_twice,
    check_filters,
    check_flips,
    check_shuffle,
    check_mosaic_border,
)

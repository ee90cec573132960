"""Text of a new config: few settings, each with its reason."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote
from textwrap import fill
from typing import Any

import numpy as np

from mmdet_retina_plus.common.config_tree import kind
from mmdet_retina_plus.common.network_boxes import resized
from mmdet_retina_plus.common.numbers import show_number
from mmdet_retina_plus.common.python_code import WIDTH, Expression, as_code
from mmdet_retina_plus.common.text import clause, quantity

from .annotation_set import AnnotationSet
from .base_config import resizes
from .plan import Plan, median_size

Place = Callable[[Path], str]
"""How a config names a path."""
LONG_WARM_UP, WARM_UP = 10, 20
"""A warm-up of more than a tenth of training is cut to a twentieth."""
UNPASTED = {"'", '\\', '\n'}
"""Characters of a folder that break the string where mmengine inserts it."""


def below(folder: Path) -> Place:
    """Write paths below a folder relative to it, others as absolute paths."""
    root = os.path.abspath(folder)

    def place(path: Path) -> str:
        whole = os.path.abspath(path)
        if os.path.commonpath([root, whole]) != root:
            return whole
        return Path(os.path.relpath(whole, root)).as_posix()

    return place


def config_text(plan: Plan, made_by: str, command: str, place: Place) -> str:
    """Write the text of a config.

    Args:
        plan: Plan of the config.
        made_by: Name and version of the program.
        command: Command that makes the config.
        place: Converts paths to text.
    """
    parts = [
        *head(plan, made_by, command),
        *model_part(plan),
        *size_part(plan),
        *data_part(plan, place),
        *schedule_part(plan),
    ]
    return '\n'.join(parts) + '\n'


def comment(text: str) -> str:
    return fill(
        text,
        WIDTH,
        initial_indent='# ',
        subsequent_indent='# ',
        break_long_words=False,
        break_on_hyphens=False,
    )


def setting(name: str, value: Any) -> str:
    return f'{name} = {as_code(value, taken=len(name) + 3)}'


def set_in(tree: dict, key: str, value: Any) -> None:
    """Set a dotted key in nested dicts."""
    *above, last = key.split('.')
    for step in above:
        tree = tree.setdefault(step, {})
    tree[last] = value


def amount(part: AnnotationSet) -> str:
    images = quantity(len(part.images), 'image')
    return f'{images}, {quantity(part.objects, "object")}'


def head(plan: Plan, made_by: str, command: str) -> Iterator[str]:
    name = plan.out.name
    base = plan.base.name
    yield comment(
        f'{base} for {quantity(len(plan.classes), "class")}, written by '
        f'{made_by}. Training: {amount(plan.train)}. '
        f'Validation: {amount(plan.val)}.'
    )
    # Not wrapped, so that it can be pasted.
    yield f'#\n#   {command}\n#'
    yield comment('Check it and train:')
    word = quote(name)
    yield f'#\n#   retina-plus doctor {word}\n#   mim train mmdet {word}\n#'
    yield comment(
        'Everything else comes from the base; '
        f'`retina-plus config {base}` prints its path.'
    )
    yield f"_base_ = __import__('mmdet_retina_plus').config({base!r})\n"
    yield comment(
        'Classes are in the order of the categories in the annotation files, '
        "by which mmdet numbers labels. A single class needs a comma: ('a',)."
    )
    yield setting('metainfo', dict(classes=tuple(plan.classes))) + '\n'


def model_part(plan: Plan) -> Iterator[str]:
    model: dict[str, Any] = {}
    for key in plan.base.class_counts:
        set_in(model, key, len(plan.classes))
    yield comment('Every head has num_classes.')
    anchors = plan.anchors
    if anchors is not None:
        now = f'mean IoU {anchors.mean:.2f}, {anchors.poor:.1%} below .5'
        if anchors.model:
            mean, poor = anchors.before
            now += f"; with the base's anchors {mean:.2f}, {poor:.1%}"
            if round(anchors.factor, 2) != 1:
                now += f'; anchors per image x {anchors.factor:.2f}'
            for part, changes in anchors.model.items():
                model.setdefault(part, {}).update(changes)
        yield comment(
            f'Best anchor of each object, from retina-plus anchor-fit: {now}.'
        )
    yield setting('model', model) + '\n'


def size_part(plan: Plan) -> Iterator[str]:
    """Write pipelines for the size of the images."""
    base = plan.base
    median = ' x '.join(f'{side:.0f}' for side in median_size(plan.train))
    about = f'The median image has {median} pixels'
    if plan.scale is None or base.middle is None:
        yield comment(f'{about}. Images are not resized.') + '\n'
        return
    most = ' x '.join(map(str, base.middle))
    fate = f'which fits the {most} of the base'
    if min(plan.scale) > median_size(plan.train)[1] + 1:
        fate = 'too small for a detector, so images are enlarged'
    if plan.shrinks:
        fate = f'more than the {most} of the base, so images are shrunk'
    yield comment(
        f'{about}, {fate}. The median resized object is '
        f'{object_length(plan):.0f} pixels long. For smaller objects, '
        'increase all scales, which takes more time and memory, and run '
        'anchor-fit again.'
    )
    for name, loader, steps in (
        ('train_pipeline', 'train_dataloader', base.train_pipeline),
        ('test_pipeline', 'val_dataloader', base.test_pipeline),
        ('tta_pipeline', '', base.cfg.get('tta_pipeline') or ()),
    ):
        found = list(resizes(steps))
        if loader:
            yield f'{name} = _base_.{loader}.dataset.pipeline'
        elif found:
            yield comment('For `mim test … --tta`.')
            yield f'{name} = _base_.{name}'
        for at, key, step in found:
            value = scaled(step[key], min(base.middle), plan.scale)
            yield setting(f'{name}{at}.{key}', value)
    yield ''


def object_length(plan: Plan) -> float:
    """Median square root of the area of resized objects."""
    chosen = plan.train.usable
    sizes = plan.train.sizes[chosen]
    pipeline = [dict(type='Resize', scale=plan.scale, keep_ratio=True)]
    factors = (resized(sizes, pipeline) / sizes)[:, 0]
    corners = plan.train.boxes[chosen]
    areas = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    return float(np.median(factors * areas**0.5))


def scaled(scale: Any, middle: int, ours: tuple[int, int]) -> Any:
    """Convert a scale of the base by the ratio of the middle scales.

    Args:
        scale: Long and short side, or a list of such scales.
        middle: Short side of the base's middle scale.
        ours: Our middle scale.
    """
    if isinstance(scale[0], list | tuple):
        return [scaled(one, middle, ours) for one in scale]
    return tuple(max(round(x * min(scale) / middle), 1) for x in ours)


def data_part(plan: Plan, place: Place) -> Iterator[str]:
    base = plan.base
    folder = os.path.abspath(plan.out.parent)
    if {*folder} & UNPASTED:
        yield comment(
            'Relative paths start at this folder. Change it if you move the '
            'data.'
        )
        yield setting('data_root', f'{folder}/') + '\n'
    else:
        yield comment(
            'Relative paths start at the folder of this file, so you can move '
            'it together with the data.'
        )
        yield setting('data_root', '{{ fileDirname }}/') + '\n'
    pipelines = base.middle is not None

    def dataset(part: AnnotationSet, name: str) -> dict[str, Any]:
        folder = place(part.image_dir)
        own = dict(
            data_root=Expression('data_root'),
            metainfo=Expression('metainfo'),
            ann_file=place(part.path),
            data_prefix=dict(img='' if folder == '.' else f'{folder}/'),
        )
        if pipelines:
            own['pipeline'] = Expression(name)
        return own

    train = dataset(plan.train, 'train_pipeline')
    reasons = [
        'batch_size is the number of images per GPU and step; optimizer.lr '
        'below depends on it.'
    ]
    if plan.divided:
        reasons.append(
            'The annotation file was split by image: if several images show '
            'the same video or patient, split it yourself and use --val.'
        )
    if plan.filter_cfg:
        train['filter_cfg'] = plan.filter_cfg
    if 'filter_empty_gt' in plan.filter_cfg:
        about = clause(plan.empty, 'image', 'have')
        reasons.append(f'{about} no object and train as background.')
    if 'min_size' in plan.filter_cfg:
        about = clause(plan.tiny, 'image', 'are')
        reasons.append(f'{about} smaller than the minimum of the base.')
    yield comment(' '.join(reasons))
    yield setting(
        'train_dataloader', dict(batch_size=plan.batch_size, dataset=train)
    )
    val = dataset(plan.val, 'test_pipeline')
    yield setting('val_dataloader', dict(dataset=val))
    yield comment('Until you have a test set.')
    yield 'test_dataloader = val_dataloader\n'
    metric = base.metric
    yield comment(
        'AP of boxes and masks.'
        if 'segm' in metric
        else 'AP of boxes; the model predicts no masks.'
    )
    file = place(plan.val.path)
    whole_file = (
        f'{file!r}' if os.path.isabs(file) else f'data_root + {file!r}'
    )
    yield setting(
        'val_evaluator', dict(ann_file=Expression(whole_file), metric=metric)
    )
    yield 'test_evaluator = val_evaluator\n'


def schedule_part(plan: Plan) -> Iterator[str]:
    base, batch = plan.base, plan.batch_size
    lr = show_number(base.optimizer['lr'])
    ratio = f'{batch} / {base.images_per_step}'
    hence = f'One GPU gets {batch}, so it is multiplied by '
    hence += f'the square root of {ratio}.' if base.is_adam else f'{ratio}.'
    if batch == base.images_per_step:
        hence = 'One GPU gets the same number.'
    yield comment(
        f'The learning rate of the base, {lr}, is for {base.images_per_step} '
        f'images per step. {hence} For N GPUs multiply it by '
        f'{"the square root of N" if base.is_adam else "N"}, and likewise for '
        'another batch_size. `mim train … --auto-scale-lr` multiplies it in '
        'proportion to base_batch_size.'
    )
    yield setting('optim_wrapper', dict(optimizer=dict(lr=plan.rate)))
    yield setting('auto_scale_lr', dict(base_batch_size=batch)) + '\n'
    yield from length_part(plan)


def length_part(plan: Plan) -> Iterator[str]:
    """Write the length of training, and a warm-up that fits."""
    loop = plan.base.cfg['train_cfg']
    steps = plan.steps
    if 'max_epochs' in loop:
        epochs = quantity(loop['max_epochs'], 'epoch')
        length = f'{epochs} of {steps // loop["max_epochs"]:,} steps, '
        length += f'{steps:,} in all. Change it by train_cfg.max_epochs'
    else:
        rounds = steps * plan.batch_size / len(plan.train.images)
        length = f'{steps:,} steps, which are {rounds:.1f} epochs. Change it '
        length += 'by train_cfg.max_iters'
    schedules = plan.base.cfg.get('param_scheduler') or []
    if any(x.get('milestones') for x in schedules):
        length += ' and the milestones of param_scheduler'
    long = [
        at
        for at, x in enumerate(schedules)
        if kind(x) == 'LinearLR'
        and not x.get('by_epoch', True)
        and x.get('end', 0) > steps // LONG_WARM_UP
    ]
    if not long:
        yield comment(f'Training has {length}.')
        return
    yield comment(
        f'Training has {length}. The warm-up of the base, '
        f'{schedules[long[0]]["end"]} steps, would be too long.'
    )
    yield 'param_scheduler = _base_.param_scheduler'
    for at in long:
        yield setting(f'param_scheduler[{at}].end', max(steps // WARM_UP, 1))

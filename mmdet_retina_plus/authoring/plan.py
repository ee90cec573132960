"""Plan a new config from the data and the base config."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from os.path import normpath
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_retina_plus.common.text import clause, quantity, some

from .annotation_set import AnnotationSet, read_set
from .base_config import SMALL, WITH_MASKS, WITHOUT_MASKS, BaseConfig
from .split_images import choose_validation

DIVISOR = 32
"""Divisor of the sides of shrunk images, to which detectors pad."""
SMALLEST = 64
"""Smallest useful short side of images."""
MOST_POOR = 0.05
"""Fraction of objects without a good anchor that justifies no new anchors."""


@dataclass(frozen=True)
class Anchors:
    """Fit of the anchors to the objects of training.

    Attributes:
        mean: Mean of the best IoU of each object.
        poor: Fraction of the objects whose best IoU is below .5.
        model: Changes of the config's `model` that fit better; may be empty.
        before: `mean` and `poor` without the changes.
        factor: Number of anchors after the changes, relative to before.
    """

    mean: float
    poor: float
    model: Mapping = field(default_factory=dict)
    before: tuple[float, float] = (0.0, 0.0)
    factor: float = 1.0


@dataclass(frozen=True)
class Plan:
    """A config to be written.

    Attributes:
        out: Path of the config.
        base: Config that it inherits from.
        train: Objects of training.
        val: Objects of validation.
        classes: Names in the order of labels.
        scale: Long and short side of resized images, None without resizing.
        batch_size: Images per GPU.
        new: Annotation files to write next to the config.
        notes: Notes for the user.
        divided: Whether both sets are parts of one file.
        anchors: Fit of the anchors, None if it is not measured yet.
    """

    out: Path
    base: BaseConfig
    train: AnnotationSet
    val: AnnotationSet
    classes: Sequence[str]
    scale: tuple[int, int] | None
    batch_size: int
    new: Sequence[AnnotationSet] = ()
    notes: Sequence[str] = ()
    divided: bool = False
    anchors: Anchors | None = None

    @property
    def files(self) -> list[Path]:
        """All files to write, the config first."""
        return [self.out, *(part.path for part in self.new)]

    @property
    def shrinks(self) -> bool:
        """Whether images of the median size are shrunk."""
        return (
            self.scale is not None
            and max(self.scale) < median_size(self.train)[0] - 1
        )

    @property
    def rate(self) -> float:
        return self.base.rate(self.batch_size)

    @property
    def filter_cfg(self) -> dict[str, Any]:
        """Options that keep images dropped by the base; may be empty."""
        base = self.base.dataset.get('filter_cfg') or {}
        found: dict[str, Any] = {}
        if base.get('filter_empty_gt') and self.empty:
            found['filter_empty_gt'] = False
        if self.tiny:
            found['min_size'] = 1
        return found

    @property
    def empty(self) -> int:
        """Number of training images without an object."""
        return int((~self.train.presence.any(axis=1)).sum())

    @property
    def tiny(self) -> int:
        """Number of training images that the base drops for their size."""
        base = self.base.dataset.get('filter_cfg') or {}
        shorter = self.train.image_sizes.min(axis=1)
        return int((shorter < base.get('min_size', 0)).sum())

    @property
    def steps(self) -> int:
        """Number of steps of the whole training."""
        return self.base.steps(len(self.train.images), self.batch_size)

    def moved(self, folder: Path) -> 'Plan':
        """Copy of the plan that writes all files into another folder."""

        def there(part: AnnotationSet) -> AnnotationSet:
            if part not in self.new:
                return part
            return replace(part, path=folder / part.path.name)

        return replace(
            self,
            out=folder / self.out.name,
            train=there(self.train),
            val=there(self.val),
            new=[there(part) for part in self.new],
        )

    def with_anchors(self, report: Mapping) -> 'Plan':
        """Copy of the plan with the `analysis.anchor_report` of its draft."""
        now, better = report['fit']['all'], report['suggestion']
        before = now['mean_iou'], now['below_05']
        after = better['fit']['all'] if better else now
        gains = after['below_05'] < before[1]
        if not gains or not self.base.matches_by_iou:
            return replace(self, anchors=Anchors(*before))
        anchors = Anchors(
            after['mean_iou'],
            after['below_05'],
            better['model'],
            before,
            better['anchors'],
        )
        return replace(self, anchors=anchors)


def make_plan(
    annotations: Path,
    images: Path,
    out: Path,
    find_config: Callable[[str], str],
    val: Path | None = None,
    val_images: Path | None = None,
    model: str | None = None,
    val_fraction: float = 0.2,
    seed: int = 0,
    batch_size: int | None = None,
) -> Plan:
    """Read the data and plan a config; nothing is written.

    Args:
        annotations: COCO file.
        images: Folder of its images.
        out: Path of the config.
        find_config: Returns the path of a shipped config by its name.
        val: COCO file of validation; None: a part of the images.
        val_images: Folder of its images; None: `images`.
        model: Name of a shipped config; None: with masks if all objects of
            training and validation have masks.
        val_fraction: Fraction of the images for validation if `val` is None.
        seed: Seed of this split.
        batch_size: Images per GPU; None: that of the base.

    Raises:
        ValueError: The data or the model cannot be used, or do not fit.
    """
    train = read_set(annotations, images)
    if val is not None and val.exists() and val.samefile(annotations):
        raise ValueError(
            f'--val is the training file {val}: leave out --val to split the '
            'file'
        )
    notes = []
    if val is None:
        chosen = choose(train, val_fraction, seed)
        stem = out.with_suffix('')
        pair = (
            train.part(~chosen, stem.with_name(f'{stem.name}_train.json')),
            train.part(chosen, stem.with_name(f'{stem.name}_val.json')),
        )
        train, other = pair
        new = [*pair]
    else:
        other = read_set(val, val_images or images)
        notes += shared_images(train, other)
        new = []
    classes = [name for name, count in train.counts.items() if count]
    notes += unused(train, classes)
    if val is not None:
        notes += others_of(other, classes)
        if [x for x in other.classes if x in classes] != classes:
            path = out.with_name(f'{out.stem}_val.json')
            other = other.with_classes(classes, path)
            new = [other]
            notes.append(
                f'{val} has other categories or another order, and mmdet '
                f'numbers labels per file: {path.name} has the order of '
                'training'
            )
    notes += unseen(other, classes)
    name = model or default_model(train, other)
    base = BaseConfig(name, find_config(name))
    check_masks(base, train, other, (annotations, val or annotations))
    if base.needs_masks and train.masked < train.objects:
        lack = clause(train.objects - train.masked, 'object', 'have')
        notes.append(f'{lack} no mask and will not train')
    most = len(train.images)
    if batch_size and batch_size > most:
        notes.append(
            f'training has {quantity(most, "image")}, so batch_size is '
            f'{most}, not {batch_size}'
        )
    return Plan(
        out=out,
        base=base,
        train=train,
        val=other,
        classes=classes,
        scale=choose_scale(base, train),
        batch_size=min(batch_size or base.batch_size, most),
        new=new,
        notes=notes,
        divided=val is None,
    )


def choose(found: AnnotationSet, fraction: float, seed: int) -> np.ndarray:
    """Choose validation images of a file by `choose_validation`.

    An image that is listed several times stays in one set.
    """
    files: dict[str, int] = {}
    places = [
        files.setdefault(normpath(image['file_name']), len(files))
        for image in found.images
    ]
    presence = np.zeros((len(files), len(found.classes)), bool)
    np.logical_or.at(presence, places, found.presence)
    try:
        return choose_validation(presence, fraction, seed)[places]
    except ValueError as error:
        raise ValueError(f'{found.path} has {error}') from error


def default_model(*parts: AnnotationSet) -> str:
    every = all(part.masked == part.objects for part in parts)
    return WITH_MASKS if every else WITHOUT_MASKS


def check_masks(
    base: BaseConfig,
    train: AnnotationSet,
    val: AnnotationSet,
    paths: tuple[Path, Path],
) -> None:
    """Refuse a model that needs masks if they are missing.

    The evaluation of masks fails at a single object without a mask.

    Args:
        base: The model.
        train: Objects of training.
        val: Objects of validation.
        paths: Files from which both were read.

    Raises:
        ValueError: Names a model that works without masks.
    """
    if base.needs_masks and not train.masked:
        lack = f'no object of {paths[0]} has a segmentation'
    elif 'segm' in base.metric and val.masked < val.objects:
        missing = clause(val.objects - val.masked, 'object', 'have')
        lack = f'{missing} no segmentation for validation in {paths[1]}'
    else:
        return
    small = base.cfg['model'].get('backbone', {}).get('depth') == 18
    other = SMALL if small else WITHOUT_MASKS
    raise ValueError(
        f'{base.name} needs masks, but {lack}: use --model {other}, or export '
        'the masks'
    )


def median_size(found: AnnotationSet) -> tuple[float, float]:
    """Median long and median short side of images."""
    sides = np.sort(found.image_sizes, axis=1)
    short, long = np.median(sides, axis=0).tolist()
    return long, short


def choose_scale(
    base: BaseConfig, train: AnnotationSet
) -> tuple[int, int] | None:
    """Choose long and short side: the median size, within the base's area.

    Images are enlarged only up to `SMALLEST`. Shrunk sides are multiples of
    `DIVISOR`.
    """
    if base.middle is None:
        return None
    long, short = median_size(train)
    factor = sqrt(base.pixels / (long * short))
    if factor >= 1:
        factor = max(SMALLEST / short, 1)
        return round(factor * long), round(factor * short)
    return tuple(  # type: ignore[return-value]
        max(round(side * factor / DIVISOR), 1) * DIVISOR
        for side in (long, short)
    )


def shared_images(train: AnnotationSet, val: AnnotationSet) -> list[str]:
    """Note images that are in both sets."""
    folders = [x.image_dir.absolute() for x in (train, val)]
    if folders[0] != folders[1]:
        return []
    names = {image['file_name'] for image in train.images}
    both = sum(image['file_name'] in names for image in val.images)
    if not both:
        return []
    return [
        f'{clause(both, "image", "are")} in both files, so validation uses '
        'training images'
    ]


def unused(train: AnnotationSet, classes: Sequence[str]) -> list[str]:
    """Note categories without objects."""
    left = [name for name in train.classes if name not in classes]
    if not left:
        return []
    return [f'no training object is of {some(left)}: left out of the classes']


def unseen(val: AnnotationSet, classes: Sequence[str]) -> list[str]:
    """Note classes without validation objects."""
    left = [name for name in classes if not val.counts.get(name)]
    if not left:
        return []
    return [f'no validation object is of {some(left)}: no AP for it']


def others_of(val: AnnotationSet, classes: Sequence[str]) -> list[str]:
    """Note validation objects of other classes.

    Raises:
        ValueError: All validation objects are of other classes.
    """
    left = {x: n for x, n in val.counts.items() if n and x not in classes}
    if len(left) == sum(map(bool, val.counts.values())):
        raise ValueError(
            f'{val.path} has objects of {some(list(left))}, training has '
            f'objects of {some(classes)}: no class is in both'
        )
    if not left:
        return []
    return [
        f'{clause(sum(left.values()), "object", "are")} of {some(list(left))} '
        f'in {val.path}, which training lacks: not evaluated'
    ]


def summary(plan: Plan) -> list[str]:
    """Summarise the data, one fact per line."""
    lines = [
        f'{name}: {clause(len(x.images), "image", "have")} '
        f'{quantity(x.objects, "object")}, {x.masked:,} with a mask'
        for name, x in (('Training', plan.train), ('Validation', plan.val))
    ]
    names = some(plan.classes, 8)
    lines.append(f'{quantity(len(plan.classes), "class")}: {names}')
    return [*lines, f'Model: {plan.base.name}', *plan.notes]

"""Find sets whose files have red and blue, or labels, exchanged."""

from collections.abc import Sequence

import numpy as np

from mmdet_retina_plus.common.text import some

from .findings import Finding
from .image_files import Looks
from .object_looks import ObjectLooks, object_looks
from .split import Split

TINTED, STRONG, SURE = 20, 5, 5
"""Minimum number of images of a set, difference of two channels' means, and
that difference in standard errors, to compare the order of channels."""
OBJECTS, VIVID, ALIKE = 8, 20, 0.6
"""Minimum number of objects of a class, minimum difference of its channels,
and minimum fraction of its objects that look like one class."""
FIX = (
    'look at both sets by --show; cv2.imwrite expects BGR: write '
    'cv2.imwrite(path, rgb[..., ::-1])'
)


def check_tints(splits: Sequence[Split], looks: Looks) -> list[Finding]:
    """Report files of one set whose red and blue seem to be exchanged.

    Args:
        splits: All data sets.
        looks: Results for their images, by path.
    """
    training = [x for x in splits if x.trains]
    scored = [x for x in splits if not x.trains]
    # Once for validation and test, since it decodes images.
    named = [x for x in training if scored and len(x.classes) > 1]
    looks_of_training = [(x, object_looks(x)) for x in named]
    return [
        finding
        for split in scored
        for finding in check_images(split, training, looks)
        or check_classes(split, looks_of_training)
    ]


def check_images(
    split: Split, training: Sequence[Split], looks: Looks
) -> list[Finding]:
    """Compare the tints of whole images."""

    def tints(chosen: Sequence[Split]) -> np.ndarray:
        found = [looks.get(x) for split in chosen for x in split.paths]
        return np.array([x.tint for x in found if x and x.tint])

    trained, scored = tints(training), tints([split])
    if min(len(trained), len(scored)) < TINTED:
        return []
    means = np.array([trained.mean(), scored.mean()])
    errors = np.array([x.std() / len(x) ** 0.5 for x in (trained, scored)])
    low, high = np.sort(np.abs(means))
    sure = (np.abs(means) > np.maximum(STRONG, SURE * errors)).all()
    if means.prod() > 0 or not sure or high > 2 * low:
        return []
    return split.warn(
        f'its first channel differs by {means[1]:+.0f} from the third, '
        f'that of training by {means[0]:+.0f}: red and blue are exchanged in '
        'the files of one of them, or the light is another',
        FIX,
    )


def check_classes(
    split: Split, training: Sequence[tuple[Split, ObjectLooks]]
) -> list[Finding]:
    """Compare the looks of classes, of which labels may be exchanged.

    Of red and blue ones also the tints; another light would change all of
    them in one direction.
    """
    if len(split.classes) < 2:
        return []
    looks = object_looks(split)
    scored = tints_of_classes(looks)
    for one, own in training:
        if names_of(one) != names_of(split):  # Labels of another class each.
            continue
        trained = tints_of_classes(own)
        common = sorted(scored.keys() & trained.keys())
        signs = {trained[x] > 0 for x in common}
        if len(signs) > 1 and all(scored[x] * trained[x] < 0 for x in common):
            name = max(common, key=lambda x: abs(trained[x]))
            return split.warn(
                f'the first channel of {name} differs by {scored[name]:+.0f} '
                f'from the third, in {one.name} by {trained[name]:+.0f}, and '
                'other classes differ likewise, as if red and blue, or the '
                'labels, were exchanged in the files of one set',
                FIX,
            )
        found = likenesses(own, looks)
        moved = {x: other for x, other in found.items() if x != other}
        if moved and {*moved} == {*moved.values()}:
            pairs = [f'{x} like {other}' for x, other in moved.items()]
            return split.warn(
                'objects have the colours and shapes of other classes in '
                f'{one.name}, {some(pairs)}: the labels of one file are '
                'exchanged',
                'look at both sets by --show, and write the "category_id" of '
                'the same class into both files',
            )
    return []


def names_of(split: Split) -> list[str]:
    """Classes in the order of the file, which numbers the labels."""
    names = [x['name'] for x in split.coco['categories']]
    return [x for x in names if x in split.classes]


def tints_of_classes(looks: ObjectLooks) -> dict[str, float]:
    """First channel less the third within boxes, of classes with a colour."""
    tints = looks.colours[:, 0] - looks.colours[:, 2]
    found = {x: tints[looks.names == x] for x in {*looks.names}}
    return {
        name: float(values.mean())
        for name, values in found.items()
        if len(values) >= OBJECTS
        and abs(values.mean())
        > max(VIVID, SURE * values.std() / len(values) ** 0.5)
    }


def likenesses(trained: ObjectLooks, scored: ObjectLooks) -> dict[str, str]:
    """Class of training that most objects of each class look like.

    The nearest mean of colours and shapes, in standard deviations within the
    classes. Only classes whose own objects are told apart so.

    Args:
        trained: Objects of training.
        scored: Objects of another set.
    """
    names = sorted(
        name
        for name in {*trained.names} & {*scored.names}
        if min((x.names == name).sum() for x in (trained, scored)) >= OBJECTS
    )
    looks = [np.hstack([x.colours, x.shapes]) for x in (trained, scored)]
    own = [looks[0][trained.names == name] for name in names]
    if len(names) < 2:
        return {}
    means = np.array([x.mean(axis=0) for x in own])
    within = np.sqrt(np.mean([x.var(axis=0) for x in own], axis=0)) + 1e-3

    def nearest(objects: np.ndarray) -> tuple[str, float]:
        gaps = ((objects[:, None] - means) / within) ** 2
        votes = np.bincount(gaps.sum(axis=2).argmin(1), minlength=len(names))
        return names[votes.argmax()], votes.max() / len(objects)

    found = {}
    for name, objects in zip(names, own, strict=True):
        same, alike = nearest(objects)
        other, share = nearest(looks[1][scored.names == name])
        if same == name and min(alike, share) >= ALIKE:
            found[name] = other
    return found

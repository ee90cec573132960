"""Find sets whose files have red and blue exchanged."""

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from .findings import Finding
from .image_files import Looks, quiet_decoders
from .images import build_loader
from .placement import decoded
from .split import Split

TINTED, STRONG, SURE = 20, 5, 5
"""Minimum number of images of a set, difference of two channels' means, and
that difference in standard errors, to compare the order of channels."""
IMAGES, OBJECTS, VIVID = 48, 8, 20
"""Images to look at for the colours of classes, minimum number of objects of a
class, and minimum difference of its channels."""
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
    return [
        finding
        for split in splits
        if not split.trains
        for finding in check_images(split, training, looks)
        or check_classes(split, training)
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


def check_classes(split: Split, training: Sequence[Split]) -> list[Finding]:
    """Compare the tints of classes, of which some are red and some blue.

    Another light would change all in one direction.
    """
    scored = tints_of_classes(split)
    if len({x > 0 for x in scored.values()}) < 2:  # Most sets of photographs.
        return []
    for one in training:
        if names_of(one) != names_of(split):  # Labels of another class each.
            continue
        trained = tints_of_classes(one)
        common = sorted(scored.keys() & trained.keys())
        signs = {trained[x] > 0 for x in common}
        if len(signs) < 2 or any(scored[x] * trained[x] > 0 for x in common):
            continue
        name = max(common, key=lambda x: abs(trained[x]))
        return split.warn(
            f'the first channel of {name} differs by {scored[name]:+.0f} from '
            f'the third, in {one.name} by {trained[name]:+.0f}, and other '
            'classes differ likewise, as if red and blue were exchanged in '
            'the files of one set',
            FIX,
        )
    return []


def names_of(split: Split) -> list[str]:
    """Classes in the order of the file, which numbers the labels."""
    names = [x['name'] for x in split.coco['categories']]
    return [x for x in names if x in split.classes]


def tints_of_classes(split: Split) -> dict[str, float]:
    """First channel less the third within boxes, of classes with a colour."""
    load, paths = build_loader(split), split.paths
    known = split.usable & (split.label_of < len(split.classes))
    full = np.unique(split.image_of[known]).tolist()
    found = defaultdict(list)
    for at in random.Random(0).sample(full, min(IMAGES, len(full))):
        with quiet_decoders():
            image = decoded(load, paths[at])
        if image is None or image.ndim != 3 or image.shape[2] != 3:
            continue
        tint = image[..., 0].astype(float) - image[..., 2]
        rows = np.flatnonzero(known & (split.image_of == at))
        factors = np.array(image.shape[1::-1]) / split.sizes[rows]
        boxes = split.boxes[rows] * np.tile(factors, 2)
        # The inner half of a box is mostly its object.
        margins = (boxes[:, 2:] - boxes[:, :2]) / 4
        boxes += np.hstack([margins, -margins])
        corners = boxes.round().astype(int).clip(0)
        for label, box in zip(split.label_of[rows], corners, strict=True):
            left, top, right, bottom = box.tolist()
            inside = tint[top:bottom, left:right]
            if inside.size:
                found[split.classes[label]].append(float(inside.mean()))
    return {
        name: float(np.mean(values))
        for name, values in found.items()
        if len(values) >= OBJECTS
        and abs(np.mean(values))
        > max(VIVID, SURE * np.std(values) / len(values) ** 0.5)
    }

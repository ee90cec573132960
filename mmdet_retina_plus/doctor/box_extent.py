"""Infer the box format from the distribution of boxes, without polygons."""

import numpy as np

from mmdet_retina_plus.common.text import clause, quantity

from .findings import Finding
from .placement import ORDER, exchanges
from .split import Split

FRACTIONS = 1.5
"""Largest number of boxes and masks that count as fractions of the image."""
ENOUGH = 20
"""Minimum number of objects."""
SEVERAL = 10
"""Minimum number of images."""
PART = 0.7
"""Fraction of the image sides that some box exceeds in a valid set."""
NEAR = 0.15
"""Fraction of the sides within which the first box begins in a valid set."""
LEAVES = 0.02
"""Maximum fraction of boxes that leave their images in a valid set."""
BEGIN = 0.05
"""Minimum fraction of boxes that begin outside if the image size is wrong."""
HIGH = 0.99
"""Quantile used as a robust maximum."""
ONE_SIDED = 8
"""Boxes near one side and none near the other; by chance 1 in 256."""
SPECK, SLIVER = 4, 8
"""Sides in pixels below which a box is a stray click, or a cut-off strip."""
THIN = 4
"""Ratio of the sides from which a box at the border is a strip."""
RARE, COMMON, REST = 0.02, 0.05, 10
"""Fractions of clicks and of strips from which they are reported, and ratio of
the size of most boxes to a click."""
UNLESS = 'unless --show shows boxes on their objects'
CENTRE = (
    'bbox is [centre x, centre y, width, height]',
    'write "bbox": [x - width / 2, y - height / 2, width, height]',
)
CORNERS = (
    'bbox is [left, top, right, bottom]',
    'write "bbox": [x1, y1, x2 - x1, y2 - y1]',
)


def judged(split: Split) -> np.ndarray:
    """Flags of the objects that have a box and an image."""
    numbers = np.hstack([split.boxes, split.sizes])
    return ~np.isnan(numbers).any(axis=1) & ~split.crowd


def numbers_and_sizes(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """The four numbers of each box, and width and height of its image."""
    known = judged(split)
    boxes = split.boxes[known]
    extent = boxes[:, 2:] - boxes[:, :2]
    return np.hstack([boxes[:, :2], extent]), split.sizes[known]


def check_extent(split: Split) -> list[Finding]:
    """Report boxes that reach too far, or not far enough, for their format.

    Args:
        split: Data set whose polygons do not contradict its boxes.
    """
    numbers, sizes = numbers_and_sizes(split)
    if len(numbers) < ENOUGH or len(np.unique(split.image_of)) < SEVERAL:
        return []
    if (numbers[:, 2:] <= 0).any():
        return []
    leaves = (numbers[:, :2] + numbers[:, 2:] > sizes + 1).any(axis=1)
    if leaves.mean() > LEAVES and (numbers[:, :2] >= 0).all():
        return leaving(split, numbers, sizes, leaves)
    return one_sided(split, numbers, sizes) or small(split, numbers, sizes)


def leaving(
    split: Split, numbers: np.ndarray, sizes: np.ndarray, leaves: np.ndarray
) -> list[Finding]:
    """Report boxes that leave their images only to the right and below."""
    message = f'; read as COCO, {clause(int(leaves.sum()), "box", "leave")} it'
    inside = (numbers[:, 2:] <= sizes + 1).all()
    if inside and (numbers[:, 2:] > numbers[:, :2]).all():
        what, fix = CORNERS
        fix += '; if --show then shows them off their objects, y comes first'
        return split.fail(f'{what}: then all lie in the image{message}', fix)
    half = numbers[:, 2:] / 2
    inside = (numbers[:, :2] >= half - 1).all()
    if inside and (numbers[:, :2] + half <= sizes + 1).all():
        what, fix = CENTRE
        return split.fail(f'{what}: then all lie in the image{message}', fix)
    exchanged = right_order(split)
    if exchanged:
        return split.fail(
            f'{exchanged}: given back, they lie in their images; as it is, '
            f'{clause(int(leaves.sum()), "box", "leave")} them',
            ORDER,
        )
    reach = (numbers[:, :2] + numbers[:, 2:]) / sizes
    begins = (numbers[:, :2] > sizes).any(axis=1)
    if begins.mean() < BEGIN:
        return []
    # Single boxes may be wrong for other reasons.
    factor = float(np.quantile(reach.max(axis=1), HIGH))
    return split.fail(
        f'boxes reach up to {factor:.2g} times width and height of their '
        f'images ({quantity(int(leaves.sum()), "box")} of {len(numbers)} '
        'beyond): they belong to larger images',
        f'divide the four numbers of bbox by about {factor:.2g}, or write '
        'the size that they were drawn at into "width" and "height" and use '
        'the images of that size; for tiles subtract left and top of the tile',
    )


def right_order(split: Split) -> str:
    """How boxes and images were exchanged, if then all boxes lie inside.

    Images of one size fit every order.
    """
    known = judged(split)
    edges, places = split.boxes[known, 2:], split.image_of[known]
    names = [str(x.get('file_name')) for x in split.images]
    for message, order in exchanges(names).items():
        # `order` has the place of each image's boxes, its inverse their image.
        sizes = split.image_sizes[np.argsort(order)[places]]
        if (edges > sizes + 1).any(axis=1).mean() <= LEAVES / 4:
            return message
    return ''


def one_sided(
    split: Split, numbers: np.ndarray, sizes: np.ndarray
) -> list[Finding]:
    """Report numbers that may be centres: none is near the left or top."""
    low = (numbers[:, :2] < numbers[:, 2:] / 2).sum(axis=0)
    right = sizes - numbers[:, :2] - numbers[:, 2:]
    high = (right < numbers[:, 2:] / 2).sum(axis=0)
    if low.any() or (high < ONE_SIDED).any():
        return []
    what, fix = CENTRE
    what = what.replace(' is ', ' may be ')
    return split.warn(
        f'{what}: no box lies nearer to the left or the top of its '
        f'image than half its side, {high.max()} to the right or the bottom',
        f'{fix}, {UNLESS}',
    )


def small(
    split: Split, numbers: np.ndarray, sizes: np.ndarray
) -> list[Finding]:
    """Report boxes that all lie in the upper left part of their images."""
    begin = (numbers[:, :2] / sizes).min(axis=0)
    end = ((numbers[:, :2] + numbers[:, 2:]) / sizes).max(axis=0)
    if (end > PART).any() or (begin > NEAR).any():
        return []
    images = len(np.unique(split.image_of))
    factors = ' and '.join(f'{1 / x:.2g}' for x in end)
    return split.warn(
        f'no box of {quantity(images, "image")} reaches beyond '
        f'{end[0]:.0%} of the width and {end[1]:.0%} of the height: they '
        'may belong to smaller images',
        f'multiply left and width of bbox, and top and height, by about '
        f'{factors} (width and height of the images over those that the '
        f'boxes were drawn at), {UNLESS}',
    )


def check_scraps(split: Split) -> list[Finding]:
    """Report stray clicks, and strips that cutting into tiles left."""
    numbers, sizes = numbers_and_sizes(split)
    whole = (numbers[:, 2:] > 0).all(axis=1)
    # Fractions of the image have their own finding.
    whole &= (numbers > FRACTIONS).any(axis=1)
    numbers, sizes = numbers[whole], sizes[whole]
    if len(numbers) < ENOUGH:
        return []
    long = numbers[:, 2:].max(axis=1)
    begins, ends = numbers[:, :2], numbers[:, :2] + numbers[:, 2:]
    specks = long < SPECK
    beside = (begins <= 1) | (ends >= sizes - 1)
    narrow = numbers[:, 2:] < np.minimum(SLIVER, long / THIN)[:, None]
    strips = (beside & narrow).any(axis=1)
    inside = (narrow & ~beside).any(axis=1)
    findings = []
    # Sets of small objects have boxes of all sizes in between.
    between = (long >= SPECK) & (long < 2 * SPECK)
    if (
        specks.mean() > RARE
        and specks.sum() > 2 * between.sum()
        and np.median(long) > REST * SPECK / 2
    ):
        findings += split.warn(
            f'{clause(int(specks.sum()), "box", "have")} sides below {SPECK} '
            f'pixels, the median box {np.median(long):.0f}: stray clicks, or '
            'specks of masks',
            f'delete objects of less than {SPECK} pixels from the annotation '
            'file',
        )
    if strips.mean() > COMMON and strips.sum() > 2 * inside.sum():
        findings += split.warn(
            f'{clause(int(strips.sum()), "box", "are")} strips of less than '
            f'{SLIVER} pixels at the borders of images, as cutting into '
            'tiles leaves them',
            'delete objects if less than a third of their area lies in the '
            'tile',
        )
    return findings

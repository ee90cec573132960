"""Find masks of the wrong shape: rectangles, merged objects, filled holes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmdet_retina_plus.common.run_lengths import compressed
from mmdet_retina_plus.common.text import clause, quantity, some

from .box_formats import bounds_of
from .findings import Finding
from .split import Split

LOOKED_AT = 20_000
"""Maximum number of objects whose polygons are looked at."""
ENOUGH = 20
"""Minimum number of objects to report rectangles."""
MOST, BLOB = 0.5, 64
"""Minimum fraction of rectangles to report, and area in pixels of a box from
which a mask in pixels tells them from other shapes."""
PIECES = 0.1
"""Minimum fraction of objects of distant parts to report."""
CORNERS = 3
"""Minimum corners of a polygon; mmdet drops polygons with fewer."""
HOLES, FEW_HOLES = 0.02, 3
"""Minimum fraction and number of masks with filled holes to report."""


def polygon_area(polygon: Sequence[float]) -> float:
    """Area of a polygon x1, y1, x2, y2, ... by the shoelace formula."""
    x, y = np.array(polygon, float).reshape(-1, 2).T
    return abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2


def mask_area(mask: Any) -> float:
    """Pixels of run lengths, area of a single polygon, otherwise 0."""
    if isinstance(mask, list):
        one = len(mask) == 1 and len(mask[0]) % 2 == 0
        return polygon_area(mask[0]) if one else 0.0
    from pycocotools.mask import area

    try:
        return float(area(compressed(mask, *mask['size'])))
    except Exception:  # Another check reports invalid run lengths.
        return 0.0


def check_rectangles(
    split: Split, masks: Sequence, readable: Sequence[bool]
) -> list[Finding]:
    """Report data sets most of whose masks are rectangles, their boxes."""
    extents = (split.boxes[:, 2:] - split.boxes[:, :2]).prod(axis=1)
    step = len(masks) // LOOKED_AT + 1
    places = [
        at
        for at in range(0, len(masks), step)
        if readable[at] and split.usable[at] and extents[at] >= BLOB
    ]
    if len(places) < ENOUGH:
        return []
    areas = [mask_area(masks[at]) for at in places]
    found = np.isclose(areas, extents[places], rtol=0.01)
    if found.mean() < MOST:
        return []
    return split.warn(
        f'the masks of {found.sum():,} of {quantity(len(places), "object")} '
        'are their boxes, so the mask head learns rectangles',
        'write the outlines of the objects, unless they are upright '
        'rectangles, or train boxes only: '
        "model.roi_head=None, no with_mask=True, and metric='bbox'",
    )


def are_apart(mask: Any) -> bool:
    """Whether polygons have a gap as wide as the smaller of two parts."""
    parts = np.array([bounds_of([x]) for x in mask])
    sides = (parts[:, 2:] - parts[:, :2]).max(axis=1)
    gaps = (parts[:, None, :2] - parts[None, :, 2:]).max(axis=2)
    gaps = np.maximum(gaps, gaps.T)
    return bool((gaps > np.minimum(sides[:, None], sides)).any())


def check_merged(
    split: Split, masks: Sequence, readable: Sequence[bool]
) -> list[Finding]:
    """Report one annotation for all objects of a class in an image."""
    used = np.flatnonzero(split.usable)
    keys = np.column_stack([split.image_of, split.label_of])[used]
    if len(used) < ENOUGH or len(np.unique(keys, axis=0)) < len(used):
        return []
    used = used[:: len(used) // LOOKED_AT + 1]
    parts = [
        at
        for at in used.tolist()
        if readable[at] and isinstance(masks[at], list) and len(masks[at]) > 1
    ]
    apart = [
        at
        for at in parts
        if all(len(x) >= 2 * CORNERS for x in masks[at])
        and are_apart(masks[at])
    ]
    if len(apart) < PIECES * len(used):
        return []
    return split.warn(
        f'{len(apart)} of {quantity(len(used), "object")} have polygons far '
        'from each other, and no image has two objects of a class: they seem '
        f'to be all objects of the class: ids '
        f'{some(split.ids[apart].tolist())}',
        'write one annotation for each object, with its own bbox: each '
        'connected part of a semantic mask by scipy.ndimage.label',
    )


def has_hole(mask: Any) -> bool:
    """Whether a polygon lies inside another one."""
    import cv2

    bounds = np.array([bounds_of([x]) for x in mask])
    low, high = bounds[:, None, :2], bounds[:, None, 2:]
    inside = (low > bounds[:, :2]).all(2) & (high < bounds[:, 2:]).all(2)
    for inner, outer in np.argwhere(inside).tolist():
        outline = np.array(mask[outer], np.float32).reshape(-1, 1, 2)
        corners = np.array(mask[inner], float).reshape(-1, 2).tolist()
        if all(cv2.pointPolygonTest(outline, x, False) > 0 for x in corners):
            return True
    return False


def check_holes(
    split: Split, masks: Sequence, readable: Sequence[bool]
) -> list[Finding]:
    """Report polygons inside polygons: their union has no hole."""
    used = np.flatnonzero(split.usable)
    used = used[:: len(used) // LOOKED_AT + 1]
    found = [
        at
        for at in used.tolist()
        if readable[at] and isinstance(masks[at], list) and len(masks[at]) > 1
        if all(len(x) >= 2 * CORNERS and len(x) % 2 == 0 for x in masks[at])
        and has_hole(masks[at])
    ]
    if len(found) < max(FEW_HOLES, HOLES * len(used)):
        return []
    return split.warn(
        f'{clause(len(found), "mask", "have")} a polygon inside another one, '
        'as contours of holes: the union of polygons fills them: ids '
        f'{some(split.ids[found].tolist())}',
        'if they are holes, write run lengths: pycocotools.mask.encode('
        'np.asfortranarray(mask)); if not, delete the inner polygons',
    )

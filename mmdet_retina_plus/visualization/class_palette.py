"""Colours of classes in pictures."""

from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.visualization.palette import get_palette
from PIL import ImageColor

from mmdet_retina_plus.common.palette import PALETTE

COLOURS = [*map(ImageColor.getrgb, PALETTE)]
"""Red, green and blue of the package's palette."""


def class_palette(meta: dict[str, Any]) -> Any:
    """Palette of mmdet for some classes.

    The data set's own, unless it is random or that of COCO's classes, which
    data sets of other classes inherit. Then a class that is named after a
    colour has that colour, and others have `COLOURS`.

    Args:
        meta: Classes and palette.
    """
    classes, palette = meta['classes'], meta['palette']
    coco = CocoDataset.METAINFO
    inherited = (
        palette == coco['palette'] and tuple(classes) != coco['classes']
    )
    if palette != 'random' and not inherited:
        return palette
    others = [*COLOURS, *get_palette('random', len(classes))]
    return [
        ImageColor.getrgb(name)
        if name.lower() in ImageColor.colormap
        # NumPy's integers are no colours to mmengine.
        else tuple(map(int, colour))
        for name, colour in zip(classes, others, strict=False)
    ]

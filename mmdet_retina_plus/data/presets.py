"""The kinds of generated sets, by name."""

from dataclasses import dataclass

COLOUR_WHEEL = {
    'red': 0,
    'orange': 30,
    'yellow': 60,
    'chartreuse': 90,
    'green': 120,
    'spring-green': 150,
    'cyan': 180,
    'azure': 210,
    'blue': 240,
    'violet': 270,
    'magenta': 300,
    'rose': 330,
}
"""Hues in degrees; the names are the categories."""


@dataclass(frozen=True)
class Preset:
    """What the images of a set have in common; lengths are in pixels.

    Attributes:
        size: Height and width of an image where none is asked for.
        sides: Range of an object's longer side, before occlusion.
        objects: Range of the number of objects in an image that has any.
            Crowded out objects are left out, so it may be fewer.
        empty: Share of images without any object.
        distractors: Most shapes per image that are no object. They are grey
            and may hide part of an object.
        classes: Names from `COLOUR_WHEEL`, in the order of the labels.
        grains: Grain sizes of the background's noise.
        tint: Highest saturation of the background, 0 is grey.
    """

    size: int = 256
    sides: tuple[int, int] = (24, 88)
    objects: tuple[int, int] = (1, 5)
    empty: float = 0.1
    distractors: int = 2
    classes: tuple[str, ...] = ('red', 'yellow', 'green', 'blue')
    grains: tuple[int, ...] = (2, 12, 64)
    tint: float = 0.2


PRESETS = {
    'easy': Preset(),
    # Many logits per object: negatives outnumber positives as in COCO.
    'imbalanced': Preset(
        size=384,
        sides=(14, 40),
        objects=(1, 2),
        empty=0.0,
        classes=tuple(COLOUR_WHEEL),
        grains=(1,),
        tint=0.0,
    ),
    'crowded': Preset(sides=(16, 48), objects=(60, 120), distractors=8),
    'tiny': Preset(sides=(4, 12), objects=(4, 24), distractors=4),
    'empty': Preset(empty=0.8),
}

"""Presets of generated sets, by name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

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
    """Settings of a set of shapes; lengths are in pixels.

    Attributes:
        size: Default height and width of an image.
        sides: Range of an object's longer side, before occlusion.
        objects: Range of the number of objects in a non-empty image. Objects
            without enough space are skipped, so it may be fewer.
        empty: Fraction of images without objects.
        distractors: Maximum number of shapes per image that are not objects.
            They are grey and may hide part of an object.
        classes: Names from `COLOUR_WHEEL`, in the order of the labels.
        grains: Grain sizes of the background noise.
        tint: Maximum saturation of the background; 0 is grey.
    """

    size: int = 256
    sides: tuple[int, int] = (24, 88)
    objects: tuple[int, int] = (1, 5)
    empty: float = 0.1
    distractors: int = 2
    classes: tuple[str, ...] = ('red', 'yellow', 'green', 'blue')
    grains: tuple[int, ...] = (2, 12, 64)
    tint: float = 0.2

    @property
    def longest(self) -> int:
        """Longest side of an object."""
        return self.sides[1]


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


@dataclass(frozen=True)
class DonutPreset:
    """Settings of a toy task; lengths are in pixels.

    Attributes:
        size: Default height and width of an image.
        classes: Names of the two labels.
        diameters: Diameters of the discs of each class.
        holes: Diameters of the holes of each class, 0 for none. A hole and
            its disc are both odd or both even, so that they share a centre.
        hole_in_mask: Whether an object's mask covers its hole.
    """

    size: int = 320
    classes: tuple[str, str] = ('disc', 'donut')
    diameters: tuple[int, int] = (20, 20)
    holes: tuple[int, int] = (0, 4)
    hole_in_mask: bool = False

    @property
    def longest(self) -> int:
        """Longest side of an object."""
        return max(self.diameters)


DONUT_PRESETS = {
    # Classes differ in shape, which the masks show.
    'donuts': DonutPreset(),
    # The same images, but the masks of both classes are whole discs.
    'pattern': DonutPreset(hole_in_mask=True),
    # Classes differ in scale only.
    'scale': DonutPreset(
        classes=('disc-19', 'disc-20'), diameters=(19, 20), holes=(0, 0)
    ),
    # The authors' generator uses the diameters of the paper as radii.
    'donuts-2x': DonutPreset(diameters=(40, 40), holes=(0, 8)),
    'pattern-2x': DonutPreset(
        diameters=(40, 40), holes=(0, 8), hole_in_mask=True
    ),
    'scale-2x': DonutPreset(
        classes=('disc-38', 'disc-40'), diameters=(38, 40), holes=(0, 0)
    ),
}

AnyPreset = TypeVar('AnyPreset', Preset, DonutPreset)


def choose(
    presets: Mapping[str, AnyPreset], kind: str, name: str, size: int | None
) -> AnyPreset:
    """Return a preset, optionally with another image size.

    Args:
        presets: Presets by name.
        kind: What they draw, for the error.
        name: Key of `presets`.
        size: Height and width in pixels; None for the preset's own.

    Raises:
        ValueError: Unknown name, or the largest object would not fit.
    """
    if name not in presets:
        raise ValueError(
            f'No preset {name!r} of {kind}, choose one of {list(presets)}'
        )
    style = presets[name]
    if size is not None:
        style = replace(style, size=size)
    if style.size < style.longest:
        raise ValueError(
            f'Objects of {name!r} are up to {style.longest} pixels wide: use '
            f'images of at least that size, not {style.size}'
        )
    return style

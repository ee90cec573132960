"""Orientation of images in EXIF."""

from typing import Any

ORIENTATION = 0x0112
"""The tag."""
UPRIGHT = 1
MIRRORED = (2, 3, 4)
"""Orientations that leave width and height as they are."""
ROTATED = (5, 6, 7, 8)
"""Orientations that exchange width and height."""


def orientation(image: Any) -> int:
    """Orientation of a Pillow image, `UPRIGHT` if it has none."""
    return image.getexif().get(ORIENTATION, UPRIGHT)

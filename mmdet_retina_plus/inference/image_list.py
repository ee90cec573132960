"""List images to process, with their ids in COCO's format."""

import glob
import os
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_retina_plus.common.annotation_files import (
    contents,
    instead_of,
    read_json,
)
from mmdet_retina_plus.common.coco_format import check_coco
from mmdet_retina_plus.common.text import some

SUFFIXES = {
    *('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff'),
    '.webp',
}
"""Suffixes of images in a folder, as in mmdet's inferencer."""


class ListedImage(NamedTuple):
    """An image to process.

    Attributes:
        image_id: Id in results.
        file_name: Name below the folder of all images, with forward slashes.
        path: Path of the file.
        size: Width and height in the annotation file, None without one.
    """

    image_id: int | str
    file_name: str
    path: Path
    size: tuple[int, int] | None = None


def find_images(images: str) -> list[ListedImage]:
    """Find images: a file, a folder with its subfolders, or a pattern.

    Returns:
        Images sorted by name and numbered from 1.

    Raises:
        ValueError: There are no images.
    """
    place = Path(images)
    if place.is_dir():
        paths = [
            path
            for path in place.rglob('*')
            if path.suffix.lower() in SUFFIXES and path.is_file()
        ]
        root = place
    else:
        # The name of a file may have brackets.
        found = (
            [images] if place.is_file() else glob.glob(images, recursive=True)
        )
        paths = [Path(name) for name in found if os.path.isfile(name)]
        root = Path(os.path.commonpath([path.parent for path in paths] or '.'))
    if place.is_dir() and not paths:
        raise ValueError(
            f'There are no images in {images} with a suffix of '
            f'{" ".join(sorted(SUFFIXES))}; {contents(place)}'
        )
    if not place.exists() and not glob.has_magic(images):
        raise ValueError(
            f'There is no file or folder {images}; {instead_of(place)}'
        )
    if not paths:
        raise ValueError(
            f'No file matches the pattern {images}: write it in quotes, such '
            "as 'scans/*.png'"
        )
    named = sorted((path.relative_to(root).as_posix(), path) for path in paths)
    return [ListedImage(i, *item) for i, item in enumerate(named, 1)]


def read_coco(path: Path) -> dict[str, Any]:
    """Read a COCO file, which may have no annotations.

    Raises:
        ValueError: The file is not in COCO format.
    """
    coco = read_json(str(path))
    if isinstance(coco, dict):
        coco.setdefault('annotations', [])
    check_coco(path, coco)
    return coco


def images_of(
    path: Path, coco: dict[str, Any], folder: Path
) -> list[ListedImage]:
    """List the images of a COCO file in its order.

    Args:
        path: COCO file.
        coco: Content of the file.
        folder: Folder of the images.

    Raises:
        ValueError: The file lists no images, or none of them exists.
    """
    listed = [
        ListedImage(
            image['id'],
            image['file_name'],
            folder / image['file_name'],
            (image['width'], image['height']),
        )
        for image in coco['images']
    ]
    if not listed:
        raise ValueError(f'{path} lists no images')
    if not any(image.path.is_file() for image in listed):
        raise ValueError(
            f'No image of {path} is below {folder}: there is no '
            f'{some([image.file_name for image in listed])}'
        )
    return listed

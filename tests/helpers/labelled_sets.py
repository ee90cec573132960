"""Data sets of square images, given by the labels of their objects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet_retina_plus.doctor.split import Split

CLASSES = ('cat', 'dog')


def labelled(
    name: str,
    labels: Sequence[Sequence[int]],
    box: Sequence[float] = (10, 10, 10, 10),
    side: int = 99,
    polygons: Sequence[Sequence[float]] = (),
    **fields: Any,
) -> Split:
    """A data set with one image for each list of labels.

    Args:
        name: 'train', 'val' or 'test'.
        labels: Labels of the objects of each image.
        box: Left, top, width and height of all objects.
        side: Width and height of the images.
        polygons: Mask of all objects.
        fields: Further fields of the data set.
    """
    pairs = [(image, x) for image, own in enumerate(labels) for x in own]
    coco = {
        'images': [
            {'id': at, 'file_name': f'{at}.png', 'width': side, 'height': side}
            for at in range(len(labels))
        ],
        'annotations': [
            {
                'id': number,
                'image_id': image,
                'category_id': label,
                'bbox': list(box),
                'area': box[2] * box[3],
                'iscrowd': 0,
                'segmentation': list(polygons),
            }
            for number, (image, label) in enumerate(pairs)
        ],
        'categories': [{'id': n, 'name': x} for n, x in enumerate(CLASSES)],
    }
    given = {'image_dir': Path(), 'classes': CLASSES} | fields
    return Split(name, coco, **given)

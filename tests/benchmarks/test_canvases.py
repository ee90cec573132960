"""Mosaics hold every photograph once, with its boxes where it lies."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from benchmarks.canvases import (
    GREY,
    Canvas,
    average_precision,
    canvases,
    coco_of,
    draw,
    lay_out,
    truth_of,
)
from mmdet_retina_plus.inference.pictures import Pictures

CATEGORY = 7


def photo(value: int, width: int, height: int) -> Canvas:
    """One colour, with an object in its centre."""
    image = np.full((height, width, 3), value, np.uint8)
    x, y, w, h = width // 4, height // 4, width // 2, height // 2
    image[y : y + h, x : x + w] = 255 - value
    annotation = dict(
        category_id=CATEGORY, bbox=[x, y, w, h], area=w * h, iscrowd=0
    )
    return Canvas(image, [annotation])


PHOTOS = [photo(10, 40, 24), photo(20, 20, 32), photo(30, 48, 16)]


def test_photographs_lie_row_by_row_at_their_size():
    mosaic = lay_out(PHOTOS, columns=2)
    assert mosaic.image.shape == (32 + 16, 48 + 20, 3)
    for value, (x, y) in ((10, (0, 0)), (20, (48, 0)), (30, (0, 32))):
        assert (mosaic.image[y, x] == value).all()
    assert (mosaic.image[26:32, 0:40] == GREY).all()
    assert (mosaic.image[32:, 48:] == GREY).all()


def test_boxes_lie_on_their_objects():
    mosaic = lay_out(PHOTOS, columns=2)
    for value, annotation in zip(
        (10, 20, 30), mosaic.annotations, strict=True
    ):
        x, y, width, height = annotation['bbox']
        pixels = mosaic.image[y : y + height, x : x + width]
        assert (pixels == 255 - value).all()
        assert pixels.size == 3 * annotation['area']


@pytest.mark.parametrize('seed', [0, 1])
def test_every_photograph_is_used_once(tmp_path, seed):
    values = range(5, 100, 10)
    coco = dict(images=[], annotations=[])
    for number, value in enumerate(values):
        source = photo(value, 16, 16)
        cv2.imwrite(str(tmp_path / f'{number}.png'), source.image)
        coco['images'].append(dict(id=number, file_name=f'{number}.png'))
        coco['annotations'] += [
            dict(x, image_id=number) for x in source.annotations
        ]
    mosaics = list(canvases(coco, tmp_path, rows=2, columns=2, seed=seed))
    assert [len(x.annotations) for x in mosaics] == [4, 4, 2]
    corners = [
        int(mosaic.image[y - 4, x - 4, 0])
        for mosaic in mosaics
        for x, y, *_ in (a['bbox'] for a in mosaic.annotations)
    ]
    assert sorted(corners) == list(values)
    assert corners != list(values)
    again = canvases(coco, tmp_path, rows=2, columns=2, seed=seed)
    for mosaic, same in zip(mosaics, again, strict=True):
        assert (mosaic.image == same.image).all()


def test_the_truth_has_full_precision_and_nothing_none():
    mosaics = [lay_out(PHOTOS, columns=2), lay_out(PHOTOS[:1], columns=2)]
    truth = coco_of(mosaics, [dict(id=CATEGORY, name='object')])
    found = [truth_of(mosaic, [CATEGORY]) for mosaic in mosaics]
    assert average_precision(truth, found, [CATEGORY]) == (1, 1)
    nothing = InstanceData(
        bboxes=torch.zeros(0, 4),
        scores=torch.zeros(0),
        labels=torch.zeros(0).long(),
    )
    assert average_precision(truth, [nothing] * 2, [CATEGORY]) == (0, 0)
    ap, ap50 = average_precision(truth, [found[0], nothing], [CATEGORY])
    assert 0.7 < ap == ap50 < 0.8


def test_the_picture_has_four_parts(tmp_path):
    mosaic = lay_out(PHOTOS, columns=2)
    truth = truth_of(mosaic, [CATEGORY])
    names = ('truth', 'whole', 'tiles, NMS', 'tiles, WBC paper')
    pictures = Pictures(dict(classes=('object',), palette='random'), 0.3)
    path = tmp_path / 'new' / 'canvas.png'
    draw(mosaic, dict.fromkeys(names, truth), pictures, path)
    height, width = cv2.imread(str(path)).shape[:2]
    assert width == 1800
    assert height == 2 * (40 + round(900 * 48 / 68))

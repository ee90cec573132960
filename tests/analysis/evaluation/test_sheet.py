"""The sheet of the worst images."""

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from pycocotools import mask as mask_util

from mmdet_retina_plus.analysis.evaluation.error_kinds import Kind
from mmdet_retina_plus.analysis.evaluation.sheet import (
    LABELLED,
    Shape,
    draw_shapes,
    outlines,
    pixels_of,
)
from mmdet_retina_plus.common.exif import ORIENTATION


def test_of_a_dense_image_every_box_is_drawn_and_the_first_have_texts():
    shapes = [
        Shape([n, n, 5, 5], Kind.RIGHT, '-', f'cat {n}') for n in range(3000)
    ]
    axes = Figure().subplots()
    draw_shapes(axes, 'detections', shapes)
    (lines,) = axes.collections
    assert len(lines.get_segments()) == 3000
    texts = {text.get_text() for text in axes.texts}
    assert texts == {shape.text for shape in shapes[:LABELLED]}
    assert axes.get_title() == 'detections, 100 of 3,000 labelled'


def test_a_text_at_the_upper_edge_is_in_its_box():
    axes = Figure().subplots()
    axes.set(xlim=(0, 100), ylim=(80, 0))
    shapes = [Shape([5, y, 9, 9], Kind.RIGHT, '-', f'{y}') for y in (0, 40)]
    draw_shapes(axes, '', shapes)
    sides = {text.get_text(): text.get_va() for text in axes.texts}
    assert sides == {'0': 'top', '40': 'bottom'}


@pytest.mark.parametrize('size', [(90, 120), (120, 90), (60, 45)])
def test_an_image_lies_as_in_the_annotations(tmp_path, size):
    """Which count stored pixels, or turned ones."""
    stored = np.zeros((90, 120, 3), np.uint8)
    stored[:20, :20] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # The first row is the right side.
    Image.fromarray(stored).save(tmp_path / 'a.jpg', exif=exif, quality=100)
    pixels = pixels_of(tmp_path / 'a.jpg', size)
    assert pixels.shape[:2] == size
    corner = pixels[:9, :9] if size == (90, 120) else pixels[:9, -9:]
    assert corner.min() > 200
    assert (pixels > 200).mean() < 0.06


@pytest.mark.parametrize('threshold', [0.45, 0.55, 1])
def test_outlines_in_the_box_are_those_in_the_image(threshold):
    noise = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    mask = np.uint8(cv2.GaussianBlur(noise, (0, 0), 2) > threshold)
    expected, _ = cv2.findContours(
        mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    found = outlines(mask_util.encode(np.asfortranarray(mask)))
    assert len(found) == len(expected)
    for line, part in zip(found, expected, strict=True):
        np.testing.assert_array_equal(line[:-1], part[:, 0])
        np.testing.assert_array_equal(line[-1], line[0])

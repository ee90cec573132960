"""Boxes that fit their images only if they are read otherwise."""

import cv2
import numpy as np
import pytest

from mmdet_retina_plus.doctor.findings import Finding
from mmdet_retina_plus.doctor.placement import check_placement, exchanges
from mmdet_retina_plus.doctor.split import Split

SIDE, NUMBER = 64, 24
LOAD = [{'type': 'LoadImageFromFile'}]


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """A folder of noisy images, and two upright boxes in each."""
    folder = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    boxes = []
    for number in range(NUMBER):
        image = rng.integers(80, size=(SIDE, SIDE, 3), dtype=np.uint8)
        for half in (0, 32):
            width, height = rng.integers([6, 20], [9, 28]).tolist()
            left = half + int(rng.integers(0, 32 - width))
            top = int(rng.integers(0, SIDE - height))
            image[top : top + height, left : left + width] += 120
            boxes.append((number, [left, top, width, height]))
        cv2.imwrite(str(folder / f'{number}.png'), image)
    return folder, boxes


def split_of(drawn, change=lambda x, y, w, h: [x, y, w, h], step=0):
    folder, boxes = drawn
    coco = {
        'images': [
            {'id': at, 'file_name': f'{at}.png', 'width': SIDE, 'height': SIDE}
            for at in range(NUMBER)
        ],
        'annotations': [
            {
                'id': number + 1,
                'image_id': (at + step) % NUMBER,
                'category_id': 1,
                'bbox': change(*box),
                'area': 100,
                'iscrowd': 0,
            }
            for number, (at, box) in enumerate(boxes)
        ],
        'categories': [{'id': 1, 'name': 'cat'}],
    }
    return Split('train', coco, folder, ('cat',), pipeline=LOAD)


WRONG = {
    'y from the bottom': lambda x, y, w, h: [x, SIDE - y - h, w, h],
    'x from the right': lambda x, y, w, h: [SIDE - x - w, y, w, h],
    'by 180 degrees': lambda x, y, w, h: [SIDE - x - w, SIDE - y - h, w, h],
    '[center x, center y, ': lambda x, y, w, h: [x + w / 2, y + h / 2, w, h],
    'of half the size': lambda *box: [value / 2 for value in box],
    '[top, left, height, width]': lambda x, y, w, h: [y, x, h, w],
    '[left, top, height, width]': lambda x, y, w, h: [x, y, h, w],
}


@pytest.mark.parametrize('name', WRONG)
def test_boxes_read_otherwise(drawn, name):
    (finding,) = check_placement(split_of(drawn, WRONG[name]))
    assert finding.level == 'warning'
    assert name in finding.message


@pytest.mark.parametrize(('step', 'which'), [(1, 'before'), (-1, 'after')])
def test_boxes_of_the_next_image(drawn, step, which):
    (finding,) = check_placement(split_of(drawn, step=step))
    assert f'the boxes of the one {which} it' in finding.message


def test_right_boxes_and_boxes_anywhere_are_fine(drawn):
    rng = np.random.default_rng(1)
    assert check_placement(split_of(drawn)) == []

    def anywhere(x, y, w, h):
        return [*rng.integers(0, SIDE - 28, 2).tolist(), w, h]

    assert check_placement(split_of(drawn, anywhere)) == []


def test_an_error_of_the_boxes_explains_them(drawn):
    known = [Finding('error', 'train data', 'bbox is …', 'fix')]
    split = split_of(drawn, WRONG['y from the bottom'])
    assert check_placement(split, known) == []


def test_files_in_another_order_than_their_boxes():
    names = [f'{n}.png' for n in range(12)]
    (message,) = [x for x in exchanges(names) if 'order of texts' in x]
    by_text = sorted(names)
    # As a tool that sorts texts gives boxes, numbered, to files.
    order = exchanges(names)[message]
    assert [by_text[at] for at in range(12)] == [names[at] for at in order]
    assert not any('order' in x for x in exchanges([f'a{n}' for n in '123']))

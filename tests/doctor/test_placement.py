"""Boxes that fit their images only if they are read otherwise."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mmdet_retina_plus.doctor.drawn_boxes import check_drawn_boxes
from mmdet_retina_plus.doctor.findings import Finding
from mmdet_retina_plus.doctor.placement import (
    check_placement,
    exchanges,
)
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


@pytest.mark.parametrize('mirrored', [True, False])
def test_one_source_may_have_wrong_boxes(drawn, tmp_path, mirrored):
    folder, _ = drawn
    split = split_of(drawn)
    images, things = split.coco['images'], split.coco['annotations']
    for at in range(NUMBER):
        image = cv2.imread(str(folder / f'{at}.png'))
        cv2.imwrite(str(tmp_path / f'{at}.png'), image)
        copy = image[:, ::-1] if mirrored else image
        cv2.imwrite(str(tmp_path / f'flip_{at}.png'), copy)
    coco = split.coco | {
        'images': images
        + [
            x | {'id': x['id'] + NUMBER, 'file_name': f'flip_{x["file_name"]}'}
            for x in images
        ],
        'annotations': things
        + [
            x | {'id': x['id'] + 999, 'image_id': x['image_id'] + NUMBER}
            for x in things
        ],
    }
    found = check_placement(replace(split, coco=coco, image_dir=tmp_path))
    assert len(found) == mirrored
    for finding in found:
        start = f'in {NUMBER} images such as flip_0.png, bbox counts x from'
        assert finding.message.startswith(start)


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


LINES = {
    'a line': lambda image, x, y, w, h: cv2.rectangle(
        image, (x, y), (x + w, y + h), (0, 255, 0), 2
    ),
    'an object of one colour': lambda image, x, y, w, h: cv2.rectangle(
        image, (x, y), (x + w, y + h), (0, 255, 0), -1
    ),
    'a disc': lambda image, x, y, w, h: cv2.ellipse(
        image, ((x + w / 2, y + h / 2), (w, h), 0), (0, 255, 0), -1
    ),
    'a form field': lambda image, x, y, w, h: cv2.putText(
        cv2.rectangle(
            cv2.rectangle(image, (x, y), (x + w, y + h), (255, 255, 255), -1),
            (x, y),
            (x + w, y + h),
            (0, 120, 215),
            2,
        ),
        f'{x}{y}',
        (x + 8, y + 26),
        0,
        0.5,
        0,
    ),
    'frames of any colour': lambda image, x, y, w, h: cv2.rectangle(
        image, (x, y), (x + w, y + h), (0, 5 * x, 255 - 5 * y), 2
    ),
    'a printed line': lambda image, x, y, w, h: cv2.rectangle(
        image, (x, y), (x + w, y + h), (0, 0, 0), 2
    ),
    'a meadow around': lambda image, x, y, w, h: cv2.ellipse(
        cv2.rectangle(image, (0, 0), (200, 200), (40, 160, 60), -1),
        ((x + w / 2, y + h / 2), (w - 4, h - 4), 0),
        (200, 200, 200),
        -1,
    ),
}


@pytest.mark.parametrize('suffix', ['png', 'jpg'])
@pytest.mark.parametrize('name', LINES)
def test_boxes_that_are_drawn_into_images(tmp_path, name, suffix):
    rng = np.random.default_rng(0)
    images, things = [], []
    for at in range(12):
        image = rng.integers(60, 190, size=(15, 20, 3), dtype=np.uint8)
        image = cv2.resize(image, (160, 120))
        w, h = rng.integers(40, 70, 2).tolist()
        x, y = rng.integers(5, 40, 2).tolist()
        LINES[name](image, x, y, w, h)
        file = f'{at}.{suffix}'
        cv2.imwrite(str(tmp_path / file), image)
        images.append(
            {'id': at, 'file_name': file, 'width': 160, 'height': 120}
        )
        things.append({
            'id': at + 1,
            'image_id': at,
            'category_id': 1,
            'bbox': [x, y, w, h],
            'area': w * h,
            'iscrowd': 0,
        })  # fmt: skip
    coco = {
        'images': images,
        'annotations': things,
        'categories': [{'id': 1, 'name': 'cat'}],
    }
    found = check_drawn_boxes(
        Split('val', coco, tmp_path, ('cat',), pipeline=LOAD, key='key')
    )
    assert [x.level for x in found] == ['warning'] * (name == 'a line')
    for finding in found:
        assert 'of 12 boxes' in finding.message
        assert 'set key.data_prefix.img' in finding.fix

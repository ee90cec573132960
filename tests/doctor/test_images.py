"""Image files against annotation files, in one and in several processes."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdet_retina_plus.doctor import image_files
from mmdet_retina_plus.doctor.images import (
    check_brightness,
    check_pages,
    look_at_images,
)
from mmdet_retina_plus.doctor.missing_images import Listing, near_match
from mmdet_retina_plus.doctor.shared_images import check_shared
from mmdet_retina_plus.doctor.split import Split


@pytest.fixture
def split(tmp_path):
    images = []
    for number in range(8):
        name = f'{number}.png'
        image = np.full((20 + number, 30, 3), number, np.uint8)
        image[:9] = number ^ 1
        cv2.imwrite(str(tmp_path / name), image)
        images.append(
            {
                'id': number,
                'file_name': name,
                'width': 30,
                'height': 20 + number,
            }
        )
    coco = {'images': images, 'annotations': [], 'categories': []}
    pipeline = [{'type': 'LoadImageFromFile'}]
    return Split('train', coco, tmp_path, (), pipeline=pipeline)


def test_processes_see_what_one_sees(split, monkeypatch):
    alone = look_at_images([split], fast=False)
    monkeypatch.setattr(image_files, 'FEW', 0)
    monkeypatch.setattr(image_files, 'CHUNK', 3)
    shown = []
    together = look_at_images(
        [split], fast=False, track=lambda x: shown.append(len(x)) or x
    )
    assert together == alone
    assert shown == [3]
    assert [x.shape for x in alone.values()] == [
        (20 + number, 30, 3) for number in range(8)
    ]


def test_fast_reads_all_headers_and_decodes_a_sample(split, monkeypatch):
    from mmdet_retina_plus.doctor import images

    monkeypatch.setattr(images, 'SAMPLE', 1)
    looks = look_at_images([split], fast=True).values()
    assert [x.size for x in looks] == [(30, 20 + n) for n in range(8)]
    # One at random, and three of each format.
    assert 3 <= sum(x.shape != () for x in looks) <= 4


def test_a_damaged_file_of_a_rare_format_is_found_fast(split, tmp_path):
    (tmp_path / 'rare.bmp').write_bytes(b'BM' + bytes(60))
    split.images.append(
        {'id': 9, 'file_name': 'rare.bmp', 'width': 5, 'height': 5}
    )
    looks = look_at_images([split], fast=True)
    assert looks[str(tmp_path / 'rare.bmp')].error


def in_part(split, name, first, last):
    images = split.images[first:last]
    return replace(split, name=name, coco=split.coco | {'images': images})


def test_label_maps_in_place_of_photographs(split, tmp_path):
    # Equal bytes, as is common for label maps of one class.
    (tmp_path / '1.png').write_bytes((tmp_path / '0.png').read_bytes())
    looks = look_at_images([split], fast=False)
    (finding,) = check_brightness(split, looks)
    assert '8 of 8 decoded images have values of 0 to 7' in finding.message
    parts = [in_part(split, 'train', 0, 1), in_part(split, 'val', 1, 2)]
    assert check_shared(parts, looks) == []


def test_one_bright_pixel_makes_a_photograph(split, tmp_path):
    for number in range(8):
        image = np.zeros((20 + number, 30, 3), np.uint8)
        image[3, 4] = 200
        cv2.imwrite(str(tmp_path / f'{number}.png'), image)
    looks = look_at_images([split], fast=False)
    assert check_brightness(split, looks) == []


def with_copies(split, folder, number):
    """Files of one image, each with another number of objects."""
    image = np.full((20, 30, 3), 200, np.uint8)
    image[3, 4] = 0
    annotations = []
    for name in range(number):
        cv2.imwrite(str(folder / f'{name}.png'), image)
        annotations += [
            {
                'id': len(annotations) + at,
                'image_id': name,
                'category_id': 1,
                'bbox': [2, 2, 9, 9],
                'area': 81,
                'iscrowd': 0,
            }
            for at in range(name)
        ]
    coco = {
        'images': split.images[:number],
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'x'}],
    }
    return replace(split, coco=coco, classes=('x',))


def test_many_files_of_one_image_are_one_finding(split, tmp_path):
    train = with_copies(split, tmp_path, 5)
    looks = look_at_images([train], fast=False)
    for name in ('train', 'val'):
        (finding,) = check_shared([replace(train, name=name)], looks)
        assert '5 image files have the bytes of one image' in finding.message
        assert '.png' not in finding.fix


def test_copies_of_all_of_training_have_a_fix_that_leaves_images(
    split, tmp_path
):
    train = with_copies(split, tmp_path, 1)
    val = replace(train, name='val', key='val_dataloader.dataset')
    looks = look_at_images([train], fast=False)
    (finding,) = check_shared([train, val], looks)
    assert finding.fix.startswith('val_dataloader.dataset.ann_file=')


def test_copies_in_another_format_are_told_by_boxes_and_pictures(
    split, tmp_path
):
    def in_folder(name, seed, shift, ending='png'):
        (tmp_path / name).mkdir()
        rng = np.random.default_rng(seed)
        images = [
            dict(x, file_name=f'{at}.{ending}')
            for at, x in enumerate(split.images[:4])
        ]
        for number, entry in enumerate(images):
            image = rng.integers(255, size=(20 + number, 30, 3), dtype='B')
            cv2.imwrite(str(tmp_path / name / entry['file_name']), image)
        annotations = [
            {
                'id': 1 + 2 * number + at,
                'image_id': number,
                'category_id': 1,
                'bbox': [2 + at + number + shift, 2, 9, 9],
                'area': 81,
                'iscrowd': 0,
            }
            for number in range(4)
            for at in range(2)
        ]
        coco = {
            'images': images,
            'annotations': annotations,
            'categories': [{'id': 1, 'name': 'x'}],
        }
        folder = tmp_path / name
        return Split(
            name, coco, folder, ('x',), pipeline=split.pipeline, key='val'
        )

    train = in_folder('train', 1, 0)
    copies = in_folder('val', 1, 0, 'jpg')
    other_boxes = in_folder('test', 1, 9, 'jpg')
    other_pictures = in_folder('fixed', 2, 0)
    splits = [train, copies, other_boxes, other_pictures]
    (finding,) = check_shared(splits, look_at_images(splits, fast=False))
    assert finding.subject == 'val data'
    assert '4 of its 4 images with several objects' in finding.message


@pytest.mark.parametrize(('sizes', 'warned'), [((20, 20), 1), ((20, 10), 0)])
def test_pages_that_are_not_read(tmp_path, sizes, warned):
    pages = [Image.new('L', (30, size), size) for size in sizes]
    pages[0].save(tmp_path / '0.tif', save_all=True, append_images=pages[1:])
    images = [{'id': 1, 'file_name': '0.tif', 'width': 30, 'height': 20}]
    coco = {'images': images, 'annotations': [], 'categories': []}
    steps = [{'type': 'LoadImageFromFile'}]
    split = Split('train', coco, tmp_path, (), pipeline=steps)
    looks = look_at_images([split], fast=False)
    found = check_pages(split, looks)
    assert [x.message.split(',')[0] for x in found] == [
        '1 file has up to 2 pages'
    ] * warned


@pytest.mark.parametrize(
    ('wanted', 'there'),
    [
        ('1a2b3c4d-cat.png', 'cat.png'),
        ('cat.png', '1a2b3c4d-cat.png'),
        ('cat_7.png', 'cat_000007.png'),
        ('cafe\u0301.png', 'caf\u00e9.png'),
    ],
)
def test_a_file_under_a_name_that_a_tool_changed(tmp_path, wanted, there):
    (tmp_path / there).touch()
    found, fix = near_match(wanted, tmp_path, Listing())
    assert found == there
    assert fix.isascii()

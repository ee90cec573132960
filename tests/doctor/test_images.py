"""What image files say, against annotation files, in processes and without."""

import cv2
import numpy as np
import pytest

from mmdet_retina_plus.doctor import image_files
from mmdet_retina_plus.doctor.images import look_at_images
from mmdet_retina_plus.doctor.split import Split


@pytest.fixture
def split(tmp_path):
    images = []
    for number in range(8):
        name = f'{number}.png'
        image = np.full((20 + number, 30, 3), number, np.uint8)
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

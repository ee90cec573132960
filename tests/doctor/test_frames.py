"""Images with neighbouring numbers in training and validation."""

from pathlib import Path

import pytest

from mmdet_retina_plus.doctor.frames import check_frames
from mmdet_retina_plus.doctor.image_files import Look
from mmdet_retina_plus.doctor.split import Split, paths_of

FILMS = [f'film{n // 10}_{n:04}.jpg' for n in range(40)]


def split_of(name, files):
    images = [{'file_name': x, 'id': n} for n, x in enumerate(files)]
    coco = {'images': images, 'annotations': [], 'categories': []}
    return Split(name, coco, Path(name), ())


def same_film(one, other):
    return Path(one).name[:5] == Path(other).name[:5]


@pytest.mark.parametrize(
    ('train', 'val', 'alike', 'number'),
    [
        (FILMS[::2], FILMS[1::2], same_film, 1),
        (FILMS[:20], FILMS[20:], same_film, 0),
        # Pictures of one fixed camera are alike, those of many scenes are not.
        (FILMS[::2], FILMS[1::2], lambda *_: True, 0),
        (FILMS[::2], FILMS[1::2], lambda *_: False, 0),
    ],
)
def test_frames_of_a_film_are_not_split(train, val, alike, number):
    splits = [split_of('train', train), split_of('val', val)]
    looks = {x: Look() for split in splits for x in paths_of(split)}
    found = check_frames(splits, looks, alike)
    assert [x.subject for x in found] == ['val data'] * number

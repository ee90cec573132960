"""Frames of a film, or tiles of a scene, in training and validation."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmdet_retina_plus.doctor.frames import check_frames
from mmdet_retina_plus.doctor.image_files import Look
from mmdet_retina_plus.doctor.split import Split

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
    looks = {x: Look() for split in splits for x in split.paths}
    found = check_frames(splits, looks, alike)
    assert [x.subject for x in found] == ['val data'] * number


@pytest.fixture
def tiles(tmp_path):
    """Tiles of 64 pixels of two scenes, every `step` pixels, by scene."""

    def cut(step, name='{}_x{}_y{}.png'):
        draw = np.random.default_rng(0)
        found = {0: [], 1: []}
        for scene, files in found.items():
            small = draw.integers(255, size=(16, 16, 3), dtype='B')
            image = cv2.resize(small, (256, 256))
            for y in range(0, 193, step):
                for x in range(0, 193, step):
                    ends = x + 64, y + 64, x // step, y // step
                    files.append(
                        str(tmp_path / name.format(scene, x, y, *ends))
                    )
                    part = image[y : y + 64, x : x + 64]
                    cv2.imwrite(files[-1], part)
        return found

    return cut


def tiles_told(train, val):
    splits = [split_of('train', train), split_of('val', val)]
    looks = {x: Look(size=(64, 64)) for y in splits for x in y.paths}
    return [x.message for x in check_frames(splits, looks)]


@pytest.mark.parametrize(
    'name',
    [
        '{}_x{}_y{}.png',
        '{0}_{2}_{1}.png',
        '{}__1__{}___{}.jpg',
        '{0}_{1}_{2}_{3}_{4}.png',
        '{0}_{1}_{2}_64_64.png',
        '{0}_r{6}_c{5}.png',
        'p{0}_{5}_{6}.jpg',
    ],
)
def test_overlapping_tiles_of_a_scene_are_not_split(tiles, name):
    files = tiles(32, name)
    (told,) = tiles_told(files[0][::2], files[0][1::2])
    assert 'overlap tiles of training' in told
    assert tiles_told(*files.values()) == []


def test_tiles_side_by_side_or_numbered_have_no_common_pixels(tiles):
    for name in ('{}_x{}_y{}.png', '{0}_r{6}_c{5}.png'):
        files = tiles(64, name)[0]
        assert tiles_told(files[::2], files[1::2]) == []
    # Numbers that are no offsets.
    files = [x for both in tiles(64, '{}_{}{}_7.png').values() for x in both]
    assert tiles_told(files[::2], files[1::2]) == []


def test_pictures_numbered_twice_are_no_tiles(tmp_path):
    """As frames of Cityscapes: sky above, ground below, other things."""
    draw = np.random.default_rng(0)
    ground = np.linspace(230, 20, 64)[:, None, None] * np.ones((1, 64, 3))
    files = []
    for at in range(24):
        files.append(str(tmp_path / f'city_{at // 6:06}_{at:06}.png'))
        noise = cv2.resize(draw.normal(0, 12, (16, 16, 3)), (64, 64))
        cv2.imwrite(files[-1], (ground + noise).clip(0, 255).astype('B'))
    assert tiles_told(files[::2], files[1::2]) == []


def ruled(draw):
    page = np.full((96, 96), 245.0)
    page[8::24] = page[9::24] = 160
    return page + draw.normal(0, 1.5, page.shape)


def woven(draw):
    wave = 45 * np.sin(2 * np.pi * np.arange(96) / 20)
    return 128 + wave[:, None] + wave + draw.normal(0, 1.5, (96, 96))


def form(draw):
    page = np.full((96, 96), 255.0)
    for top in range(8, 90, 28):
        left, width = draw.integers([5, 30], [25, 60])
        cv2.rectangle(page, (left, top), (left + width, top + 18), 80, 2)
    return page


@pytest.mark.parametrize('picture', [ruled, woven, form])
def test_patterns_that_repeat_are_no_tiles(tmp_path, picture):
    draw = np.random.default_rng(0)
    files = []
    for at in range(32):
        image = picture(draw)
        x, y = draw.integers(10, 60, 2)
        image[y : y + 20, x : x + 20] = draw.integers(255, size=(20, 20))
        files.append(str(tmp_path / f'book{at // 8}_page{at % 8}.png'))
        cv2.imwrite(files[-1], image.clip(0, 255).astype('B'))
    assert tiles_told(files[::2], files[1::2]) == []

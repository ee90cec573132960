"""Slices of a volume become channels in their order."""

import cv2
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS


@pytest.fixture
def volume(tmp_path):
    """Slices 8 to 12 of two volumes, each filled with its number."""
    for number in range(8, 13):
        for name in (f'a{number:03d}', f'b_{number}'):
            image = np.full((6, 5), 1000 * number, np.uint16)
            cv2.imwrite(str(tmp_path / f'{name}.png'), image)
    return tmp_path


def load(path, **options) -> dict:
    loader = TRANSFORMS.build(dict(type='LoadNeighbourSlices', **options))
    return loader(dict(img_path=str(path)))


@pytest.mark.parametrize(
    ('name', 'slices'),
    [
        ('a010', [8, 9, 10, 11, 12]),
        ('a008', [8, 8, 8, 9, 10]),
        ('a011', [9, 10, 11, 12, 12]),
        # Numbers of one digit and of two.
        ('b_10', [8, 9, 10, 11, 12]),
        ('b_9', [8, 8, 9, 10, 11]),
    ],
)
def test_slices_are_in_order_and_the_last_ones_repeat(volume, name, slices):
    results = load(volume / f'{name}.png', neighbours=2)
    assert results['img'].shape == (6, 5, 5)
    assert results['img'].dtype == np.float32
    np.testing.assert_array_equal(results['img'][0, 0] / 1000, slices)
    assert results['img_shape'] == results['ori_shape'] == (6, 5)
    assert results['img_path'] == str(volume / f'{name}.png')


def test_a_missing_slice_is_the_next_towards_the_middle(volume):
    (volume / 'a009.png').unlink()
    image = load(volume / 'a010.png', neighbours=2)['img']
    np.testing.assert_array_equal(image[0, 0] / 1000, [8, 10, 10, 11, 12])


def test_without_neighbours_it_is_the_slice(volume):
    image = load(volume / 'a010.png', neighbours=0, to_float32=False)['img']
    assert image.shape == (6, 5, 1)
    assert image.dtype == np.uint16


def test_bad_input_is_refused(volume):
    with pytest.raises(ValueError, match='0 or more'):
        load(volume / 'a010.png', neighbours=-1)
    with pytest.raises(ValueError, match='number of a slice'):
        load(volume / 'scan.png')
    for name in ('rgb1.png', 'rgb2.png'):
        cv2.imwrite(str(volume / name), np.zeros((6, 5, 3), np.uint8))
    with pytest.raises(ValueError, match='more than one channel'):
        load(volume / 'rgb1.png')

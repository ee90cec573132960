"""Windows of grey values, in training and in pictures."""

import cv2
import mmcv
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmengine.fileio import get

from mmdet_retina_plus.transforms.window_intensity import apply_windows

CT = np.array([[-1000, -160, 40], [240, 300, 3071]], np.int16)


def test_a_window_is_mapped_to_the_range_of_photographs():
    image = apply_windows(CT, [(-160, 240)])
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, [[0, 0, 127.5], [255, 255, 255]])


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'int16', 'float32'])
def test_every_type_of_file_is_taken(dtype):
    image = apply_windows(np.array([[0, 50, 100]], dtype), [(50, 100)])
    np.testing.assert_allclose(image, [[0, 0, 255]])


def test_several_windows_of_a_grey_image_are_channels():
    windows = [(-1350, 150), (-160, 240), (-450, 1300)]
    image = apply_windows(CT, windows)
    assert image.shape == (2, 3, 3)
    for channel, window in enumerate(windows):
        expected = apply_windows(CT, [window])
        np.testing.assert_array_equal(image[..., channel], expected)


def test_channels_share_a_window_or_have_their_own():
    image = np.stack([CT, CT + 100], axis=-1)
    shared = apply_windows(image, [(0, 500)])
    own = apply_windows(image, [(0, 500), (100, 600)])
    np.testing.assert_array_equal(shared[..., 0], own[..., 0])
    np.testing.assert_allclose(own[..., 0], own[..., 1])
    with pytest.raises(ValueError, match='3 windows for 2 channels'):
        apply_windows(image, [(0, 1)] * 3)


def test_an_image_that_lost_its_bits_is_refused():
    """mmdet's loader reads 8 bits unless told otherwise."""
    with pytest.raises(ValueError, match="color_type='unchanged'"):
        apply_windows(np.zeros((4, 4, 3), np.uint8), [(0, 4095)])


@pytest.mark.parametrize('windows', [[], [(5, 5)], [(240, -160)]])
@pytest.mark.parametrize('name', ['WindowIntensity', 'WindowedBackend'])
def test_empty_windows_are_refused(name, windows, tmp_path):
    with pytest.raises(ValueError, match='low < high'):
        if name == 'WindowIntensity':
            TRANSFORMS.build(dict(type=name, windows=windows))
        else:
            get(tmp_path, backend_args=dict(backend=name, windows=windows))


@pytest.mark.parametrize(
    ('name', 'dtype'),
    [('a.png', 'uint16'), ('a.tif', 'int16'), ('a.tif', 'float32')],
)
def test_pictures_show_what_the_detector_sees(tmp_path, name, dtype):
    path = str(tmp_path / name)
    ramp = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(dtype)
    assert cv2.imwrite(path, ramp)
    arguments = dict(backend='WindowedBackend', windows=[(0, 4095)])
    # As DetVisualizationHook reads.
    picture = mmcv.imfrombytes(
        get(path, backend_args=arguments), channel_order='rgb'
    )
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    expected = apply_windows(ramp, [(0, 4095)])
    np.testing.assert_allclose(picture[..., 0], expected, atol=0.5)

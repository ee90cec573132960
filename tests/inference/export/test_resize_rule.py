"""The rule in a file makes the sizes that the pipeline makes."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.config import Config
from PIL import Image

from mmdet_retina_plus.inference.export.export_onnx import EXAMPLE
from mmdet_retina_plus.inference.export.resize_rule import (
    apply_rule,
    new_size,
    read_rgb,
    read_rule,
    rule_of,
    shrunk,
    with_canvas,
)

RESIZES = {
    'kept ratio': dict(scale=(133, 80), keep_ratio=True),
    'any ratio': dict(scale=(64, 48)),
    'factor': dict(scale_factor=1.3),
}


@pytest.mark.parametrize('case', RESIZES)
@pytest.mark.parametrize('shape', [(37, 101), (101, 37), (50, 50)])
def test_the_rule_makes_the_image_of_the_pipeline(case, shape):
    import mmdet.datasets.transforms  # noqa: F401  Registers them.

    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    step = dict(type='mmdet.Resize', **RESIZES[case])
    theirs = Compose([step])(dict(img=image, img_shape=shape))['img']
    np.testing.assert_array_equal(apply_rule(rule_of(step), image), theirs)


REFUSED = {
    'loader': [dict(type='LoadNeighbourSlices')],
    'grey': [dict(type='LoadImageFromFile', color_type='grayscale')],
    'step': [dict(type='LoadImageFromFile'), dict(type='Pad', size=(9, 9))],
    'interpolation': [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(9, 9), interpolation='area'),
    ],
}
NAMES = dict(loader='LoadNeighbourSlices', grey='grayscale', step='Pad')


@pytest.mark.parametrize('case', REFUSED)
def test_pipelines_that_do_more_are_refused_by_name(case):
    cfg = Config(
        dict(test_dataloader=dict(dataset=dict(pipeline=REFUSED[case])))
    )
    with pytest.raises(ValueError, match=NAMES.get(case, case)):
        read_rule(cfg)


@pytest.mark.parametrize(
    'rule',
    [
        dict(factor=1.5),
        dict(size=[50, 70]),
        dict(fit=[64, 48]),
        dict(fit=[48, 64], pad=[10, 200, 30]),
        dict(fit=[64, 48], pad=[10, 200, 30]),
    ],
    ids=str,
)
def test_the_example_resizes_by_the_rule(rule):
    """Up to the grey levels that Pillow and OpenCV round differently."""
    scope: dict = dict(__name__='example')
    exec(EXAMPLE.read_text(), scope)
    given = []

    class Session:
        def get_modelmeta(self):
            about = SimpleNamespace()
            about.custom_metadata_map = dict(resize=json.dumps(rule))
            return about

        def run(self, outputs, inputs):
            given.append(inputs['images'][0])
            if 'pad' in rule:
                assert inputs['sizes'].tolist() == [[*new_size(rule, 40, 60)]]
            return np.ones((1, 1, 4)), np.ones((1, 1, 3))

    rows = np.linspace(0, 99, 60)
    planes = np.broadcast_arrays(rows[:, None], rows[:40], 7)
    image = np.stack(planes, axis=-1).astype(np.uint8)
    photo = scope['Image'].fromarray(image)
    boxes, *_ = scope['detect'](Session(), photo)
    expected = apply_rule(rule, image)
    np.testing.assert_allclose(given[0].astype(int), expected, atol=1)
    wide, tall = new_size(rule, 40, 60)
    np.testing.assert_allclose(boxes[0], np.tile([40 / wide, 60 / tall], 2))


def test_the_example_turns_a_photo_as_the_comparison_does(tmp_path):
    scope: dict = dict(__name__='example')
    exec(EXAMPLE.read_text(), scope)
    rows = np.linspace(0, 200, 40)
    planes = np.broadcast_arrays(rows[:, None], rows[:24], 7)
    photo = Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: a quarter turn.
    file = tmp_path / 'photo.png'
    photo.save(file, exif=exif)
    expected = read_rgb(file)
    assert expected.shape == (24, 40, 3)
    np.testing.assert_array_equal(np.asarray(scope['read'](file)), expected)


def test_the_example_reads_16_bits_as_the_comparison_does(tmp_path):
    grey = np.arange(0, 2**16, 7, dtype=np.uint16)[:9000].reshape(90, 100)
    path = tmp_path / 'deep.png'
    cv2.imwrite(str(path), grey)
    scope: dict = dict(__name__='example')
    exec(EXAMPLE.read_text(), scope)
    np.testing.assert_array_equal(scope['read'](path), read_rgb(path))


def test_the_canvas_is_turned_as_most_images_are():
    model = SimpleNamespace(
        data_preprocessor=SimpleNamespace(_enable_normalize=False)
    )
    sizes = [(60, 90), (90, 60), (80, 80)]
    for rule, wide in (
        (dict(fit=[50, 100]), [100, 50]),
        (dict(factor=2.0), [180, 120]),
    ):
        assert with_canvas(rule, sizes, model)['fit'] == wide
        assert with_canvas(rule, sizes[:1], model)['fit'] == (
            [50, 100] if 'fit' in rule else [120, 180]
        )


def test_an_image_turned_against_the_canvas_is_shrunk():
    rule, canvas = dict(fit=[100, 60]), dict(fit=[100, 60], pad=[0, 0, 0])
    assert shrunk(rule, canvas, 200, 120) == 1
    assert shrunk(rule, canvas, 120, 200) == pytest.approx(0.6)

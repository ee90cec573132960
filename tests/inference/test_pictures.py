"""Pictures of detections, and semantic maps."""

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.datasets import CocoDataset
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from PIL import Image
from torch import nn

import mmdet_retina_plus
from mmdet_retina_plus.common.exif import ORIENTATION
from mmdet_retina_plus.inference.pictures import Pictures
from mmdet_retina_plus.visualization.class_palette import (
    COLOURS,
    class_palette,
)
from tests.helpers.commands import predict
from tests.helpers.detector_files import retinanet, write_config
from tests.helpers.image_files import noise, write_image


def test_pictures_show_the_boxes(tmp_path, seeing):
    images, pictures = tmp_path / 'images', tmp_path / 'pictures'
    (images / 'inner').mkdir(parents=True)
    write_image(images / 'inner' / 'a.png', (20, 20, 60, 60))
    write_image(images / 'b.png')
    output = predict(
        *(images, *seeing, '--out', tmp_path / 'out.json'),
        *('--show-dir', pictures),
    )
    assert '1 of 2 pictures has no box above 0.3: lower' in output
    for name, drawn in (('inner/a.png', True), ('b.png', False)):
        before = cv2.imread(str(images / name)).astype(int)
        after = cv2.imread(str(pictures / name)).astype(int)
        assert before.shape == after.shape
        assert (abs(before - after).max() > 50) == drawn


@pytest.mark.parametrize('suffix', ['', '_ignore_orientation'])
def test_boxes_are_drawn_where_the_detector_sees_them(
    tmp_path, seeing, suffix
):
    source = write_image(tmp_path / 'a.png', (5, 5, 45, 40))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.open(source).save(tmp_path / 'a.jpg', exif=exif, quality=100)
    key = 'test_dataloader.dataset.pipeline.0.color_type'
    predict(
        *(tmp_path / 'a.jpg', *seeing, '--out', tmp_path / 'out.json'),
        *('--show-dir', tmp_path / 'pictures'),
        *('--cfg-options', f'{key}=color{suffix}'),
    )
    stored = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    after = cv2.imread(str(tmp_path / 'pictures/a.jpg'), stored).astype(int)
    assert after.shape == ((90, 120, 3) if suffix else (120, 90, 3))
    bright = after.min(axis=2) > 200
    coloured = after.max(axis=2) - after.min(axis=2) > 60
    # The line surrounds what is bright.
    (top, left), (bottom, right) = (
        edge(np.argwhere(bright), axis=0) for edge in (np.min, np.max)
    )
    for place in (top, left), (bottom, right):
        y, x = place
        assert coloured[y - 3 : y + 4, x - 3 : x + 4].any()


def test_a_class_that_is_a_colour_has_it():
    """In COCO's palette, which other data sets inherit, it would be blue."""
    coco = CocoDataset.METAINFO
    names = ('Red', 'cat', 'green', *map(str, range(90)))
    red, cat, green, *others = class_palette(dict(coco, classes=names))
    assert (red, green) == ((255, 0, 0), (0, 128, 0))
    assert len({red, cat, green, *others}) == len(names)
    assert class_palette(coco) == coco['palette']
    own = dict(classes=('red',), palette=[(1, 2, 3)])
    assert class_palette(own) == own['palette']
    assert class_palette(dict(own, palette='random')) == [(255, 0, 0)]


def test_a_picture_shows_names_with_scores_as_fractions(monkeypatch):
    shown = []
    pictures = Pictures(dict(classes=('person',), palette='random'), 0.3)
    monkeypatch.setattr(
        pictures.visualizer,
        'draw_texts',
        lambda text, *_, **__: shown.append(text),
    )
    boxes = torch.tensor([[0.0, 0, 20, 20], [20, 20, 39, 39], [0, 0, 9, 9]])
    sample = DetDataSample(
        pred_instances=InstanceData(
            bboxes=boxes,
            scores=torch.tensor([0.876, 0.5, 0.1]),
            labels=torch.zeros(3, dtype=int),
        )
    )
    drawn = pictures.draw(np.full((40, 40, 3), 255, np.uint8), sample)
    assert shown == ['person 0.50', 'person 0.88']  # the best on top
    paper = np.full(3, 255)
    for corner, colour in ((0, COLOURS[0]), (39, COLOURS[1])):
        # A thin line is blended with the paper: its hue remains.
        missing = paper - drawn[corner, corner]
        hues = [
            np.dot(missing, paper - x) / np.linalg.norm(paper - x)
            for x in COLOURS
        ]
        assert COLOURS[np.argmax(hues)] == colour
    assert 'scores' in sample.pred_instances


def test_a_detector_that_finds_nothing_is_told_so(tmp_path, seeing):
    image = write_image(tmp_path / 'a.png')
    arguments = ('--out', tmp_path / 'o.json', '--show-dir', tmp_path / 'p')
    output = predict(image, *seeing, *arguments)
    assert 'nothing was detected: train longer, or keep weaker' in output
    assert '--show-score-thr' not in output


@pytest.fixture(scope='module')
def mapping(tmp_path_factory):
    """Config and checkpoint of a Retina U-Net that sees 3 classes."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('mapping')
    model = Config.fromfile(
        mmdet_retina_plus.config('retinaunet_r18_fpn_shapes')
    ).model
    model.bbox_head.num_classes = model.semantic_head.num_classes = 3
    config = write_config(folder / 'mapping.py', model)
    detector = MODELS.build(Config.fromfile(config).model)
    detector.init_weights()
    nn.init.normal_(detector.semantic_head.conv_seg.weight)
    torch.save(detector.state_dict(), folder / 'mapping.pth')
    return [str(config), str(folder / 'mapping.pth')]


def test_a_map_is_what_the_model_says_of_each_pixel(tmp_path, mapping):
    images = tmp_path / 'images'
    image = noise(images / 'a.png', seed=0)
    maps, pictures = tmp_path / 'maps', tmp_path / 'pictures'
    arguments = (images, *mapping, '--out', tmp_path / 'out.json')
    predict(
        *(*arguments, '--maps', maps, '--show-dir', pictures),
        *('--show-score-thr', 1),
    )
    cfg = Config.fromfile(mapping[0])
    cfg.model.test_cfg.with_seg = True
    model = init_detector(cfg, mapping[1], device='cpu')
    expected = inference_detector(model, image).pred_sem_seg.sem_seg[0]
    found = cv2.imread(str(maps / 'a.png'), cv2.IMREAD_UNCHANGED)
    assert len(np.unique(found)) > 1
    np.testing.assert_array_equal(found, expected)
    tinted = cv2.imread(str(pictures / 'a.png')) != cv2.imread(image)
    np.testing.assert_array_equal(tinted.any(axis=-1), found > 0)


def test_maps_that_cannot_be_are_refused_before_any_work(tmp_path, mapping):
    images = tmp_path / 'images'
    for name in ('a.png', 'a.bmp'):
        write_image(images / name)
    maps = ('--maps', tmp_path / 'maps')
    for arguments, said in (
        ((images / 'a.png', *mapping, *maps, '--tile', 64), 'leave out'),
        ((images / 'a.png', *mapping, *maps, '--flip'), 'leave out'),
        ((images / 'a.png', *retinanet(tmp_path), *maps), 'semantic_head'),
        ((images, *mapping, *maps), 'a.bmp and a.png would both become'),
        ((images / 'a.png', *mapping, '--maps', images), 'would overwrite'),
        (
            (images / 'a.png', *mapping, *maps, '--show-dir', maps[1]),
            'need different folders',
        ),
    ):
        out = tmp_path / 'out.json'
        assert said in predict(*arguments, '--out', out, code=1)
    assert not (tmp_path / 'maps').exists()

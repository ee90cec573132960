"""A file finds what its checkpoint finds, or is not written."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

from mmdet_retina_plus.common.config_file import read_config
from mmdet_retina_plus.common.trained_detectors import load_detectors
from mmdet_retina_plus.inference.export import compare, onnx_file
from mmdet_retina_plus.inference.export.description import notes_on_size
from mmdet_retina_plus.inference.export.detections import (
    Found,
    found_of,
    run_before_nms,
    run_checkpoint,
    unpad,
)
from mmdet_retina_plus.inference.export.export_onnx import export_onnx
from mmdet_retina_plus.inference.export.exported_detector import (
    ExportedDetector,
)
from mmdet_retina_plus.inference.export.resize_rule import (
    apply_rule,
    new_size,
    read_rgb,
)
from mmdet_retina_plus.inference.tiled_detector import TiledDetector

CANVAS = dict(fit=[200, 90], pad=[124, 116, 104])
"""A rule that pads the photos, of 120 x 90 px, to the right."""
FILES = {
    'half precision': (
        dict(fp16=True),
        dict(images=[1, 64, 96, 3], sizes=[1, 2]),
        4,
    ),
    'raw': (
        dict(raw=True, dynamic=True),
        dict(images=['batch', 'height', 'width', 3]),
        2,
    ),
}


ALONE = """
import runpy, sys

class Alone:
    known = {'numpy', 'PIL', 'onnxruntime', *sys.stdlib_module_names}

    def find_spec(self, name, *_):
        if name.partition('.')[0] not in self.known:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Alone())
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name='__main__')
"""
"""Runs a script where no other package can be imported."""


@pytest.fixture(scope='module')
def mask_file(tmp_path_factory, small, photos):
    """A dynamic file with masks, its example, config and checkpoint."""
    files = small('mask')
    out = tmp_path_factory.mktemp('file') / 'mask.onnx'
    done = export_onnx(*files, out, dynamic=True, images=photos)
    return *done.files, files


@pytest.mark.parametrize('kind', ['box', 'softmax', 'atss', 'mask', 'unet'])
def test_the_traced_steps_are_those_of_the_checkpoint(kind, small, photos):
    config, checkpoint = small(kind)
    (model,) = load_detectors(read_config(config), [checkpoint], 'cpu')
    image = apply_rule(CANVAS, read_rgb(Path(photos, '0.png')))
    size = new_size(CANVAS, 120, 90)
    expected = run_checkpoint(model, image, kind == 'mask', size)
    with torch.no_grad():
        outputs = ExportedDetector(model)(
            torch.from_numpy(image)[None], torch.tensor([size])
        )
    found = unpad([output.numpy() for output in outputs])
    assert len(expected.scores) > 5
    test_cfg = model.bbox_head.test_cfg
    assert not compare.compare(
        expected, found, compare.SINGLE, test_cfg
    ).close_calls


def test_a_file_holds_more_boxes_than_a_level_passes_on(small, photos):
    config, checkpoint = small('box')
    options = [
        *('model.test_cfg.nms_pre=9', 'model.test_cfg.score_thr=0.0'),
        'model.test_cfg.nms.iou_threshold=0.95',
    ]
    cfg = read_config(config, options)
    (model,) = load_detectors(cfg, [checkpoint], 'cpu')
    image = read_rgb(Path(photos, '0.png'))
    expected = run_checkpoint(model, image, with_mask=False)
    assert len(expected.scores) > 9
    with torch.no_grad():
        outputs = ExportedDetector(model)(torch.from_numpy(image)[None])
    found = unpad([output.numpy() for output in outputs])
    test_cfg = model.bbox_head.test_cfg
    compare.compare(expected, found, compare.SINGLE, test_cfg)
    candidates = run_before_nms(model, image)
    assert len(candidates.scores) == 2 * 9
    assert model.bbox_head.test_cfg is test_cfg


def test_half_precision_keeps_mean_and_std(small):
    config, checkpoint = small('box')
    (model,) = load_detectors(read_config(config), [checkpoint], 'cpu')
    mean = model.data_preprocessor.mean.clone()
    half = ExportedDetector(model, half=True)
    torch.testing.assert_close(half.mean, mean, rtol=0, atol=0)


@pytest.mark.parametrize('case', FILES)
def test_a_file_finds_what_its_checkpoint_finds(case, tmp_path, small, photos):
    options, inputs, num_outputs = FILES[case]
    out = tmp_path / 'model.onnx'
    done = export_onnx(*small('mask'), out, images=photos, **options)
    assert done.num_found > 10
    assert done.difference.score <= done.tolerance.score
    assert done.inputs == inputs
    names = ['boxes', 'scores', 'labels', 'masks']
    assert list(done.outputs) == names[:num_outputs]


def test_the_example_needs_numpy_pillow_and_onnxruntime_only(
    mask_file, photos, tmp_path
):
    model, example, _ = mask_file
    picture, low = tmp_path / 'picture.png', tmp_path / 'low.py'
    source = example.read_text()
    low.write_text(source.replace('SCORE_THR = 0.3', 'SCORE_THR = 0.05'))
    run = [sys.executable, '-c', ALONE, str(low), str(model)]
    done = subprocess.run(
        [*run, f'{photos}/0.png', str(picture)],
        check=True,
        capture_output=True,
        text=True,
    )
    head, *found = done.stdout.splitlines()
    assert head.startswith(f'{len(found)} detections above 0.05, the best 0.')
    assert re.match(r'(red|green|blue) 0\.\d\d \[', found[0])
    assert picture.stat().st_size
    done = subprocess.run(
        [*run, 'absent.png', 'b.png'], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert 'absent.png' in done.stderr and done.stderr.count('\n') == 1


def test_the_example_detects_as_predict_does(mask_file, photos):
    model, example, (config, checkpoint) = mask_file
    scope: dict = dict(__name__='example')
    exec(example.read_text(), scope)
    image = f'{photos}/0.png'
    session = onnxruntime.InferenceSession(str(model))
    photo = scope['read'](image)
    boxes, scores, labels, masks = scope['detect'](session, photo)
    detector = TiledDetector(
        load_detectors(read_config(config), [checkpoint], 'cpu')
    )
    sample = detector(detector.read(Path(image)))
    # Pillow and OpenCV round grey levels of a resized image differently.
    expected = found_of(sample.pred_instances)
    found = Found(boxes, scores, labels)
    cfg = detector.models[0].bbox_head.test_cfg
    compare.compare(expected, found, compare.HALF, cfg)
    assert len(masks) == len(boxes)
    pasted = scope['paste'](masks[0], boxes[0], photo.size)
    whole, _ = _do_paste_mask(
        torch.from_numpy(masks[:1, None]),
        torch.from_numpy(boxes[:1]).float(),
        *(90, 120),
        skip_empty=False,
    )
    assert pasted.getextrema()[1] > 0.3
    np.testing.assert_allclose(np.asarray(pasted), whole[0], atol=1e-3)


def test_the_example_finds_no_box_outside_a_photo(tmp_path, small, photos):
    done = export_onnx(*small('box'), tmp_path / 'a.onnx', images=photos)
    model, example = done.files
    scope: dict = dict(__name__='example')
    exec(example.read_text(), scope)
    photo = scope['read'](f'{photos}/0.png').crop((0, 0, 40, 90))
    session = onnxruntime.InferenceSession(str(model))
    boxes, scores, *_ = scope['detect'](session, photo)
    assert len(scores) > 5
    assert boxes.min() >= 0
    np.testing.assert_allclose(boxes[:, 2:].max(axis=0), photo.size)


def test_metadata_say_what_the_file_needs(mask_file):
    model, _, _ = mask_file
    about = {item.key: item.value for item in onnx.load(model).metadata_props}
    assert json.loads(about['classes']) == ['red', 'green', 'blue']
    assert json.loads(about['resize']) == dict(fit=[96, 64])
    assert json.loads(about['versions'])['torch']
    assert float(about['score_thr']) == 0.05
    assert float(about['mask_thr']) == 0.5


def test_images_that_a_static_file_pads_or_shrinks_are_noted():
    rule = dict(fit=[96, 64])
    canvas = dict(rule, pad=[0, 0, 0])
    sizes = [(90, 120), (120, 90), (192, 128)]
    (note,) = notes_on_size(rule, canvas, sizes)
    assert '2 of 3 images are padded' in note
    assert '1 of them shrunk, down to 0.75' in note
    assert notes_on_size(rule, canvas, sizes[2:]) == []
    assert notes_on_size(rule, rule, sizes) == []


def test_a_difference_leaves_no_file(tmp_path, small, photos, monkeypatch):
    def shifted(outputs, image=0):
        found = unpad(outputs, image)
        return found._replace(boxes=found.boxes + np.float32(0.05))

    monkeypatch.setattr(onnx_file, 'unpad', shifted)
    with pytest.raises(ValueError, match='nothing is written'):
        export_onnx(*small('box'), tmp_path / 'a.onnx', images=photos)
    assert not list(tmp_path.iterdir())

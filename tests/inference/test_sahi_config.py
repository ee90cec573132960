"""Other libraries take our detectors and results, as the docs say."""

import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_retina_plus.inference.sahi_config import sahi_config
from tests.helpers.commands import predict
from tests.helpers.detector_files import CLASSES, retinanet
from tests.helpers.image_files import noise
from tests.helpers.models import roi_head_config

DOCS = Path(__file__).parents[2] / 'docs' / 'tiling.md'


def examples(word: str) -> str:
    """Code of the docs' section on other libraries that holds a word."""
    section = DOCS.read_text().split('\n## sahi and supervision\n')[1]
    section = section.split('\n## ')[0]
    blocks = re.findall(r'```python\n(.+?)```', section, re.DOTALL)
    return ''.join(block for block in blocks if word in block)


@pytest.fixture(params=[False, True], ids=['boxes', 'masks'])
def scene(request, tmp_path, monkeypatch) -> bool:
    """The files that the docs name; whether the detector has masks."""
    monkeypatch.chdir(tmp_path)
    config, checkpoint = retinanet(tmp_path)
    cfg = Config.fromfile(config)
    weights = torch.load(checkpoint)
    if request.param:
        cfg.model.roi_head = roi_head_config(start_level=0)
        head = MODELS.build(cfg.model.roi_head)
        # Whole boxes: sahi stops at a mask of a pixel or two.
        head.mask_head.conv_logits.weight.data.zero_()
        head.mask_head.conv_logits.bias.data.fill_(5)
        weights |= {f'roi_head.{k}': v for k, v in head.state_dict().items()}
    # Masks in training say nothing about those of the detector.
    pipeline = [dict(type='LoadAnnotations', with_mask=not request.param)]
    cfg.train_dataloader = dict(dataset=dict(pipeline=pipeline))
    cfg.dump('my_config.py')
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict=weights, meta=meta), 'model.pth')
    Path(noise(tmp_path / 'images' / 'a.png', seed=0)).rename('photo.png')
    return request.param


def test_sahi_is_told_what_the_detector_gives(scene):
    cfg = sahi_config('my_config.py')
    [step] = cfg.train_dataloader.dataset.pipeline
    assert step.with_mask == scene
    if scene:
        rests = 'model.roi_head.test_cfg.with_mask=False'
        cfg = sahi_config('my_config.py', [rests])
        assert not cfg.train_dataloader.dataset.pipeline[0].with_mask


def test_sahi_slices_an_image(scene):
    pytest.importorskip('sahi', reason='sahi is not installed')
    names: dict = {}
    exec(examples('sahi_config'), names)
    found = names['found']
    assert len(found) > 3
    assert all((item.mask is not None) == scene for item in found)
    assert {item.category.name for item in found} <= set(CLASSES)


def test_supervision_takes_detections_and_result_files(scene):
    pytest.importorskip('supervision', reason='supervision is not installed')
    predict(
        *('photo.png', 'my_config.py', 'model.pth', '--out', 'results.json')
    )
    names: dict = {}
    exec(examples('sv.'), names)
    detections, of_file = names['detections'], names['of_file']
    assert len(of_file) == len(detections) > 3
    assert of_file.xyxy == pytest.approx(detections.xyxy, abs=1e-3)
    assert of_file.confidence == pytest.approx(detections.confidence)
    assert (of_file.class_id == detections.class_id + 1).all()
    assert (of_file.mask is not None) == scene
    if scene:
        assert (of_file.mask == detections.mask).mean() > 0.999

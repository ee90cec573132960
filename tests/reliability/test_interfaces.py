"""Checkpoints and tools of mmdet take our detectors for theirs."""

import copy
import logging
from pathlib import Path

import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.models import BaseDetector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner, load_checkpoint
from torch import nn
from torch.testing import assert_close

from benchmarks.training import STOCK
from tests.helpers.image_files import noise
from tests.helpers.samples import data_sample
from tests.helpers.shipped_configs import build_detector, load, shrink

ROOT = 'retinanet_r50_fpn_fl'


def config_of(name: str = '', classes: int = 3) -> Config:
    """A narrow config of few classes; without a name, mmdet's RetinaNet."""
    config = load(name or ROOT)
    if not name:
        config.merge_from_dict(STOCK)
    shrink(config)
    config.model.bbox_head.num_classes = classes
    # Whatever the detector is like, it finds something.
    config.model.test_cfg.score_thr = 0.0
    return config


def trained(config: Config) -> BaseDetector:
    detector = build_detector(copy.deepcopy(config)).eval()
    nn.init.normal_(detector.bbox_head.retina_cls.weight, std=0.3)
    return detector


def save(detector: BaseDetector, file: Path) -> str:
    classes = tuple('abcde'[: detector.bbox_head.num_classes])
    meta = dict(dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=detector.state_dict(), meta=meta), file)
    return str(file)


@pytest.mark.parametrize(
    'names', [('', ROOT), ('', 'retinanet_r50_fpn_atss'), (ROOT, '')]
)
def test_a_checkpoint_loads_in_the_others_config_and_predicts_the_same(
    names, tmp_path
):
    """No key is missing, and none is left over."""
    source, target = (trained(config_of(name)) for name in names)
    file = save(source, tmp_path / 'source.pth')
    load_checkpoint(target, file, strict=True)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        (expected,), (found,) = (
            detector.predict(image, [data_sample()])
            for detector in (source, target)
        )
    assert len(found.pred_instances) > 5
    for key in ('bboxes', 'scores', 'labels'):
        assert_close(found.pred_instances[key], expected.pred_instances[key])


def test_mmdets_inferencer_finds_the_same_by_either_config(tmp_path):
    image = noise(tmp_path / 'a.png', seed=0)
    found = []
    file = save(trained(config_of()), tmp_path / 'stock.pth')
    for name in ('', ROOT):
        config = config_of(name)
        for transform in config.test_dataloader.dataset.pipeline:
            if transform.type == 'Resize':
                transform.scale = (128, 128)
        path = tmp_path / f'config-{name}.py'
        config.dump(path)
        inferencer = DetInferencer(
            str(path), file, device='cpu', show_progress=False
        )
        assert inferencer.model.dataset_meta['classes'] == ('a', 'b', 'c')
        (predictions,) = inferencer(image, no_save_vis=True)['predictions']
        found.append(predictions)
    assert len(found[0]['scores']) > 5
    assert found[0] == found[1]


def test_fine_tuning_on_other_classes_says_what_is_left_out(tmp_path, capsys):
    source = trained(config_of(ROOT, classes=5))
    file = save(source, tmp_path / 'source.pth')
    config = config_of(ROOT)
    config.model.backbone.init_cfg = None
    runner = Runner(
        MODELS.build(config.model),
        str(tmp_path),
        load_from=file,
        default_scope='mmdet',
        log_level=logging.WARNING,
        experiment_name='fine-tuning on other classes',
    )
    fresh = runner.model.bbox_head.retina_cls.weight.clone()
    runner.load_or_resume()
    said = capsys.readouterr().out
    for name in ('weight', 'bias'):
        assert f'size mismatch for bbox_head.retina_cls.{name}' in said
    assert said.count('size mismatch') == 2
    assert 'missing keys' not in said
    weights = source.state_dict()
    for name, value in runner.model.state_dict().items():
        if 'retina_cls' not in name:
            assert torch.equal(value, weights[name]), name
    assert torch.equal(runner.model.bbox_head.retina_cls.weight, fresh)

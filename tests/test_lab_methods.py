"""Every method of the lab is built, stepped and predicts."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import mmdet_retina_plus
from tests.helpers.samples import BATCHES, data_sample
from tests.helpers.shipped_configs import build_detector, check_step, load

FOLDER = Path(mmdet_retina_plus.config('retinanet_r50_fpn_fl')).parent / 'lab'
METHODS = sorted(path.stem for path in FOLDER.glob('method_*.py'))


PAGE = Path(__file__).parents[1] / 'docs' / 'methods.md'


@pytest.fixture(scope='module', params=METHODS)
def model(request):
    return build_detector(load(f'lab/{request.param}'))


@pytest.mark.parametrize('batch', BATCHES)
def test_a_step_has_finite_losses_and_every_gradient(model, batch):
    check_step(model, BATCHES[batch])


def test_it_predicts_batches_in_the_original_images(model):
    model.eval()
    samples = [data_sample(), data_sample()]
    images = torch.randn(2, 3, 64, 64)
    samples[1].set_metainfo(dict(ori_shape=(32, 32), scale_factor=(2.0, 2.0)))
    images[1] = images[0]
    head = getattr(model, 'bbox_head', None) or model.roi_head
    head.test_cfg['score_thr'] = 0.0
    with torch.no_grad():
        first, second = model.predict(images, samples)
    assert len(first.pred_instances) > 0
    assert first.pred_instances.scores.isfinite().all()
    assert_close(second.pred_instances.bboxes * 2, first.pred_instances.bboxes)


@pytest.mark.parametrize('name', METHODS)
def test_a_config_says_what_it_is_and_the_page_names_it(name):
    text = (FOLDER / f'{name}.py').read_text()
    assert text.startswith('# ')
    assert f'mim train mmdet configs/lab/{name}.py' in text
    assert f'`{name}`' in PAGE.read_text()


@pytest.mark.parametrize('name', METHODS)
def test_a_method_follows_the_choice_of_data(name, monkeypatch):
    monkeypatch.setenv('LAB_DATA', '../_base_/lab_coco.py')
    config = load(f'lab/{name}')
    head = config.model.get('bbox_head') or config.model.roi_head.bbox_head
    assert head.num_classes == config.num_classes
    assert config.model.backbone.depth == 50
    assert config.train_dataloader.dataset.type == 'CocoDataset'
    hooks = config.custom_hooks
    assert dict(type='CheckInvalidLossHook', interval=1) in hooks

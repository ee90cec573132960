"""Every method of the lab is built, stepped and predicts."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import mmdet_retina_plus
from mmdet_retina_plus.doctor.trial import check_loss_step
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


@pytest.mark.parametrize('data', ['shapes', 'coco'])
def test_the_strong_baseline_keeps_cosine_and_smoothing(data, monkeypatch):
    """Whatever the data: on COCO others have steps, of few classes 1 / K
    would smooth much."""
    monkeypatch.setenv('LAB_DATA', f'../_base_/lab_{data}.py')
    config = load('lab/method_yolov3-baseline')
    warm_up, schedule = config.param_scheduler
    other = load('lab/method_yolov3').param_scheduler
    assert warm_up == other[0]
    assert schedule.type == 'CosineAnnealingLR'
    # Its end is that of a training counted in epochs, too.
    assert not schedule.by_epoch and 'end' not in schedule
    assert (schedule == other[1]) == (data == 'shapes')
    smoother = config.model.bbox_head.one_hot_smoother
    assert smoother == 1 / 80


def test_the_doctor_steps_an_augmentation_that_asks_for_the_iteration():
    """BatchSyncRandomResize raises a TypeError where no runner counts."""
    model = build_detector(load('lab/method_yolov3-baseline'))
    samples = []
    for objects in BATCHES['one-empty']:
        sample = data_sample(objects)
        del sample.gt_sem_seg
        image = torch.randint(255, (3, 64, 64), dtype=torch.uint8)
        samples.append(dict(inputs=image, data_samples=sample))
    (finding,) = check_loss_step(model, samples)
    assert finding.level == 'ok', finding.message
    assert 'loss_anchor' in finding.message

"""Every shipped config is built and stepped."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn
from torch.testing import assert_close

import mmdet_retina_plus
from benchmarks.training import STOCK
from tests.helpers.samples import BATCHES, OBJECTS, data_sample
from tests.helpers.shipped_configs import (
    build_detector,
    check_step,
    differences,
    load,
)

FOLDER = Path(mmdet_retina_plus.config('retinanet_r50_fpn_fl')).parent
CONFIGS = sorted(path.stem for path in FOLDER.glob('*.py'))


@pytest.fixture(scope='module', params=CONFIGS)
def model(request):
    return build_detector(load(request.param))


def test_there_are_configs():
    assert len(CONFIGS) >= 20


@pytest.mark.parametrize('batch', BATCHES)
def test_a_step_has_finite_losses_and_every_gradient(model, batch):
    check_step(model, BATCHES[batch])


def test_it_predicts_boxes_and_masks_in_the_original_image(model):
    model.eval()
    nn.init.zeros_(model.bbox_head.retina_cls.bias)
    model.bbox_head.test_cfg.update(max_per_img=3, score_thr=0.0)
    sample = data_sample()
    sample.set_metainfo(dict(ori_shape=(48, 32), scale_factor=(2.0, 4 / 3)))
    with torch.no_grad():
        (result,) = model.predict(torch.randn(1, 3, 64, 64), [sample])
    assert result.pred_instances.bboxes.shape == (3, 4)
    assert ('masks' in result.pred_instances) == model.with_mask
    if model.with_mask:
        assert result.pred_instances.masks.shape == (3, 48, 32)
        assert result.pred_instances.masks.dtype == torch.bool


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_is_a_delta_that_says_what_it_is(name):
    text = (FOLDER / f'{name}.py').read_text()
    assert text.startswith('# ')
    assert f'mim train mmdet configs/{name}.py' in text
    assert '_base_ =' in text


NAME = re.compile(
    r'(?P<algorithm>retinanet|retinamask|retinaunet(-mask)?)'
    r'_(?P<backbone>(r|x)\d+(-[\w-]+?)?)'
    r'_fpn(-p\d-p\d)?'
    r'(_(?P<news>[a-z0-9][a-z0-9.-]*(_mmdet)?))?'
)
"""The rule of configs/README.md."""
HEADS = dict(
    retinanet=set(),
    retinamask={'roi_head'},
    retinaunet={'semantic_head'},
    **{'retinaunet-mask': {'roi_head', 'semantic_head'}},
)


@pytest.mark.parametrize('name', CONFIGS)
def test_a_name_says_algorithm_backbone_and_neck(name):
    match = NAME.fullmatch(name)
    assert match
    model = load(name).model
    heads = {key for key in ('roi_head', 'semantic_head') if key in model}
    assert heads == HEADS[match['algorithm']]
    kind, depth = re.match(r'(r|x)(\d+)', match['backbone']).groups()
    assert model.backbone.depth == int(depth)
    assert (model.backbone.type == 'ResNeXt') == (kind == 'x')


def test_a_name_in_the_lab_says_what_it_compares():
    names = {path.stem for path in (FOLDER / 'lab').glob('*.py')} - {'data'}
    rule = r'(assigner|method)_[a-z0-9-]+(_a1(-point)?)?'
    assert names
    assert all(re.fullmatch(rule, name) for name in names)


def test_no_prior_differs_by_the_prior_only():
    ours = load('retinanet_r50_fpn_ce-no-prior').to_dict()
    theirs = load('retinanet_r50_fpn_ce').to_dict()
    assert set(differences(ours, theirs)) == {'model.bbox_head.init_cfg'}


@pytest.mark.parametrize('name', CONFIGS)
def test_the_first_invalid_loss_stops_the_run(name):
    hooks = load(name).custom_hooks
    assert dict(type='CheckInvalidLossHook', interval=1) in hooks


def test_the_root_config_is_mmdets_recipe_but_for_our_modules(tmp_path):
    ours = load('retinanet_r50_fpn_fl')
    stock = tmp_path / 'stock.py'
    stock.write_text(
        "_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'"
    )
    theirs = Config.fromfile(stock)
    theirs.model.type = 'RetinaPlus'
    theirs.model.bbox_head.type = 'RetinaPlusHead'
    theirs.model.bbox_head.loss_cls.type = 'FusedFocalLoss'
    theirs.model.train_cfg.assigner.type = 'StreamingMaxIoUAssigner'
    difference = {
        key
        for key in set(ours) | set(theirs)
        if ours.get(key) != theirs.get(key)
    }
    assert difference == {'custom_imports', 'custom_hooks'}


USER_CONFIGS = {
    'both packages': """
        _base_ = {path!r}
        custom_imports = dict(
            imports=['mmdet_retina_plus', 'colorsys'],
            allow_failed_imports=False)
    """,
    'an import as base': """
        _base_ = __import__('mmdet_retina_plus').config({name!r})
        custom_imports = dict(
            imports=['colorsys'], allow_failed_imports=False)
    """,
}
LOADS_EACH = """
import os, sys
import mmdet.models
from mmdet.registry import MODELS
from mmengine.config import Config

for path in sys.argv[1:]:
    child = os.fork()
    if not child:
        assert not MODELS.get('RetinaPlus')
        Config.fromfile(path)
        assert MODELS.get('RetinaPlus'), path
        break
    assert not os.waitpid(child, 0)[1], path
"""
"""Each in a process without our package, and one import of mmdet for all."""


def test_a_users_own_imports_leave_our_modules_registered(tmp_path):
    name = 'retinanet_r18_fpn_shapes'
    paths = []
    for way, text in USER_CONFIGS.items():
        text = text.format(name=name, path=mmdet_retina_plus.config(name))
        paths.append(tmp_path / f'{way}.py')
        paths[-1].write_text(textwrap.dedent(text))
    subprocess.run([sys.executable, '-c', LOADS_EACH, *paths], check=True)


@pytest.mark.parametrize('source', ['missing/r50.pth', 'torchvision://none'])
def test_weights_that_cannot_be_had_name_the_ways_out(source):
    config = load('retinanet_r50_fpn_fl')
    config.model.backbone.init_cfg.checkpoint = source
    detector = MODELS.build(config.model)
    with pytest.raises(OSError, match='init_cfg=None'):
        detector.init_weights()


def test_training_steps_equal_those_of_mmdets_modules():
    """In double precision, so that rounding does not hide a difference."""
    weights = []
    for stock in (False, True):
        config = load('retinanet_r18_fpn_pennfudan')
        if stock:
            config.merge_from_dict(STOCK)
        torch.manual_seed(0)
        detector = MODELS.build(config.model)
        detector.init_weights()
        detector.double().train()
        optimizer = torch.optim.SGD(detector.parameters(), lr=0.01)
        for _ in range(5):
            samples = [data_sample(OBJECTS), data_sample()]
            images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
            loss, _ = detector.parse_losses(detector.loss(images, samples))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        weights.append(detector.state_dict())
    for name, value in weights[0].items():
        assert_close(value, weights[1][name], rtol=1e-6, atol=1e-8, msg=name)

"""Where a backbone's weights come from, and whether they can be had."""

import sys

import pytest

from mmdet_retina_plus.doctor.weights import CHECKS

PRETRAINED = {'type': 'Pretrained', 'checkpoint': 'torchvision://resnet50'}
LOCAL = {'type': 'Pretrained', 'checkpoint': 'resnet50.pth'}


def findings(cfg=None, **backbone):
    model = {'backbone': {'type': 'ResNet', 'depth': 50, **backbone}}
    cfg = {'model': model, **(cfg or {})}
    return [finding for check in CHECKS for finding in check(cfg)]


def test_torchvision_weights_need_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    (finding,) = findings(init_cfg=PRETRAINED)
    assert finding.level == 'error'
    assert 'pip install torchvision' in finding.fix
    assert 'model.backbone.init_cfg.checkpoint=FILE' in finding.fix
    assert findings(init_cfg=LOCAL) == []


def test_torchvision_weights_are_fine_with_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', sys)
    assert findings(init_cfg=PRETRAINED) == []


@pytest.mark.parametrize(
    ('backbone', 'words'),
    [
        ({'frozen_stages': 1, 'norm_eval': False}, 'frozen_stages=1'),
        ({'frozen_stages': -1, 'norm_eval': True}, 'norm_eval=True'),
        ({'frozen_stages': 0, 'norm_eval': True}, 'stages=0 and norm_eval'),
        # What a ResNet takes where nothing is said.
        ({}, 'norm_eval=True'),
        ({'type': 'ResNeXt'}, 'norm_eval=True'),
    ],
)
def test_random_weights_should_not_be_frozen(backbone, words):
    (finding,) = findings(init_cfg=None, **backbone)
    assert finding.level == 'warning'
    assert words in finding.message
    assert 'model.backbone.frozen_stages=-1' in finding.fix
    assert 'model.backbone.norm_eval=False' in finding.fix


@pytest.mark.parametrize(
    ('backbone', 'cfg'),
    [
        ({'frozen_stages': -1, 'norm_eval': False}, {}),
        ({'norm_cfg': {'type': 'GN', 'num_groups': 32}}, {}),
        ({'frozen_stages': 1}, {'load_from': 'detector.pth'}),
        ({'frozen_stages': 1, 'init_cfg': LOCAL}, {}),
        ({'type': 'CSPDarknet'}, {}),
    ],
)
def test_what_trains_or_is_loaded_raises_no_alarm(backbone, cfg):
    assert findings(cfg, **{'init_cfg': None, **backbone}) == []


def test_weights_of_another_depth():
    named = {'type': 'Pretrained', 'checkpoint': 'open-mmlab://resnet101'}
    (finding,) = findings(init_cfg=named)
    assert 'depth 101, the backbone has depth=50' in finding.message
    assert finding.fix.endswith("'open-mmlab://resnet50'")

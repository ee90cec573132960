"""Configs of mmdet that train, on a tiny data set: none has an error.

For speed, ResNets have 18 layers here, box heads have fewer channels,
and samplers and NMS keep fewer boxes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mmdet
import pytest
import torch
from mmdet.models import SSDHead
from mmengine.config import Config

from mmdet_retina_plus.common.config_file import load_config
from mmdet_retina_plus.common.config_tree import datasets_in, walk
from mmdet_retina_plus.doctor.config import check_config
from mmdet_retina_plus.doctor.findings import any_error, is_error
from mmdet_retina_plus.doctor.model import (
    build_model,
    check_features,
    check_strides,
    prior_generator,
)
from tests.helpers.case_files import write_set

STOCK = Path(mmdet.__file__).parent / '.mim/configs'


def with_18_layers(model: Any) -> None:
    backbone = model['backbone']
    if backbone['type'] != 'ResNet' or backbone['depth'] == 18:
        return
    backbone.update(depth=18, init_cfg=None)
    necks = model['neck']
    neck = necks[0] if isinstance(necks, list) else necks
    neck['in_channels'] = [x // 4 for x in neck['in_channels']]


def heads(model: Any) -> Iterator[dict]:
    return (x for x in walk(model) if 'num_classes' in x)


@pytest.fixture
def config(tmp_path):
    """A stock config for the data of a case, with changes."""

    def make(name: str, **changes: Any) -> Path:
        path = write_set(tmp_path)
        cfg = Config.fromfile(STOCK / name).to_dict()
        with_18_layers(cfg['model'])
        for owner in walk(cfg['model']):
            owner.pop('init_cfg', None)
            if 'pos_fraction' in owner:
                owner['num'] = 16
            if 'max_per_img' in owner:
                owner['max_per_img'] = 20
        for head in heads(cfg['model']):
            head['num_classes'] = 2
            if 'fc_out_channels' in head:
                head['fc_out_channels'] = 64
        for split in ('train', 'val', 'test'):
            file = 'train' if split == 'train' else 'val'
            loader = cfg[f'{split}_dataloader']
            loader.update(batch_size=2, num_workers=0)
            loader.pop('persistent_workers', None)
            for data in datasets_in(loader['dataset']):
                data.update(
                    data_root=str(tmp_path),
                    ann_file=f'{file}.json',
                    data_prefix={'img': 'images/'},
                    metainfo={'classes': ('cat', 'dog')},
                )
        for split in ('val', 'test'):
            cfg[f'{split}_evaluator']['ann_file'] = f'{tmp_path}/val.json'
        Config(cfg | changes).dump(path)
        return path

    return make


CONFIGS = (
    'centernet/centernet_r18_8xb16-crop512-140e_coco.py',
    'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py',
    'yolact/yolact_r50_1xb8-55e_coco.py',
    'yolox/yolox_tiny_8xb8-300e_coco.py',
    'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
)


SIDES = {
    'ssd/ssd300_coco.py': 300,
    'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py': 320,
    'yolact/yolact_r50_1xb8-55e_coco.py': 550,
}


@pytest.mark.parametrize('name', SIDES)
def test_a_detector_of_one_size_is_judged_at_it(config, name):
    cfg = load_config(config(name))
    model, _ = build_model(cfg)
    samples = [{'inputs': torch.zeros(3, SIDES[name], SIDES[name])}]
    assert check_features(model, samples)[1] == []
    generator = model.bbox_head.prior_generator
    generator.strides = [(2 * x, 2 * x) for x, _ in generator.strides]
    (finding,) = check_features(model, samples)[1]
    assert 'the features have strides' in finding.message


@pytest.mark.parametrize(
    'name', ['ssd/ssd300_coco.py', 'yolox/yolox_tiny_8xb8-300e_coco.py']
)
def test_a_detector_is_probed_without_data(config, name):
    model, _ = build_model(load_config(config(name)))
    assert check_features(model, [])[1] == []


def test_mmcv_s_synchronised_norm_is_replaced_by_torch_s(config):
    name = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
    cfg = load_config(config(name))
    cfg.model.neck.norm_cfg = {'type': 'MMSyncBN'}
    model, (finding,) = build_model(cfg)
    assert model is None
    assert "type='SyncBN'" in finding.fix


STRIDES = {
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': 'model.bbox_head.strides',
    'reppoints/reppoints-moment_r50_fpn-gn_head-gn_1x_coco.py': (
        'model.bbox_head.point_strides'
    ),
    'atss/atss_r50_fpn_1x_coco.py': 'model.bbox_head.anchor_generator.strides',
    'rpn/rpn_r50_fpn_1x_coco.py': 'model.rpn_head.anchor_generator.strides',
}


@pytest.mark.parametrize('name', STRIDES)
def test_the_strides_of_a_head_stand_where_its_config_has_them(config, name):
    model, _ = build_model(load_config(config(name)))
    generator = prior_generator(model)
    given = [x for x, _ in generator.strides]
    generator.strides = [(2 * x, 2 * x) for x in given]
    (finding,) = check_strides(
        model, model.extract_feat(torch.zeros(1, 3, 256, 256)), 256
    )
    assert finding.fix.startswith(f'{STRIDES[name]}={given}')
    assert 'model.neck.start_level=' in finding.fix


@pytest.mark.parametrize('name', CONFIGS)
def test_a_stock_config_has_no_error(config, name, monkeypatch):
    # The fix of doctor: mmdet 3.3.0 reads an attribute that it never sets.
    monkeypatch.setattr(SSDHead, 'loss_cls', None, raising=False)
    findings = check_config(config(name))
    assert not any_error(findings), findings


def test_the_optimizer_of_swin_has_no_error(config):
    stock = Config.fromfile(
        STOCK / 'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
    )
    wrapper = stock.to_dict()['optim_wrapper']
    findings = check_config(config(CONFIGS[-1], optim_wrapper=wrapper))
    assert not any_error(findings), findings


def test_what_mmdet_forgot_of_ssd_has_its_fix(config):
    errors = [x for x in check_config(config(CONFIGS[1])) if is_error(x)]
    assert ['SSDHead.loss_cls = None' in x.fix for x in errors] == [True]

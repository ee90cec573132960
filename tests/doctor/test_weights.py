"""Origin and availability of a backbone's weights."""

import sys
from collections import Counter

import pytest
import torch
from mmdet.models import CSPDarknet, MobileNetV2, ResNet
from mmdet.registry import MODELS
from mmengine.runner import CheckpointLoader
from torch import nn

from mmdet_retina_plus.doctor.checkpoints import (
    check_weights,
    common_prefix,
    compare_weights,
)
from mmdet_retina_plus.doctor.model import (
    without_downloads,
    without_pretrained,
)
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


def test_a_frozen_stem_for_other_channels(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', sys)
    frozen = {'init_cfg': PRETRAINED, 'frozen_stages': 1, 'in_channels': 4}
    (finding,) = findings(**frozen, norm_eval=True)
    assert 'starts with random weights' in finding.message
    assert finding.fix == (
        'model.backbone.frozen_stages=-1 model.backbone.norm_eval=False'
    )
    assert findings(**frozen | {'frozen_stages': -1}) == []
    assert findings(**frozen | {'in_channels': 3}) == []
    assert findings(**frozen | {'init_cfg': LOCAL}) == []
    own = {'type': 'Pretrained', 'checkpoint': 's3://lab/4_channels.pth'}
    assert findings(**frozen | {'init_cfg': own}) == []


def test_a_backbone_of_others_may_fill_its_first_layer(monkeypatch):
    class Inflated(ResNet):
        pass

    monkeypatch.setitem(sys.modules, 'torchvision', sys)
    monkeypatch.setitem(MODELS.module_dict, 'Inflated', Inflated)
    frozen = {'init_cfg': PRETRAINED, 'frozen_stages': 1, 'in_channels': 4}
    assert findings(**frozen, type='Inflated') == []


def test_group_norms_with_weights_of_batch_norms(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', sys)
    norm = {'type': 'GN', 'num_groups': 32}
    (finding,) = findings(init_cfg=PRETRAINED, norm_cfg=norm)
    assert 'GN, keep their initial weights' in finding.message
    own = PRETRAINED | {'checkpoint': 'open-mmlab://detectron/resnet50_gn'}
    assert findings(init_cfg=own, norm_cfg=norm) == []


@pytest.mark.parametrize(
    ('backbone', 'words'),
    [
        ({'frozen_stages': 1, 'norm_eval': False}, 'frozen_stages=1'),
        ({'frozen_stages': -1, 'norm_eval': True}, 'norm_eval=True'),
        ({'frozen_stages': 0, 'norm_eval': True}, 'stages=0 and norm_eval'),
        # The defaults of ResNet.
        ({}, 'norm_eval=True'),
        ({'type': 'ResNeXt'}, 'norm_eval=True'),
    ],
)
def test_random_weights_should_not_be_frozen(backbone, words):
    (finding,) = findings(init_cfg=None, **backbone)
    assert finding.level == 'warning'
    assert words in finding.message
    for key, right in (('frozen_stages', -1), ('norm_eval', False)):
        named = f'{key}=' in finding.message
        assert (f'model.backbone.{key}={right}' in finding.fix) is named


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


@pytest.fixture
def detector():
    parts = nn.Module()
    parts.backbone = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    parts.bbox_head = nn.Linear(2, 2)
    return parts


def test_weights_behind_a_prefix_have_its_fix(detector, tmp_path):
    path = str(tmp_path / 'x.pth')
    weights = detector.state_dict()
    torch.save({f'detector.{k}': v for k, v in weights.items()}, path)
    (finding,) = check_weights({'load_from': path}, detector)
    assert "begin with 'detector.'; without it 100%" in finding.message
    assert finding.fix == (
        "load_from=None model.init_cfg=dict(type='Pretrained', "
        f"checkpoint='{path}', prefix='detector.')"
    )
    torch.save(weights, path)
    init = {'type': 'Pretrained', 'checkpoint': path}
    cfg = {'model': {'backbone': {'init_cfg': init}}}
    (finding,) = check_weights(cfg, detector)
    assert finding.fix == "model.backbone.init_cfg.prefix='backbone.'"
    init['prefix'] = 'backbone.'
    assert check_weights(cfg, detector)[0].level == 'ok'


def test_weights_of_the_backbone_alone(detector, tmp_path):
    path = str(tmp_path / 'x.pth')
    torch.save(detector.backbone.state_dict(), path)
    (finding,) = check_weights({'load_from': path}, detector)
    assert finding.level == 'error'
    assert 'model.backbone.init_cfg=dict(' in finding.fix


@pytest.mark.parametrize('frozen_stages', [0, -1])
def test_a_frozen_layer_that_a_file_does_not_fit(frozen_stages, tmp_path):
    path = str(tmp_path / 'x.pth')
    torch.save(ResNet(18).state_dict(), path)
    backbone = ResNet(18, in_channels=4, frozen_stages=frozen_stages)
    init = {'type': 'Pretrained', 'checkpoint': path}
    cfg = {'model': {'backbone': {'init_cfg': init}}}
    model = nn.ModuleDict({'backbone': backbone})
    (finding,) = check_weights(cfg, model)
    if frozen_stages == 0:
        assert 'does not fit conv1.weight, which starts' in finding.message
        assert 'shape (64, 3, 7, 7) there' in finding.message
        assert finding.fix == 'model.backbone.frozen_stages=-1'
    else:
        assert finding.level == 'ok'


@pytest.mark.parametrize(
    ('built', 'key'),
    [(CSPDarknet, ''), (MobileNetV2, ''), (ResNet, 'backbone.')],
)
def test_the_setting_that_freezes_a_layer(built, key, tmp_path):
    given = {'depth': 18} if built is ResNet else {}
    model = built(**given, frozen_stages=1)
    weights = model.state_dict()
    first = next(iter(weights))
    weights[first] = torch.zeros(4, 4)
    path = str(tmp_path / 'x.pth')
    torch.save({f'{key}{x}': y for x, y in weights.items()}, path)
    if key:
        model = nn.ModuleDict({'backbone': model})
    owner = 'model' if key else 'model.backbone'
    (finding,) = compare_weights(f'{owner}.init_cfg.checkpoint', path, model)
    assert f'does not fit {key}{first}, which' in finding.message
    assert finding.fix == 'model.backbone.frozen_stages=-1'


def test_constants_that_a_file_lacks(tmp_path):
    path = str(tmp_path / 'x.pth')
    model = ResNet(18, frozen_stages=1)
    torch.save(model.state_dict(), path)
    model.embedding = nn.Parameter(torch.zeros(8), requires_grad=False)
    (finding,) = compare_weights('model.init_cfg.checkpoint', path, model)
    assert finding.level == 'ok'


def test_resuming_published_weights(detector):
    file = 'https://download.openmmlab.com/mmdetection/x.pth'
    cfg = {'load_from': file, 'resume': True}
    (finding,) = check_weights(cfg, detector)
    assert finding.fix.startswith('resume=False')
    assert check_weights(cfg | {'resume': False}, detector) == []
    own = {'load_from': 's3://lab/runs/7/epoch_6.pth'}
    assert check_weights(cfg | own, detector) == []


def test_a_prefix_is_that_of_most_names():
    names = {'a.b.c': 1, 'a.b.d': 2, 'e.c': 1}
    assert common_prefix(names, {'c': 1, 'd': 2}) == ('a.b.', 1.0)
    assert common_prefix(names, {'x': 1}) == ('', 0.0)


EPOCHS, ITERATIONS = {'max_epochs': 12}, {'max_iters': 700}
OF_EPOCHS = 'train_cfg = dict(max_epochs=12)'
OF_ITERATIONS = 'train_cfg = dict(max_iters=700)'
RESUMED = {
    'nothing is left': (ITERATIONS, (0, 700), 'nothing is left to train'),
    'all epochs are done': (EPOCHS, (12, 84), 'training ends at 12'),
    'epochs of iterations': (EPOCHS, (0, 84), 'counts iterations'),
    'iterations of epochs': (ITERATIONS, (3, 84), 'counts epochs'),
    'no position': (EPOCHS, (None, None), 'names no epoch and iteration'),
}


@pytest.mark.parametrize('name', RESUMED)
@pytest.mark.parametrize('by_folder', [True, False])
def test_where_training_resumes(detector, tmp_path, name, by_folder):
    loop, (epoch, step), message = RESUMED[name]
    path = tmp_path / 'x.pth'
    state = {
        'state_dict': detector.state_dict(),
        'optimizer': {},
        'meta': {
            'epoch': epoch,
            'iter': step,
            'cfg': OF_EPOCHS if epoch else OF_ITERATIONS,
        },
    }
    torch.save(state, path)
    (tmp_path / 'last_checkpoint').write_text(str(path))
    cfg = {'resume': True, 'train_cfg': loop, 'work_dir': str(tmp_path)}
    if not by_folder:
        cfg['load_from'] = str(path)
    _, finding = check_weights(cfg, detector)
    assert finding.level == 'error'
    assert message in finding.message
    state['meta'] = {'epoch': 3 * ('max_epochs' in loop), 'iter': 84}
    torch.save(state, path)
    levels = [x.level for x in check_weights(cfg, detector)]
    assert levels == ['ok', 'ok']
    state['optimizer'] = {'param_groups': [{'lr': 0.01, 'initial_lr': 0.02}]}
    torch.save(state, path)
    for rate, count in ((0.02, 0), (0.1, 1)):
        cfg['optim_wrapper'] = {'optimizer': {'lr': rate}}
        found = [x.fix for x in check_weights(cfg, detector) if x.fix]
        assert len(found) == count
        assert all('optimizer.lr=0.02' in fix for fix in found)
    cfg['param_scheduler'] = [{'type': 'MultiStepLR', 'milestones': [16, 22]}]
    for milestones, told in (({22: 1, 16: 1}, False), ({8: 1, 11: 1}, True)):
        state['param_schedulers'] = [{'milestones': Counter(milestones)}]
        torch.save(state, path)
        cfg['optim_wrapper'] = {'optimizer': {'lr': 0.02}}
        last = check_weights(cfg, detector)[-1]
        assert ('milestones=[8, 11], not [16, 22]' in last.message) == told
    state.pop('optimizer')
    torch.save(state, path)
    assert 'starts from scratch' in check_weights(cfg, detector)[1].message


@pytest.mark.parametrize(
    ('classes', 'told'),
    [(('cat', 'dog'), 0), (('dog', 'cat'), 1), (('dog', 'cow'), 0)],
)
def test_classes_of_a_checkpoint_in_another_order(tmp_path, classes, told):
    path = tmp_path / 'x.pth'
    meta = {'dataset_meta': {'classes': ('cat', 'dog')}}
    torch.save({'state_dict': {}, 'meta': meta}, path)
    dataset = {'type': 'CocoDataset', 'metainfo': {'classes': classes}}
    cfg = {'load_from': str(path), 'train_dataloader': {'dataset': dataset}}
    found = check_weights(cfg, None)
    assert ['of another' in x.message for x in found] == [True] * told


@pytest.mark.parametrize(
    ('saved', 'key'),
    [
        ('bgr_to_rgb=True, mean=[123.7], std=[58.4]', ''),
        ('bgr_to_rgb=False, mean=[123.7], std=[58.4]', 'bgr_to_rgb=False'),
        ('bgr_to_rgb=True, mean=[0.5], std=[1.0]', 'std=[1.0]'),
        ('bgr_to_rgb=True, mean=[90.0], std=[40.0]', ''),
        ('**settings', ''),
    ],
)
def test_weights_of_images_with_other_values(detector, tmp_path, saved, key):
    path = str(tmp_path / 'x.pth')
    text = f'model = dict(data_preprocessor=dict({saved}))'
    meta = {'cfg': text}
    torch.save({'state_dict': detector.state_dict(), 'meta': meta}, path)
    ours = {'bgr_to_rgb': True, 'mean': [123.7], 'std': [58.4]}
    cfg = {'load_from': path, 'model': {'data_preprocessor': ours}}
    if saved == '**settings':
        ours['bgr_to_rgb'] = False
    found = [x.fix for x in check_weights(cfg, detector) if x.fix]
    assert bool(found) == bool(key)
    assert key in ''.join(found)


def test_a_run_resumes_within_its_first_epoch(detector, tmp_path):
    folder = tmp_path / 'work_dirs' / 'mine'
    folder.mkdir(parents=True)
    path = folder / 'iter_2.pth'
    (folder / 'last_checkpoint').write_text(str(path))
    state = {'state_dict': detector.state_dict(), 'optimizer': {}}
    state['meta'] = {'epoch': 0, 'iter': 2, 'cfg': OF_EPOCHS}
    torch.save(state, path)
    cfg = {'resume': True, 'train_cfg': EPOCHS}
    found = check_weights(cfg, detector, 'configs/mine.py')
    assert [x.level for x in found] == ['ok', 'ok']


def test_weights_of_every_part_are_looked_for(detector):
    init = {'type': 'Pretrained', 'checkpoint': 'absent.pth'}
    model = {'bbox_head': [{'init_cfg': [init]}], 'teacher_ckpt': 'gone.pth'}
    assert [
        x.fix.partition('=')[0]
        for x in check_weights({'model': model}, detector)
    ] == ['model.bbox_head.0.init_cfg.0.checkpoint', 'model.teacher_ckpt']


def test_a_backbone_may_convert_the_weights_of_others(detector, tmp_path):
    path = str(tmp_path / 'x.pth')
    torch.save({'model': {'layers.0': torch.zeros(1)}}, path)
    init = {'type': 'Pretrained', 'checkpoint': path}
    backbone = {'type': 'SwinTransformer', 'init_cfg': init}
    cfg = {'model': {'backbone': backbone}}
    assert [x.level for x in check_weights(cfg, detector)] == ['error']
    backbone['convert_weights'] = True
    assert [x.level for x in check_weights(cfg, detector)] == ['ok']


def test_a_model_is_built_without_weights_of_other_machines():
    loaded: list = []

    def build():
        name = 'http://127.0.0.1:9/weights.pth'
        loaded.append(CheckpointLoader.load_checkpoint(name))

    with without_downloads():
        build()
    assert loaded == [{'state_dict': {}}]
    with pytest.raises(OSError):
        build()


def test_weights_are_left_out_by_the_keys_that_name_them():
    config = {
        'pretrained': 'torchvision://resnet50',
        'backbone': {'pretrained': True},
        'neck': {'pretrained': False},
        'teacher_ckpt': 'http://127.0.0.1:9/weights.pth',
    }
    assert without_pretrained(config) == {
        'pretrained': None,
        'backbone': {'pretrained': False},
        'neck': {'pretrained': False},
        'teacher_ckpt': None,
    }


def test_weights_of_another_style(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', sys)
    (finding,) = findings(init_cfg=PRETRAINED, style='caffe')
    assert "has style 'pytorch', the backbone has 'caffe'" in finding.message
    assert finding.fix == "model.backbone.style='pytorch'"
    caffe = 'open-mmlab://detectron2/resnet50_caffe'
    init = {'type': 'Pretrained', 'checkpoint': caffe}
    assert findings(init_cfg=init, style='caffe') == []
    assert findings(init_cfg=init)[0].fix == "model.backbone.style='caffe'"


@pytest.mark.parametrize('key', ['load_from', 'resume', 'init_cfg'])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite(tmp_path, key, value):
    model = nn.ModuleDict({'backbone': nn.Conv2d(2, 2, 1), 'neck': nn.ReLU()})
    state = {x: y.clone() for x, y in model.state_dict().items()}
    state['backbone.weight'][0] = value
    path = tmp_path / 'x.pth'
    torch.save({'state_dict': state}, path)
    (tmp_path / 'last_checkpoint').write_text(str(path))
    init = {'type': 'Pretrained', 'checkpoint': str(path)}
    cfg = {
        'load_from': {'load_from': str(path)},
        'resume': {'resume': True, 'work_dir': str(tmp_path)},
        'init_cfg': {
            'model': {'backbone': {'init_cfg': init | {'prefix': 'backbone.'}}}
        },
    }[key]
    (finding,) = check_weights(cfg, model)
    assert finding.level == 'error'
    assert '1 of 2 weights in x.pth has values that are not' in finding.message
    assert 'an earlier checkpoint' in finding.fix
    assert all(x.isfinite().all() for x in model.parameters())
    ema = {'state_dict': model.state_dict(), 'ema_state_dict': state}
    torch.save(ema, path)
    (finding,) = check_weights(cfg, model)
    assert 'ema_state_dict.backbone.weight' in finding.message


def test_the_trials_start_from_the_weights_that_training_starts_from(tmp_path):
    files = []
    for number, value in enumerate((1.0, 2.0)):
        given = nn.ModuleDict({'backbone': nn.Conv2d(1, 1, 1)})
        nn.init.constant_(given['backbone'].weight, value)
        files.append(str(tmp_path / f'{number}.pth'))
        torch.save({'state_dict': given.state_dict()}, files[-1])
    init = {'checkpoint': files[0], 'prefix': 'backbone.'}
    cfg = {'model': {'backbone': {'init_cfg': init}}}
    for expected, load_from in ((1.0, None), (2.0, files[1])):
        model = nn.ModuleDict({'backbone': nn.Conv2d(1, 1, 1)})
        check_weights(cfg | {'load_from': load_from}, model)
        assert model['backbone'].weight.item() == expected


def test_affine_weights_of_random_norms_are_to_train():
    norm = {'type': 'BN', 'requires_grad': False}
    settings = {'frozen_stages': -1, 'norm_eval': False, 'norm_cfg': norm}
    (finding,) = findings(init_cfg=None, **settings)
    assert finding.fix == 'model.backbone.norm_cfg.requires_grad=True'

"""What docs/bad-input.md says, from the data set to the run."""

import json
import os

import pytest
import torch
from mmdet.registry import DATASETS, HOOKS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmdet_retina_plus
from mmdet_retina_plus.synthetic.shapes import make_shapes
from tests.helpers.models import build_head


@pytest.fixture
def config(tmp_path) -> Config:
    """The CPU config on four images, with a checkpoint every second step."""
    data = tmp_path / 'shapes'
    make_shapes(data, num=4, num_val=1, size=128)
    config = Config.fromfile(
        mmdet_retina_plus.config('retinanet_r18_fpn_shapes')
    )
    config.train_dataloader.dataset.data_root = str(data)
    config.train_dataloader.batch_size = 2
    config.train_cfg.update(max_iters=4)
    config.default_hooks.checkpoint.interval = 2
    for loop in ('val', 'test'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            config.pop(f'{loop}_{part}')
    del config.train_cfg['val_interval']
    config.work_dir = str(tmp_path / 'run')
    config.experiment_name = tmp_path.name
    return config


def edit_annotations(config: Config, edit) -> None:
    path = config.train_dataloader.dataset.data_root + '/instances_train.json'
    with open(path) as file:
        coco = json.load(file)
    edit(coco)
    with open(path, 'w') as file:
        json.dump(coco, file)


def first_image(config: Config) -> str:
    return (
        config.train_dataloader.dataset.data_root + '/images/train_000001.png'
    )


def load_first(config: Config) -> dict:
    return DATASETS.build(config.train_dataloader.dataset)[0]


@HOOKS.register_module()
class PoisonImage(Hook):
    """Puts a NaN into one image of the third step."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 2:
            images = [image.float() for image in data_batch['inputs']]
            images[0][0, 0, 0] = float('nan')
            data_batch['inputs'] = images


def test_a_nan_in_an_image_stops_the_run_and_leaves_the_checkpoint(
    config, tmp_path
):
    config.custom_hooks = [*config.custom_hooks, dict(type='PoisonImage')]
    runner = Runner.from_cfg(config)
    with pytest.raises(AssertionError):
        runner.train()
    assert runner.iter == 2
    checkpoint = torch.load(tmp_path / 'run' / 'iter_2.pth')
    weights = checkpoint['state_dict'].values()
    assert all(weight.isfinite().all() for weight in weights)
    assert not (tmp_path / 'run' / 'iter_4.pth').exists()


def test_a_missing_image_ends_with_its_path(config):
    os.remove(first_image(config))
    with pytest.raises(FileNotFoundError, match=r'train_000001\.png'):
        load_first(config)


@pytest.mark.parametrize('share', [0.1, 0.5, 0.95])
def test_a_truncated_image_ends_with_its_path(config, share):
    with open(first_image(config), 'rb+') as file:
        file.truncate(int(share * os.path.getsize(file.name)))
    with pytest.raises(AssertionError, match=r'train_000001\.png'):
        load_first(config)


def test_images_without_any_object_train_on_background(config):
    edit_annotations(config, lambda coco: coco['annotations'].clear())
    runner = Runner.from_cfg(config)
    runner.train()
    scalars = runner.message_hub.log_scalars
    assert scalars['train/num_positive'].max() == 0
    assert scalars['train/loss_bbox'].max() == 0
    assert 0 < scalars['train/loss_cls'].max() < float('inf')


def test_a_box_without_area_changes_nothing_for_the_others(config):
    def flatten_first(coco: dict) -> None:
        coco['annotations'][0]['bbox'][2:] = [0, 0]

    before = len(load_first(config)['data_samples'].gt_instances)
    edit_annotations(config, flatten_first)
    after = len(load_first(config)['data_samples'].gt_instances)
    assert after == before - 1


@pytest.mark.parametrize(
    'loss',
    [
        dict(type='FusedFocalLoss', use_sigmoid=True, gama=2.0),
        dict(type='FocalLossStar', use_sigmoid=True, gama=2.0),
        dict(type='SelfAdjustingSmoothL1Loss', bta=0.11),
    ],
    ids=lambda loss: loss['type'],
)
def test_an_unknown_loss_option_is_refused_when_the_model_is_built(loss):
    slot = 'loss_bbox' if 'L1' in loss['type'] else 'loss_cls'
    with pytest.raises(TypeError, match='unexpected keyword'):
        build_head(**{slot: dict(loss, _delete_=True)})

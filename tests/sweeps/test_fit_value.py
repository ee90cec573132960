"""Laws of a value in the config's type."""

import pytest

from mmdet_retina_plus.sweeps.fit_value import fit

LOSS = 'model.bbox_head.loss_cls.'


def test_a_whole_float_becomes_the_int_that_the_config_has(cfg):
    settings = cfg.to_dict()
    assert type(fit(settings, 'train_cfg.max_iters', 100.0)) is int
    # mmdet has 0 there.
    key = 'model.train_cfg.assigner.min_pos_iou'
    assert fit(settings, key, 0.2) == 0.2


NEAREST = {
    f'{LOSS}gama': f'{LOSS}gamma',
    f'{LOSS}typ': f'{LOSS}type',
    'model.bbox_haed.loss_cls.gamma': 'model.bbox_head?',
    'train_cfg.max_iter': 'train_cfg.max_iters',
    'optim_wraper.optimizer.lr': 'optim_wrapper',
    'train_dataloader.dataset.pipeline.9.scale': 'train_dataloader',
    'model.backbone.depht': 'model.backbone.depth',
    'model.bbox_head.loss_cls.gamma.x': LOSS,
}


@pytest.mark.parametrize('key', NEAREST)
def test_an_unknown_key_names_the_nearest(cfg, key):
    with pytest.raises(ValueError, match='did you mean') as caught:
        fit(cfg.to_dict(), key, 1)
    assert f'did you mean {NEAREST[key]}' in str(caught.value)


WRONG = {
    'model.bbox_head.num_classes': 'four',
    'optim_wrapper.optimizer.lr': 'fast',
    'optim_wrapper.optimizer.weight_decay': True,
    'train_cfg.type': 3,
    'model.backbone.norm_eval': 1,
    'model.backbone.depth': True,
}


@pytest.mark.parametrize('key', WRONG)
def test_a_value_of_another_type_says_which_is_wanted(cfg, key):
    with pytest.raises(ValueError, match='give a value of type'):
        fit(cfg.to_dict(), key, WRONG[key])


def test_an_index_of_a_list_is_a_key(cfg):
    assert fit(
        cfg.to_dict(), 'train_dataloader.dataset.pipeline.2.scale', (64, 64)
    ) == (64, 64)

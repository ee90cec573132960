"""Keys that nothing reads."""

import pytest

from mmdet_retina_plus.doctor.run_parts import check_keys
from mmdet_retina_plus.doctor.unread_settings import CHECKS, misplaced

NMS = {'type': 'nms', 'iou_threshold': 0.5}
ONE_STAGE = {
    'type': 'RetinaNet',
    'bbox_head': {'type': 'RetinaHead'},
    'train_cfg': {'allowed_border': -1, 'debug': False},
    'test_cfg': {'score_thr': 0.05, 'nms': NMS, 'max_per_img': 100},
}
TWO_STAGES = {
    'type': 'FasterRCNN',
    'rpn_head': {'type': 'RPNHead'},
    'roi_head': {
        'type': 'StandardRoIHead',
        'bbox_head': {'type': 'Shared2FCBBoxHead'},
    },
    'train_cfg': {
        'rpn': {'allowed_border': -1, 'debug': False},
        'rpn_proposal': {'nms_pre': 2000, 'nms': NMS},
        'rcnn': {'mask_size': 28, 'debug': False},
    },
    'test_cfg': {
        'rpn': {'nms_pre': 1000, 'max_per_img': 1000, 'min_bbox_size': 0},
        'rcnn': {'score_thr': 0.05, 'mask_thr_binary': 0.5},
    },
}


def found(cfg):
    return [finding for check in CHECKS for finding in check(cfg)]


def with_key(model, path, name):
    """A copy of a model with one more key."""
    if not path:
        return model | {name: 0.3}
    first, _, rest = path.partition('.')
    return model | {first: with_key(model[first], rest, name)}


@pytest.mark.parametrize(
    ('model', 'path', 'name', 'right'),
    [
        (ONE_STAGE, 'test_cfg', 'score_threshold', 'score_thr'),
        (ONE_STAGE, 'test_cfg', 'max_per_image', 'max_per_img'),
        (ONE_STAGE, 'train_cfg', 'pos_weigth', 'pos_weight'),
        (TWO_STAGES, 'test_cfg.rcnn', 'score_treshold', 'score_thr'),
        (TWO_STAGES, 'test_cfg.rpn', 'nms_pree', 'nms_pre'),
        (TWO_STAGES, 'train_cfg.rpn_proposal', 'max_per_imgs', 'max_per_img'),
    ],
)
def test_a_setting_that_no_head_reads(model, path, name, right):
    (finding,) = found({'model': with_key(model, path, name)})
    assert finding.level == 'error'
    assert finding.fix == (f'model.{path}.{right}=… in place of {name}=…')


def test_a_setting_like_none_that_is_read_is_left_out():
    cfg = {'model': with_key(ONE_STAGE, 'test_cfg', 'qqq')}
    (finding,) = found(cfg)
    assert (finding.level, finding.fix) == (
        'warning',
        'leave model.test_cfg.qqq out',
    )


@pytest.mark.parametrize(
    ('model', 'path', 'right'),
    [
        (TWO_STAGES, 'test_cfg.score_thr', 'test_cfg.rcnn.score_thr'),
        (TWO_STAGES, 'test_cfg.nms_pre', 'test_cfg.rpn.nms_pre'),
        (TWO_STAGES, 'train_cfg.assigner', 'train_cfg.rcnn.assigner'),
        (ONE_STAGE, 'test_cfg.rcnn', 'test_cfg.score_thr'),
    ],
)
def test_settings_of_a_detector_of_other_stages(model, path, right):
    above, _, name = path.partition('.')
    value = {'score_thr': 0.3} if name == 'rcnn' else 0.3
    wrong = model | {above: model[above] | {name: value}}
    ((key, finding),) = misplaced({'model': wrong}).items()
    assert (key, finding.level) == (f'model.{path}', 'error')
    assert finding.fix == f'model.{right}=0.3 in place of model.{path}'
    assert misplaced({'model': model}) == {}


@pytest.mark.parametrize('model', [ONE_STAGE, TWO_STAGES])
def test_settings_of_stock_recipes_are_fine(model):
    assert found({'model': model}) == []


PLAIN = {
    'env_cfg': {'cudnn_benchmark': True, 'mp_cfg': {'opencv_num_threads': 0}},
    'auto_scale_lr': {'base_batch_size': 16},
    'randomness': {'seed': 0},
    'default_hooks': {'checkpoint': {}, 'mine': {}},
}


@pytest.mark.parametrize(
    ('path', 'name', 'right'),
    [
        ('env_cfg', 'cudnn_benchmrk', 'cudnn_benchmark'),
        ('env_cfg.mp_cfg', 'mp_start_metod', 'mp_start_method'),
        ('auto_scale_lr', 'enabled', 'enable'),
        ('randomness', 'sed', 'seed'),
        ('default_hooks', 'checkpoints', 'checkpoint'),
    ],
)
def test_a_typo_in_a_part_without_class(path, name, right):
    (finding,) = found(with_key(PLAIN, path, name))
    assert finding.level == 'error'
    assert finding.fix.startswith(f'{path}.{right}=…')
    assert found(PLAIN) == []


def test_a_typo_of_a_key_that_a_base_has_is_found():
    (finding,) = check_keys({'optim_wrapper': {}, 'optim_wraper': {}}, '')
    assert finding.fix == 'optim_wrapper=… in place of optim_wraper=…'


def test_a_variable_that_the_config_uses_is_no_typo():
    cfg = {'work_dir': 'runs/a', 'work_dirs': 'runs'}
    assert check_keys(cfg, "work_dir = os.path.join(work_dirs, 'a')") == []
    assert check_keys(cfg, '') != []

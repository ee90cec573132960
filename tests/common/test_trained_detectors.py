"""A checkpoint fits its config and the others, or is refused."""

import re
from pathlib import Path

import pytest
import torch

from mmdet_retina_plus.common.config_file import read_config
from mmdet_retina_plus.common.trained_detectors import load_detectors
from tests.helpers.detector_files import CLASSES, retinanet


def refusal(config: str, *checkpoints) -> str:
    """What is said of checkpoints that do not fit."""
    cfg = read_config(config)
    with pytest.raises(ValueError) as caught:
        load_detectors(cfg, list(map(str, checkpoints)), 'cpu')
    return str(caught.value)


def test_a_checkpoint_of_other_classes_is_refused(tmp_path):
    """mmengine would load the rest and leave the classifier random."""
    config, checkpoint = retinanet(tmp_path)
    _, other = retinanet(tmp_path, classes=5)
    message = refusal(config, checkpoint, other)
    assert 'ours-0-5.pth does not fit this config' in message
    assert 'retina_cls' in message


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path):
    config, checkpoint = retinanet(tmp_path)
    weights = torch.load(checkpoint)
    del weights['bbox_head.retina_reg.bias']
    torch.save(weights, checkpoint)
    assert 'has no bbox_head.retina_reg.bias' in refusal(config, checkpoint)


def test_weights_that_are_left_over_are_refused(tmp_path):
    config, checkpoint = retinanet(tmp_path)
    weights = torch.load(checkpoint)
    branch = {'roi_head.mask_head.x': torch.ones(1)}
    loss = {'bbox_head.loss_bbox.running_mean': torch.ones(4)}
    torch.save(weights | branch | loss, checkpoint)
    load_detectors(read_config(config), [checkpoint], 'cpu')
    stage = {'backbone.layer5.0.conv1.weight': torch.ones(1)}
    torch.save(weights | stage, checkpoint)
    assert 'which has no backbone.layer5' in refusal(config, checkpoint)


def test_probabilities_are_no_masks(tmp_path):
    config, checkpoint = retinanet(tmp_path)
    with open(config, 'a') as file:
        file.write("\nmodel['roi_head'] = dict(mask_thr_binary=-1)")
    message = refusal(config, checkpoint)
    assert message.endswith('--cfg-options model.roi_head.mask_thr_binary=0.5')


ANCHORS = """
model['bbox_head'].update(
    anchor_generator=dict(
        type='AnchorGenerator',
        octave_base_scale=4,
        scales_per_octave=3,
        ratios=[0.5, 1, 2],
        strides=[8, 16, 32, 64, 128],
    ),
    bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=(1, 1, 1, 0.2)),
)
"""


@pytest.mark.parametrize(
    ('old', 'new', 'key'),
    [
        ('octave_base_scale=4', 'octave_base_scale=3', 'octave_base_scale=3'),
        ('0.2', '1.0', 'target_stds=[1, 1, 1, 1.0]'),
    ],
)
def test_anchors_and_coder_are_those_of_the_training(tmp_path, old, new, key):
    """No weight tells them, and the boxes would be wrong."""
    config, checkpoint = retinanet(tmp_path)
    with Path(config).open('a') as file:
        file.write(ANCHORS)
    text = read_config(config).pretty_text
    load_detectors(
        read_config(config), [with_meta(checkpoint, cfg=text)], 'cpu'
    )
    other = with_meta(checkpoint, cfg=text.replace(old, new))
    assert 'trained with model.bbox_head.' in refusal(config, other)
    assert key in refusal(config, other)


def test_the_config_of_a_checkpoint_is_not_run(tmp_path):
    config, checkpoint = retinanet(tmp_path)
    text = f"model = dict(a=open({str(tmp_path / 'new')!r}, 'w'))"
    unreadable = 'model = dict(a={[]: 1})', 'model = ' + '(' * 9999
    for part in (text, text[:-2], text[8:], *unreadable):
        load_detectors(
            read_config(config), [with_meta(checkpoint, cfg=part)], 'cpu'
        )
    assert not (tmp_path / 'new').exists()


def test_a_checkpoint_that_does_not_fit_is_told_in_a_line(tmp_path):
    config, checkpoint = retinanet(tmp_path)
    weights = {
        key: value.new_zeros(7)
        for key, value in torch.load(checkpoint).items()
    }
    torch.save(weights, checkpoint)
    message = refusal(config, checkpoint)
    assert re.search(
        r' does not fit this config: \S+ is \(7\), in the config \([\d, ]+\) '
        r'and \d+ more; use the config that .*py$',
        message,
    )
    assert len(message.splitlines()) == 1


def test_checkpoints_must_agree_about_the_classes(tmp_path):
    config, checkpoint = retinanet(tmp_path)
    meta = dict(dataset_meta=dict(classes=('red', 'blue', 'green')))
    other = tmp_path / 'other.pth'
    torch.save(dict(state_dict=torch.load(checkpoint), meta=meta), other)
    message = refusal(config, checkpoint, other)
    assert 'red, blue, green' in message
    assert 'red, green, blue' in message


def with_meta(checkpoint: str, **meta) -> str:
    """The checkpoint, with other things beside its weights."""
    weights = torch.load(checkpoint)
    other = Path(checkpoint).with_name('other.pth')
    torch.save(dict(state_dict=weights, meta=meta), other)
    return str(other)


@pytest.mark.parametrize('meta', [{}, dict(dataset_meta=None), dict(epoch=3)])
def test_a_checkpoint_without_classes_has_those_of_the_config(tmp_path, meta):
    config, checkpoint = retinanet(tmp_path)
    (model,) = load_detectors(
        read_config(config), [with_meta(checkpoint, **meta)], 'cpu'
    )
    assert tuple(model.dataset_meta['classes']) == CLASSES


def test_classes_without_names_are_refused(tmp_path):
    config, checkpoint = retinanet(tmp_path, classes=5)
    message = refusal(config, checkpoint)
    assert 'head has 5 classes, but there are 3 names' in message
    assert 'test_dataloader.dataset.metainfo.classes' in message


@pytest.mark.parametrize(
    ('meta', 'words'),
    [
        (
            dict(dataset_meta=dict(classes=('a', 'b'))),
            'names 2 classes (a, b)',
        ),
        (dict(CLASSES=('a', 'b')), 'num_classes=2'),
        (dict(dataset_meta=dict(classes=())), 'names 0 classes'),
        (dict(dataset_meta=dict(classes=('a', 'b', 'a'))), 'called a: give'),
        (dict(dataset_meta=dict(classes='cat')), "are 'cat', not a tuple"),
        (dict(dataset_meta=dict(classes=(1, 2, 3))), 'not a tuple of strings'),
    ],
)
def test_classes_of_a_checkpoint_that_do_not_fit_are_refused(
    tmp_path, meta, words
):
    config, checkpoint = retinanet(tmp_path)
    assert words in refusal(config, with_meta(checkpoint, **meta))

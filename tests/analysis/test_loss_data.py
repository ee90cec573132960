"""Images with objects, of a config's data."""

import copy

import numpy as np
import pytest
from mmengine.config import Config
from numpy.testing import assert_allclose

from mmdet_retina_plus import config as shipped
from mmdet_retina_plus.analysis.loss_data import (
    annotations_first,
    build_dataset,
)
from mmdet_retina_plus.common.config_file import load_config
from mmdet_retina_plus.synthetic.shapes import make_shapes

SCALE = 0.5


def kinds(pipeline) -> list[str]:
    return [step['type'] for step in pipeline]


def steps(*names) -> list[dict]:
    return [dict(type=name) for name in names]


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (
            'LoadImageFromFile Resize LoadAnnotations PackDetInputs',
            'LoadImageFromFile LoadAnnotations Resize PackDetInputs',
        ),
        (
            'LoadNeighbourSlices WindowIntensity Resize Pad '
            'mmdet.LoadAnnotations PaintInstances PackDetInputs',
            'LoadNeighbourSlices mmdet.LoadAnnotations WindowIntensity Resize '
            'Pad PaintInstances PackDetInputs',
        ),
        (
            'LoadImageFromFile LoadAnnotations Resize PackDetInputs',
            'LoadImageFromFile LoadAnnotations Resize PackDetInputs',
        ),
    ],
)
def test_annotations_move_behind_the_image_and_nothing_else(given, expected):
    pipeline = steps(*given.split())
    before = copy.deepcopy(pipeline)
    assert kinds(annotations_first(pipeline)) == expected.split()
    assert pipeline == before


def test_settings_of_the_steps_stay():
    resize = dict(type='Resize', scale=(8, 8))
    boxes = dict(type='LoadAnnotations', with_bbox=True)
    image = dict(type='LoadImageFromFile')
    assert annotations_first([image, resize, boxes]) == [image, boxes, resize]


def test_a_pipeline_without_objects_says_what_to_add():
    with pytest.raises(ValueError, match='with_bbox=True'):
        annotations_first(steps('LoadImageFromFile', 'Resize'))


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp('shapes') / 'set'
    make_shapes(folder, num=2, num_val=3, size=96)
    return f'{folder}/'


@pytest.fixture
def config(images) -> Config:
    """The shipped one, on three images that it halves."""
    cfg = load_config(shipped('retinanet_r18_fpn_shapes'))
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.data_root = images
        for step in dataset.pipeline:
            if step.type == 'Resize':
                step.scale = (48, 48)
    return cfg


def test_boxes_are_those_of_the_image_that_the_model_sees(config):
    before = copy.deepcopy(config.to_dict())
    dataset = build_dataset(config, 'val')
    assert config.to_dict() == before
    assert len(dataset) == 3
    for number in range(3):
        sample = dataset[number]['data_samples']
        found = sample.gt_instances.bboxes.numpy()
        truth = dataset.get_data_info(number)['instances']
        assert len(found) == len(truth) > 0
        assert_allclose(found, SCALE * np.array([x['bbox'] for x in truth]))


def test_wrapped_data_is_reached(config):
    inner = config.val_dataloader.dataset
    config.val_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[inner, inner]
    )
    dataset = build_dataset(config, 'val')
    assert len(dataset) == 6
    boxes = dataset[5]['data_samples'].gt_instances.bboxes
    assert boxes.numpy().max() <= 48


def test_the_pipeline_of_training_stays(config):
    dataset = build_dataset(config, 'train')
    found = [type(step).__name__ for step in dataset.pipeline.transforms]
    assert found == kinds(config.train_dataloader.dataset.pipeline)


@pytest.mark.parametrize('value', [None, {}])
def test_a_missing_dataloader_is_named(config, value):
    config.val_dataloader = value
    with pytest.raises(ValueError, match=r'no val_dataloader\.dataset'):
        build_dataset(config, 'val')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(ann_file='none.json'), r'none\.json'),
        (dict(type='NoDataset'), 'NoDataset'),
        (dict(indices=0, serialize_data=False), 'no images'),
    ],
)
def test_data_that_cannot_be_built_says_which(config, change, message):
    config.val_dataloader.dataset.update(change)
    with pytest.raises(ValueError, match=message):
        build_dataset(config, 'val')

"""Pixels of validation, compared with those of training."""

from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmdet_retina_plus.doctor.sample_values import (
    check_channels,
    check_contrasts,
    check_mean_order,
    check_tiny,
)
from mmdet_retina_plus.doctor.split import Split
from tests.helpers.case_files import coco_set


def samples(factor=1.0, channels=3, number=4):
    images = torch.arange(float(number * channels * 64)).reshape(
        number, channels, 8, 8
    )
    return [{'inputs': factor * image} for image in images]


def test_channels_unlike_training():
    assert check_channels({'train': samples(), 'val': samples()}) == []
    (finding,) = check_channels({'train': samples(), 'val': samples(1, 1)})
    assert 'its images have 1 channel, those of training 3' in finding.message


def test_a_range_of_values_unlike_training():
    (finding,) = check_contrasts({'train': samples(), 'val': samples(1 / 255)})
    assert finding.subject == 'val_dataloader.dataset.pipeline'
    assert 'standard deviation' in finding.message
    assert check_contrasts({'train': samples(), 'val': samples(0.5)}) == []
    few = {'train': samples(), 'val': samples(1 / 255, number=1)}
    assert check_contrasts(few) == []


@pytest.mark.parametrize(
    ('mean', 'swaps', 'told'),
    [
        ([30.0, 60.0, 90.0], False, False),
        ([30.0, 60.0, 90.0], True, True),
        ([90.0, 60.0, 30.0], True, False),
        ([90.0, 60.0, 30.0], False, True),
        # Of other images; grey ones.
        ([90.0, 120.0, 150.0], False, False),
        ([60.0, 60.0, 60.0], False, False),
    ],
)
def test_a_mean_of_own_images_in_reverse_order(mean, swaps, told):
    image = torch.tensor([31.0, 60.0, 89.0])[:, None, None].expand(3, 8, 8)
    settings = {'mean': mean, 'std': [60.0] * 3, 'bgr_to_rgb': swaps}
    cfg = {'model': {'data_preprocessor': settings}}
    found = check_mean_order(cfg, {'train': [{'inputs': image}] * 4})
    assert bool(found) == told


@pytest.mark.parametrize(
    ('before', 'after', 'told'), [(20, 2, 1), (20, 12, 0), (3, 2, 0)]
)
def test_objects_that_the_pipeline_makes_tiny(before, after, told):
    coco = coco_set()
    for one in coco['annotations']:
        one['bbox'] = [8, 8, before, before]
    split = Split('train', coco, Path(), ('cat', 'dog'), key='train')
    boxes = torch.tensor([[3.0, 3.0, 3.0 + after, 3.0 + after]] * 12)
    sample = DetDataSample(gt_instances=InstanceData(bboxes=boxes))
    loaded = {'train': [{'data_samples': sample}]}
    assert len(check_tiny([split], loaded)) == told
    bare = {'train': [{'data_samples': DetDataSample()}]}
    assert check_tiny([split], bare) == []

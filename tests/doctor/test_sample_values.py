"""Pixels of validation, compared with those of training."""

import torch

from mmdet_retina_plus.doctor.sample_values import (
    check_channels,
    check_contrasts,
)


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

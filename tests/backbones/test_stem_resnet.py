import pytest
import torch
from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from mmengine.runner import load_state_dict
from torch.testing import assert_close

from mmdet_retina_plus.backbones import StemResNet


def evaluated(backbone: ResNet) -> ResNet:
    """mmdet's train() and eval() return nothing."""
    backbone.eval()
    return backbone


@pytest.mark.parametrize('deep_stem', [False, True])
def test_c2_to_c5_are_mmdets_with_the_same_weights(deep_stem):
    options = dict(depth=18, base_channels=8, deep_stem=deep_stem)
    theirs = evaluated(ResNet(**options))
    ours = evaluated(MODELS.build(dict(type='StemResNet', **options)))
    missing = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all(key.startswith('c0.') for key in missing.missing_keys)
    image = torch.randn(2, 3, 64, 96)
    for level, expected in zip(ours(image)[2:], theirs(image), strict=True):
        assert_close(level, expected, rtol=0, atol=0)


def test_c0_has_the_images_size_and_c1_half_of_it():
    backbone = StemResNet(depth=18, base_channels=8, c0_channels=4)
    c0, c1, *levels = backbone(torch.randn(1, 3, 65, 97))
    assert c0.shape == (1, 4, 65, 97)
    assert c1.shape == (1, 8, 33, 49)
    assert len(levels) == 4


def test_c1_is_what_the_stem_gives_to_max_pooling():
    backbone = evaluated(StemResNet(depth=18, base_channels=8))
    image = torch.randn(1, 3, 64, 64)
    stem = backbone.relu(backbone.norm1(backbone.conv1(image)))
    assert_close(backbone(image)[1], stem)


def test_a_second_image_leaves_nothing_of_the_first():
    backbone = evaluated(StemResNet(depth=18, base_channels=8))
    first, second = torch.randn(2, 1, 3, 64, 64)
    expected = backbone(second)
    backbone(first)
    assert len(backbone(second)) == 6
    assert_close(backbone(second), expected)


def test_pretrained_weights_load_and_only_c0_starts_at_random(tmp_path):
    """As with a torchvision file, which has no C0 and a classifier."""
    weights = ResNet(depth=18, base_channels=8).state_dict()
    file = tmp_path / 'r18.pth'
    torch.save(weights | {'fc.weight': torch.zeros(1)}, file)
    backbone = StemResNet(
        depth=18,
        base_channels=8,
        init_cfg=dict(type='Pretrained', checkpoint=str(file)),
    )
    backbone.init_weights()
    assert_close(backbone.conv1.weight, weights['conv1.weight'])
    assert_close(backbone.layer4[1].bn2.bias, weights['layer4.1.bn2.bias'])
    assert backbone.c0[0].conv.weight.std() > 0


def test_frozen_stages_leave_c0_to_train():
    backbone = StemResNet(depth=18, base_channels=8, frozen_stages=1)
    backbone.train()
    assert not backbone.conv1.weight.requires_grad
    assert all(weight.requires_grad for weight in backbone.c0.parameters())


@pytest.mark.parametrize('deep_stem', [False, True])
def test_images_of_any_number_of_channels(deep_stem):
    backbone = StemResNet(
        depth=18, base_channels=8, in_channels=5, deep_stem=deep_stem
    )
    levels = backbone(torch.randn(2, 5, 64, 64))
    sum(level.sum() for level in levels).backward()
    assert all(weight.grad is not None for weight in backbone.parameters())


def test_weights_of_other_input_channels_are_left_out_of_conv1():
    """What a user of one-channel images gets from an RGB checkpoint."""
    weights = ResNet(depth=18, base_channels=8).state_dict()
    backbone = StemResNet(depth=18, base_channels=8, in_channels=1)
    before = backbone.conv1.weight.clone()
    load_state_dict(backbone, weights, strict=False)
    assert_close(backbone.conv1.weight, before)
    assert_close(
        backbone.layer1[0].conv1.weight, weights['layer1.0.conv1.weight']
    )


def test_a_norm_makes_c0_independent_of_the_images_scale():
    backbone = evaluated(
        StemResNet(
            depth=18,
            base_channels=8,
            c0_norm_cfg=dict(type='GN', num_groups=4),
        )
    )
    image = torch.randn(1, 3, 32, 32)
    assert_close(
        backbone(image)[0], backbone(50 * image)[0], rtol=1e-3, atol=1e-3
    )

import pytest
import torch
from mmdet.models.necks import FPN
from mmdet.registry import MODELS
from torch import nn
from torch.testing import assert_close

CONFIG = dict(
    in_channels=[4, 8, 16],
    out_channels=8,
    start_level=1,
    num_outs=4,
    norm_cfg=dict(type='GN', num_groups=4),
)
SOURCES = ['on_input', 'on_lateral', 'on_output']


def levels() -> list[torch.Tensor]:
    return [
        torch.randn(2, channels, 32 // 2**level, 32 // 2**level)
        for level, channels in enumerate(CONFIG['in_channels'])
    ]


def build(**changes) -> nn.Module:
    neck = MODELS.build(dict(CONFIG, **changes))
    neck.init_weights()
    return neck


@pytest.mark.parametrize('source', SOURCES)
def test_by_default_it_is_mmdets(source):
    ours = build(type='NormFPN', add_extra_convs=source)
    theirs = build(type='FPN', add_extra_convs=source)
    theirs.load_state_dict(ours.state_dict())
    features = levels()
    for level, expected in zip(ours(features), theirs(features), strict=True):
        assert_close(level, expected, rtol=0, atol=0)


@pytest.mark.parametrize('source', SOURCES)
def test_extra_convolutions_have_a_bias_instead_of_the_norm(source):
    neck = build(
        type='NormFPN', add_extra_convs=source, no_norm_on_extra_convs=True
    )
    normalised = [*neck.lateral_convs, *neck.fpn_convs[:2]]
    assert len(neck.fpn_convs) == 4
    assert all(isinstance(conv.norm, nn.GroupNorm) for conv in normalised)
    plain = FPN(
        add_extra_convs=source,
        **{name: CONFIG[name] for name in CONFIG if name != 'norm_cfg'},
    )
    for conv, expected in zip(
        neck.fpn_convs[2:], plain.fpn_convs[2:], strict=True
    ):
        assert repr(conv) == repr(expected)
        assert not conv.with_norm
        assert (conv.conv.bias == 0).all()


def test_every_level_trains():
    neck = build(
        type='NormFPN',
        add_extra_convs='on_output',
        relu_before_extra_convs=True,
        no_norm_on_extra_convs=True,
    )
    outputs = neck(levels())
    assert [output.shape[-1] for output in outputs] == [16, 8, 4, 2]
    sum(output.square().sum() for output in outputs).backward()
    assert all(
        parameter.grad.abs().sum() > 0 for parameter in neck.parameters()
    )


def test_without_extra_levels_there_is_nothing_to_leave_out():
    neck = build(type='NormFPN', num_outs=2, no_norm_on_extra_convs=True)
    assert len(neck(levels())) == 2
    assert all(conv.with_norm for conv in neck.fpn_convs)

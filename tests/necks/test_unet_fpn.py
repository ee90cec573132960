import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.necks import FPN
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.testing import assert_close

CONFIG = dict(
    type='UNetFPN',
    in_channels=[4, 6, 8, 16, 32],
    out_channels=8,
    start_level=2,
    num_outs=3,
    decoder_channels=[4, 6],
)


def build(**changes) -> nn.Module:
    neck = MODELS.build({**CONFIG, **changes})
    neck.init_weights()
    return neck


def levels(shape: tuple[int, int] = (64, 64)) -> list[Tensor]:
    """Inputs of an image of `shape`, halved and rounded up each time."""
    return [
        torch.randn(2, channels, *(-(-side // 2**level) for side in shape))
        for level, channels in enumerate(CONFIG['in_channels'])
    ]


def test_the_pyramid_is_mmdets():
    ours = build()
    theirs = FPN([8, 16, 32], 8, 3)
    theirs.load_state_dict(ours.state_dict(), strict=False)
    inputs = levels()
    for level, expected in zip(
        ours(inputs)[1:], theirs(inputs[2:]), strict=True
    ):
        assert_close(level, expected, rtol=0, atol=0)


def test_with_all_channels_alike_it_is_the_papers_formula():
    """T_i = L_i(C_i) + up(T_i+1) down to T_0, P_0 = conv(T_0)."""
    neck = build(decoder_channels=[8, 8])
    c0, c1, c2, c3, c4 = inputs = levels()
    pyramid_laterals = [
        conv(c)
        for conv, c in zip(neck.lateral_convs, (c2, c3, c4), strict=True)
    ]

    def nearest(coarse):
        return F.interpolate(coarse, scale_factor=2, mode='nearest')

    def bilinear(coarse):
        return F.interpolate(coarse, scale_factor=2, mode='bilinear')

    l2, l3, l4 = pyramid_laterals
    t2 = l2 + nearest(l3 + nearest(l4))
    t1 = neck.decoder_lateral_convs[1](c1) + bilinear(t2)
    t0 = neck.decoder_lateral_convs[0](c0) + bilinear(t1)
    assert_close(neck(inputs)[0], neck.finest_conv(t0))


@pytest.mark.parametrize('decoder_channels', [[4, 6], [8, 8], [2, 8]])
@pytest.mark.parametrize('extra', [False, 'on_input', 'on_output'])
def test_every_parameter_gets_a_gradient(decoder_channels, extra):
    neck = build(
        decoder_channels=decoder_channels,
        add_extra_convs=extra,
        num_outs=5,
        norm_cfg=dict(type='GN', num_groups=2),
    )
    outputs = neck(levels((128, 128)))
    sum(output.square().sum() for output in outputs).backward()
    for name, weight in neck.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_gradients_of_p0_reach_the_coarsest_input():
    inputs = [level.requires_grad_() for level in levels()]
    build()(inputs)[0].sum().backward()
    assert all(level.grad.abs().sum() > 0 for level in inputs)


@settings(deadline=None, max_examples=20)
@given(st.integers(33, 70), st.integers(33, 70))
def test_p0_has_the_finest_inputs_size_odd_or_even(height, width):
    p0, *pyramid = build()(levels((height, width)))
    assert p0.shape == (2, 4, height, width)
    assert len(pyramid) == 3


@pytest.mark.parametrize('start_level', [1, 2, 3])
def test_the_decoder_goes_through_all_inputs_before_the_start(start_level):
    neck = build(
        start_level=start_level,
        num_outs=5 - start_level,
        decoder_channels=[4, 5, 6][:start_level],
    )
    p0, finest, *_ = neck(levels())
    assert p0.shape[-2:] == (64, 64)
    assert finest.shape[-1] == 64 // 2**start_level


@pytest.mark.parametrize('decoder_channels', [[4], [4, 4, 4], []])
def test_channels_that_do_not_fit_the_start_level_are_refused(
    decoder_channels,
):
    with pytest.raises(ValueError, match='one for each input'):
        build(decoder_channels=decoder_channels)


def test_without_the_decoder_the_pyramid_stays():
    neck, inputs = build(), levels()
    p0, *pyramid = neck(inputs, decode=False)
    assert p0 is None
    assert_close(pyramid, list(neck(inputs)[1:]), rtol=0, atol=0)

import math

import pytest
import torch
from mmdet.models.necks import FPN
from mmdet.registry import MODELS
from torch import nn
from torch.testing import assert_close

from mmdet_retina_plus.necks.asff import ASFF, LevelMix
from tests.helpers.samples import data_sample
from tests.helpers.shipped_configs import load

SIZES = [(25, 19), (13, 10), (7, 5), (4, 3), (2, 2)]
"""P3 to P7 of an image whose sides no stride divides."""
YOLO = dict(
    in_channels=[32, 16, 16],
    out_channels=[64, 32, 16],
    coarsest_first=True,
    own_level_start=None,
    norm_cfg=dict(type='BN'),
)


def levels(channels=8, sizes=SIZES, batch=2) -> tuple[torch.Tensor, ...]:
    return tuple(
        torch.randn(batch, channels, *size, requires_grad=True)
        for size in sizes
    )


def yolo_levels() -> tuple[torch.Tensor, ...]:
    return tuple(
        torch.randn(2, width, side, side)
        for width, side in zip(YOLO['in_channels'], (3, 6, 12), strict=True)
    )


def build(**changes) -> nn.Module:
    """Five levels of eight channels, unless the changes say otherwise."""
    neck = MODELS.build({'type': 'ASFF', 'in_channels': [8] * 5, **changes})
    neck.init_weights()
    return neck


def randomise(neck: nn.Module) -> nn.Module:
    for parameter in neck.parameters():
        nn.init.normal_(parameter, std=0.3)
    return neck


def favour(neck: ASFF, output: int, source: int, logit: float) -> None:
    """Give one source of one output a logit that the image does not move."""
    mix = neck.mixes[output]
    nn.init.zeros_(mix.logits.weight)
    nn.init.zeros_(mix.logits.bias)
    mix.logits.bias.data[mix.sources.index(source)] = logit


@pytest.mark.parametrize(
    'changes',
    [
        {},
        dict(max_hop=1),
        dict(own_level_start=0.3),
        dict(norm_cfg=dict(type='GN', num_groups=4)),
    ],
)
def test_at_the_start_every_level_is_its_input(changes):
    inputs = levels()
    outputs = build(**changes)(inputs)
    for output, level in zip(outputs, inputs, strict=True):
        assert_close(output, level, rtol=1e-6, atol=0)


@pytest.mark.parametrize('start', [0.3, 0.8])
def test_the_own_level_starts_with_its_weight_and_the_rest_is_shared(start):
    for own, weights in enumerate(
        build(own_level_start=start).level_weights(levels())
    ):
        expected = torch.full_like(weights, (1 - start) / 4)
        expected[:, own] = start
        assert_close(weights, expected)


def test_from_the_start_two_steps_reach_every_parameter():
    """The first moves what stands at zero, which hides what is before it."""
    neck = build()
    optimizer = torch.optim.SGD(neck.parameters(), lr=0.1)
    reached = set()
    for _ in range(3):
        optimizer.zero_grad()
        outputs = neck(levels())
        sum(output.square().mean() for output in outputs).backward()
        reached |= {
            name
            for name, parameter in neck.named_parameters()
            if parameter.grad.any()
        }
        optimizer.step()
    assert reached == {name for name, _ in neck.named_parameters()}


def test_mixed_precision_keeps_the_dtype_of_the_levels(monkeypatch):
    """With the softmax in single precision, as CUDA's autocast has it."""
    neck, inputs = randomise(build()), levels()
    expected = neck(inputs)
    weigh = LevelMix.weigh
    monkeypatch.setattr(
        LevelMix, 'weigh', lambda self, levels: weigh(self, levels).float()
    )
    with torch.autocast('cpu', torch.bfloat16):
        outputs = neck([level.bfloat16() for level in inputs])
    for output, value in zip(outputs, expected, strict=True):
        assert output.dtype == torch.bfloat16
        assert_close(output.float(), value, rtol=0.1, atol=0.1)
    sum(output.sum() for output in outputs).backward()
    for parameter in neck.parameters():
        assert parameter.grad.isfinite().all()


def test_weights_add_up_to_one_at_every_pixel():
    for weights, size in zip(
        randomise(build()).level_weights(levels()), SIZES, strict=True
    ):
        assert weights.shape == (2, 5, *size)
        assert weights.std() > 0
        assert_close(weights.sum(dim=1), torch.ones(2, *size))


def test_levels_beyond_max_hop_have_no_weight_and_no_gradient():
    neck = randomise(build(max_hop=1))
    inputs = levels()
    weights = neck.level_weights(inputs)
    assert (weights[0][:, 2:] == 0).all() and (weights[0][:, :2] > 0).all()
    neck(inputs)[0].sum().backward()
    assert [level.grad is not None for level in inputs] == [True] * 2 + [
        False
    ] * 3


@pytest.mark.parametrize('source', range(5))
@pytest.mark.parametrize('output', [0, 2, 4])
def test_a_path_that_is_switched_off_has_no_gradient(output, source):
    """Section 3.3 of the paper: the weight cuts the conflicting gradient."""
    neck = randomise(build())
    inputs = levels()
    favour(neck, output, source, -math.inf)
    neck(inputs)[output].sum().backward()
    for level, feature in enumerate(inputs):
        assert feature.grad.any() == (level != source)


@pytest.mark.parametrize('source', range(5))
@pytest.mark.parametrize('output', [0, 2, 4])
def test_a_level_that_has_all_the_weight_is_resized_alone(output, source):
    neck = randomise(build(own_level_start=None))
    inputs = levels()
    favour(neck, output, source, 200.0)
    mixed = neck(inputs)[output]
    alone = neck.mixes[output].paths[source](inputs[source], SIZES[output])
    assert_close(mixed, alone)
    if source == output:
        assert_close(mixed, inputs[output], rtol=0, atol=0)


def test_a_coarser_level_is_its_nearest_pixel_also_at_odd_sizes():
    neck = randomise(build(own_level_start=None))
    favour(neck, 2, 3, 200.0)
    inputs = levels()
    # Without own_level_start levels of equal channels are only interpolated.
    rows = torch.tensor([0, 0, 1, 1, 2, 2, 3])
    columns = torch.tensor([0, 0, 1, 1, 2])
    assert_close(neck(inputs)[2], inputs[3][:, :, rows][..., columns])


def test_a_level_far_finer_is_pooled_before_its_convolution():
    neck = build(own_level_start=None)
    path = neck.mixes[3].paths[0]
    assert path.num_pools == 2
    conv = path.conv.conv
    assert (conv.kernel_size, conv.stride) == ((3, 3), (2, 2))


def test_yolov3s_levels_have_the_channels_and_paths_of_the_authors_code():
    neck = build(**YOLO)
    assert [tuple(output.shape[1:]) for output in neck(yolo_levels())] == [
        (64, 3, 3),
        (32, 6, 6),
        (16, 12, 12),
    ]
    kinds = [
        [
            getattr(path.conv, 'conv', path.conv)._get_name()
            + ' pool' * path.num_pools
            for path in mix.paths
        ]
        for mix in neck.mixes
    ]
    assert kinds == [
        ['Identity', 'Conv2d', 'Conv2d pool'],
        ['Conv2d', 'Identity', 'Conv2d'],
        ['Conv2d', 'Identity', 'Identity'],
    ]


@pytest.mark.parametrize('channels', [[32, 16, 16], [32, 16, 8]])
def test_every_parameter_of_yolov3s_levels_trains(channels):
    neck = build(**{**YOLO, 'in_channels': channels})
    inputs = [
        torch.randn(2, width, side, side)
        for width, side in zip(channels, (3, 6, 12), strict=True)
    ]
    sum(output.square().sum() for output in neck(inputs)).backward()
    assert all(parameter.grad.any() for parameter in neck.parameters())


def test_it_follows_another_neck_in_a_list():
    fpn = dict(type='FPN', in_channels=[4, 8], out_channels=8, num_outs=3)
    neck = MODELS.build([fpn, dict(type='ASFF', in_channels=[8] * 3)])
    neck.init_weights()
    inputs = [torch.randn(1, 4, 16, 16), torch.randn(1, 8, 8, 8)]
    for mixed, level in zip(neck(inputs), neck[0](inputs), strict=True):
        assert_close(mixed, level, rtol=1e-6, atol=0)


def test_a_trained_retinanet_loads_and_predicts_the_same():
    config = load('retinanet_r18_fpn_shapes')
    plain = MODELS.build(config.model)
    plain.init_weights()
    nn.init.zeros_(plain.bbox_head.retina_cls.bias)
    config.model.neck.type = 'ASFFFPN'
    mixing = MODELS.build(config.model)
    mixing.init_weights()
    keys = mixing.load_state_dict(plain.state_dict(), strict=False)
    assert not keys.unexpected_keys
    assert all(key.startswith('neck.asff.') for key in keys.missing_keys)
    image = torch.randn(1, 3, 96, 64)
    outputs = []
    for detector in (plain, mixing):
        detector.eval()
        with torch.no_grad():
            (result,) = detector.predict(image, [data_sample(shape=(96, 64))])
        outputs.append(result.pred_instances)
    assert len(outputs[0]) > 10
    for key in ('bboxes', 'scores', 'labels'):
        assert_close(outputs[1][key], outputs[0][key], rtol=1e-4, atol=1e-4)


def test_asfffpn_has_the_options_and_parameters_of_an_fpn():
    options = dict(in_channels=[4, 8], out_channels=8, num_outs=3)
    ours = MODELS.build(dict(type='ASFFFPN', asff=dict(max_hop=1), **options))
    names = set(FPN(**options).state_dict())
    rest = {name for name in ours.state_dict() if name not in names}
    assert names < set(ours.state_dict())
    assert all(name.startswith('asff.') for name in rest)
    assert ours.asff.mixes[0].sources == [0, 1]


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(in_channels=[8]), 'two or more'),
        (dict(out_channels=[8, 8]), 'one for each'),
        (dict(max_hop=0), 'max_hop=0'),
        (dict(own_level_start=1.0), 'between 0 and 1'),
    ],
)
def test_options_out_of_range_say_what_to_do(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)

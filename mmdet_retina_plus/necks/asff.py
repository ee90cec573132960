"""Adaptively Spatial Feature Fusion: every level is a mix of all levels.

ASFF: https://arxiv.org/abs/1911.09516, section 3.2
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.necks import FPN
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType
from mmengine.model import BaseModule, ModuleList, constant_init
from torch import Tensor, nn

ACTIVATION = dict(type='LeakyReLU', negative_slope=0.1)


@MODELS.register_module()
class ASFF(BaseModule):
    """Mix all pyramid levels into each, with a softmax over levels per pixel.

    y_l = sum over k of alpha_lk x_k->l, where x_k->l is level k, resized to
    level l, and alpha_l has one weight for each level and pixel. It follows
    another neck, ``neck=[dict(type='YOLOV3Neck', ...), dict(type='ASFF',
    ...)]``; ``ASFFFPN`` is an FPN with it.

    A finer level is max-pooled to twice the size, then a 3x3 convolution of
    stride 2 follows; a coarser one goes through a 1x1 convolution to nearest
    neighbour interpolation. Sizes are those of the level, so that odd ones
    fit.

    With ``own_level_start`` the output equals the input until the first step:
    the paths of other levels start at zero, their weights do not depend on the
    image, and what the own level's weight takes off is multiplied back by a
    constant. Unlike a bias that lets the softmax saturate, this keeps every
    weight trainable.

    Args:
        in_channels: Channels of the levels, in the order of the inputs.
        out_channels: Channels of the outputs of the 3x3 convolutions after
            the mix; None leaves them out, so that an output has the channels
            of its input.
        coarsest_first: Order of the levels, as YOLOV3Neck's.
        compress_channels: Channels of a level in what its weights are
            computed from; 16 in the authors' code.
        max_hop: Mix only levels at most this many octaves apart; None for
            all.
        own_level_start: Weight of the own level at the start, in (0, 1); None
            starts with the authors' random weights, and resizes levels of
            equal channels without the 1x1 convolution, as they do.
        norm_cfg: Normalisation of all convolutions but the one that computes
            the logits.
        init_cfg: As ``BaseModule``.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: Sequence[int] | None = None,
        coarsest_first: bool = False,
        compress_channels: int = 16,
        max_hop: int | None = None,
        own_level_start: float | None = 0.8,
        norm_cfg: OptConfigType = None,
        init_cfg: OptConfigType = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if len(in_channels) < 2:
            raise ValueError(
                f'ASFF mixes levels, but in_channels={in_channels} names '
                f'{len(in_channels)}: give the channels of two or more'
            )
        if out_channels is not None and len(out_channels) != len(in_channels):
            raise ValueError(
                f'out_channels has {len(out_channels)} numbers for '
                f'{len(in_channels)} levels: give one for each, or None'
            )
        if max_hop is not None and max_hop < 1:
            raise ValueError(
                f'max_hop={max_hop} leaves no other level to mix: use 1 or '
                'more, or None for all levels'
            )
        if own_level_start is not None and not 0 < own_level_start < 1:
            raise ValueError(
                f'own_level_start={own_level_start} is no weight of a '
                'softmax: use a number between 0 and 1, or None'
            )
        self.mixes = ModuleList(
            LevelMix(
                in_channels,
                level,
                None if out_channels is None else out_channels[level],
                coarsest_first,
                compress_channels,
                max_hop,
                own_level_start,
                norm_cfg,
            )
            for level in range(len(in_channels))
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Mixed levels, in the order of the inputs.

        Args:
            inputs: As many as ``in_channels``, each (N, C_l, H_l, W_l), with
                sides halved and rounded up from one level to the next.
        """
        return tuple(mix(inputs) for mix in self.mixes)

    def level_weights(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Weights alpha of all L levels in each output, (N, L, H_l, W_l).

        They add up to 1 over the levels; a level beyond ``max_hop`` has 0.
        """
        mixes = cast(Sequence[LevelMix], self.mixes)
        return [mix.level_weights(inputs) for mix in mixes]


class LevelMix(BaseModule):
    """The output of one level. Arguments are as those of ``ASFF``."""

    def __init__(
        self,
        in_channels: Sequence[int],
        level: int,
        out_channels: int | None,
        coarsest_first: bool,
        compress_channels: int,
        max_hop: int | None,
        own_level_start: float | None,
        norm_cfg: OptConfigType,
    ) -> None:
        super().__init__()
        hops = [level - source for source in range(len(in_channels))]
        if coarsest_first:
            hops = [-hop for hop in hops]
        reach = len(hops) if max_hop is None else max_hop
        self.sources = [
            source for source, hop in enumerate(hops) if abs(hop) <= reach
        ]
        self.num_levels = len(in_channels)
        self.own = self.sources.index(level)
        self.own_level_start = own_level_start
        width = in_channels[level]
        self.paths = nn.ModuleList(
            Resize(
                in_channels[source],
                width,
                hops[source],
                always_conv=own_level_start is not None,
                norm_cfg=norm_cfg,
            )
            for source in self.sources
        )
        self.compress = nn.ModuleList(
            conv(width, compress_channels, norm_cfg=norm_cfg)
            for _ in self.sources
        )
        self.logits = nn.Conv2d(
            compress_channels * len(self.sources), len(self.sources), 1
        )
        self.expand = (
            nn.Identity()
            if out_channels is None
            else conv(width, out_channels, 3, norm_cfg=norm_cfg)
        )

    def init_weights(self) -> None:
        first_time = not self.is_init
        super().init_weights()
        start = self.own_level_start
        if start is None or not first_time:
            return
        for path in cast(Sequence[Resize], self.paths):
            path.start_at_zero()
        constant_init(self.logits, 0)
        others = len(self.sources) - 1
        bias = cast(Tensor, self.logits.bias)
        bias.data[self.own] = math.log(others * start / (1 - start))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        levels = self.resize(inputs)
        # CUDA's autocast computes a softmax in single precision, which would
        # double the memory of all that follows.
        weights = self.weigh(levels).to(levels[self.own].dtype).split(1, dim=1)
        mixed = weights[0] * levels[0]
        for weight, level in zip(weights[1:], levels[1:], strict=True):
            mixed = mixed + weight * level
        if self.own_level_start is not None:
            mixed = mixed / self.own_level_start
        return self.expand(mixed)

    def level_weights(self, inputs: Sequence[Tensor]) -> Tensor:
        weights = self.weigh(self.resize(inputs))
        size = (len(weights), self.num_levels, *weights.shape[-2:])
        index = torch.tensor(self.sources, device=weights.device)
        return weights.new_zeros(size).index_copy(1, index, weights)

    def resize(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """All sources in the size and the channels of this level."""
        size = inputs[self.sources[self.own]].shape[-2:]
        return [
            path(inputs[source], size)
            for source, path in zip(self.sources, self.paths, strict=True)
        ]

    def weigh(self, levels: Sequence[Tensor]) -> Tensor:
        """Softmax over the S sources, (N, S, H, W), of their resized maps."""
        compressed = [
            compress(level)
            for compress, level in zip(self.compress, levels, strict=True)
        ]
        return self.logits(torch.cat(compressed, dim=1)).softmax(dim=1)


class Resize(BaseModule):
    """A level in the size and the channels of another.

    Args:
        in_channels: Number of channels of the level.
        out_channels: Number of channels of the other level.
        hop: Octaves from the level to the other; below 0 to a finer one.
        always_conv: Whether a coarser level has its convolution also where
            channels agree.
        norm_cfg: Normalization of the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hop: int,
        always_conv: bool,
        norm_cfg: OptConfigType,
    ) -> None:
        super().__init__()
        self.num_pools = max(hop - 1, 0)
        self.conv: nn.Module = nn.Identity()
        if hop > 0:
            self.conv = conv(
                in_channels, out_channels, 3, stride=2, norm_cfg=norm_cfg
            )
        elif hop < 0 and (always_conv or in_channels != out_channels):
            self.conv = conv(in_channels, out_channels, norm_cfg=norm_cfg)

    def start_at_zero(self) -> None:
        """Let the path return zeros, with a gradient in its last layer."""
        if isinstance(self.conv, ConvModule):
            last = self.conv.norm if self.conv.with_norm else self.conv.conv
            constant_init(last, 0)

    def forward(self, level: Tensor, size: torch.Size) -> Tensor:
        for _ in range(self.num_pools):
            level = F.max_pool2d(level, 3, stride=2, padding=1)
        level = self.conv(level)
        if level.shape[-2:] == size:
            return level
        return F.interpolate(level, size=size, mode='nearest')


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    stride: int = 1,
    norm_cfg: OptConfigType = None,
) -> ConvModule:
    """Convolution, normalisation and the authors' LeakyReLU."""
    return ConvModule(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        norm_cfg=norm_cfg,
        act_cfg=ACTIVATION,
    )


@MODELS.register_module()
class ASFFFPN(FPN):
    """mmdet's FPN, whose levels ASFF mixes.

    Its parameters have FPN's names, so that the checkpoint of a detector with
    a plain FPN loads; by default that detector's predictions stay the same
    until the first step.

    Args:
        args: As ``FPN``.
        asff: Options of ``ASFF`` but ``in_channels``.
        kwargs: As ``FPN``.
    """

    def __init__(
        self, *args, asff: ConfigType | None = None, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        self.asff = ASFF([self.out_channels] * self.num_outs, **(asff or {}))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return self.asff(super().forward(inputs))

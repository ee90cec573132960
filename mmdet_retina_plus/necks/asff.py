"""Adaptively Spatial Feature Fusion of pyramid levels.

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
    """Fuse all pyramid levels into each, with a softmax over levels per pixel.

    y_l = sum over k of alpha_lk x_k->l, where x_k->l is level k resized to
    level l, and alpha_l has one weight per level and pixel. It follows another
    neck, ``neck=[dict(type='YOLOV3Neck', ...), dict(type='ASFF', ...)]``;
    ``ASFFFPN`` is an FPN followed by ASFF.

    A finer level is max-pooled to twice the size and passes a 3x3 convolution
    of stride 2; a coarser level passes a 1x1 convolution and nearest neighbour
    interpolation. Levels may have odd sizes.

    With ``own_level_start`` the output equals the input until the first step:
    the paths of other levels start at zero, the weights do not depend on the
    image, and a constant divides by the weight of the level itself. Unlike a
    bias that saturates the softmax, this keeps every weight trainable.

    Args:
        in_channels: Channels of the levels, in the order of the inputs.
        out_channels: Output channels of a 3x3 convolution after the fusion;
            None for no convolution, so that outputs have the channels of
            their inputs.
        coarsest_first: Whether the coarsest level comes first, as from
            YOLOV3Neck.
        compress_channels: Channels to which each level is reduced to compute
            the weights; 16 in the authors' code.
        max_hop: Fuse only levels at most this many octaves apart; None for
            all.
        own_level_start: Initial weight of the level itself, in (0, 1); None
            for the authors' random start, which also resizes levels of equal
            channels without a 1x1 convolution.
        norm_cfg: Normalisation of all convolutions except those of the
            logits.
        init_cfg: See ``BaseModule``.

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
                f'ASFF fuses levels, but in_channels={in_channels} has '
                f'{len(in_channels)}: give the channels of two or more'
            )
        if out_channels is not None and len(out_channels) != len(in_channels):
            raise ValueError(
                f'out_channels has {len(out_channels)} numbers for '
                f'{len(in_channels)} levels: give one for each, or None'
            )
        if max_hop is not None and max_hop < 1:
            raise ValueError(
                f'max_hop={max_hop} leaves no other level to fuse: use 1 or '
                'more, or None for all levels'
            )
        if own_level_start is not None and not 0 < own_level_start < 1:
            raise ValueError(
                f'own_level_start={own_level_start} is not a weight of a '
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
        """Fuse the levels; the outputs have the order of the inputs.

        Args:
            inputs: One per ``in_channels``, each (N, C_l, H_l, W_l), with
                sides halved and rounded up from one level to the next.
        """
        return tuple(mix(inputs) for mix in self.mixes)

    def level_weights(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Compute the weights alpha of each output, (N, L, H_l, W_l).

        They sum to 1 over the L levels; levels beyond ``max_hop`` have 0.
        """
        mixes = cast(Sequence[LevelMix], self.mixes)
        return [mix.level_weights(inputs) for mix in mixes]


class LevelMix(BaseModule):
    """Output of one level; see ``ASFF`` for the arguments."""

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
        """Resize all sources to the size and channels of this level."""
        size = inputs[self.sources[self.own]].shape[-2:]
        return [
            path(inputs[source], size)
            for source, path in zip(self.sources, self.paths, strict=True)
        ]

    def weigh(self, levels: Sequence[Tensor]) -> Tensor:
        """Compute a softmax over the S resized sources, (N, S, H, W)."""
        compressed = [
            compress(level)
            for compress, level in zip(self.compress, levels, strict=True)
        ]
        return self.logits(torch.cat(compressed, dim=1)).softmax(dim=1)


class Resize(BaseModule):
    """Resize a level to the size and channels of another.

    Args:
        in_channels: Number of channels of the level.
        out_channels: Number of channels of the other level.
        hop: Octaves to the other level; negative to a finer one.
        always_conv: Whether a coarser level has a convolution even if the
            channels are equal.
        norm_cfg: Normalisation of the convolution.
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
        """Make the path return zeros, with a gradient in its last layer."""
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
    """Build convolution, normalisation and the authors' LeakyReLU."""
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
    """mmdet's FPN followed by ``ASFF``.

    Its parameters have FPN's names, so the checkpoint of a detector with a
    plain FPN loads. By default its predictions stay the same until the first
    step.

    Args:
        args: See ``FPN``.
        asff: Options of ``ASFF`` except ``in_channels``.
        kwargs: See ``FPN``.
    """

    def __init__(
        self, *args, asff: ConfigType | None = None, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        self.asff = ASFF([self.out_channels] * self.num_outs, **(asff or {}))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return self.asff(super().forward(inputs))

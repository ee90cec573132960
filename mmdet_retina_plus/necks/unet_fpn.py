"""FPN whose top-down path continues to the image's size, for Retina U-Net.

Retina U-Net: https://arxiv.org/abs/1811.08661, section 2
"""

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.necks import FPN
from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class UNetFPN(FPN):
    """mmdet's FPN with a U-Net decoder on top: P0 and the pyramid.

    The decoder starts from the finest merged map of the pyramid, before its
    3x3 convolution, and continues through the finer inputs: T_i =
    lateral(C_i) + upsample(reduce(T_i+1)), bilinear to the size of C_i, which
    may be odd. P0 is a 3x3 convolution of T_0. The paper keeps the number of
    channels of the pyramid; here a 1x1 convolution reduces it, since 256
    channels at 800 x 1344 px take 1.1 GB per image. Convolutions without a
    use, such as P1's in the authors' code, are not built.

    Attributes:
        can_skip_decoder: Tells a detector that ``forward`` accepts
            ``decode``.

    Args:
        in_channels: Number of channels of each input, finest first.
        out_channels: Number of channels of the pyramid levels.
        num_outs: Number of pyramid levels.
        start_level: Index of the input of the finest pyramid level. Earlier
            inputs go to the decoder.
        decoder_channels: Channels of P0, T1, ..., one per input before
            ``start_level``. There is no 1x1 convolution between equal
            neighbours. In the paper all equal ``out_channels``.
        norm_cfg: Normalisation of all convolutions.
        kwargs: See ``FPN``, for the inputs from ``start_level`` on.

    Raises:
        ValueError: ``decoder_channels`` does not fit ``start_level``.
    """

    can_skip_decoder = True

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int,
        start_level: int = 2,
        decoder_channels: Sequence[int] = (64, 128),
        norm_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(
            list(in_channels[start_level:]),
            out_channels,
            num_outs,
            norm_cfg=norm_cfg,
            **kwargs,
        )
        if not 0 < len(decoder_channels) == start_level:
            raise ValueError(
                f'decoder_channels has {len(decoder_channels)} numbers for '
                f'start_level={start_level}: give one for each input before '
                'the start level, at least one'
            )
        self.reduce_convs = nn.ModuleList()
        self.decoder_lateral_convs = nn.ModuleList()
        coarser = [*decoder_channels[1:], out_channels]
        for source, width, coarse in zip(
            in_channels[:start_level], decoder_channels, coarser, strict=True
        ):
            self.reduce_convs.append(
                nn.Identity()
                if width == coarse
                else ConvModule(
                    coarse, width, 1, norm_cfg=norm_cfg, act_cfg=None
                )
            )
            self.decoder_lateral_convs.append(
                ConvModule(source, width, 1, norm_cfg=norm_cfg, act_cfg=None)
            )
        width = decoder_channels[0]
        self.finest_conv = ConvModule(
            width, width, 3, padding=1, norm_cfg=norm_cfg, act_cfg=None
        )

    def forward(
        self, inputs: Sequence[Tensor], decode: bool = True
    ) -> tuple[Tensor | None, ...]:
        """Compute P0 of the finest input's size and the pyramid levels.

        Args:
            inputs: One per ``in_channels``, the finest first.
            decode: Whether to compute P0; otherwise it is None.
        """
        decoder_levels = len(self.reduce_convs)
        if not decode:
            return (None, *super().forward(inputs[decoder_levels:]))
        merged: list[Tensor] = []
        with self.fpn_convs[0].register_forward_pre_hook(
            lambda module, maps: merged.extend(maps)
        ):
            pyramid = super().forward(inputs[decoder_levels:])
        [top_down] = merged
        for level in reversed(range(decoder_levels)):
            lateral = self.decoder_lateral_convs[level](inputs[level])
            top_down = lateral + F.interpolate(
                self.reduce_convs[level](top_down),
                size=lateral.shape[-2:],
                mode='bilinear',
                align_corners=False,
            )
        return (self.finest_conv(top_down), *pyramid)

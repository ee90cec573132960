"""ResNet with the two levels above its pyramid, for Retina U-Net.

Retina U-Net: https://arxiv.org/abs/1811.08661, section 2
"""

from mmcv.cnn import ConvModule
from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from mmdet.utils import OptConfigType
from torch import Tensor, nn


@MODELS.register_module()
class StemResNet(ResNet):
    """mmdet's ResNet that returns C0 and C1 before C2 to C5.

    C0 (stride 1) comes from two convolutions on the image, C1 (stride 2) is
    the stem's output before max pooling. The paper's stem takes C0 as input;
    here C0 is parallel to the stem, so that weights of any ResNet load
    unchanged. C0 then starts at random, and mmengine lists its keys as
    missing.

    Args:
        args: See ``ResNet``.
        c0_channels: Number of channels of C0. Two maps of that many channels
            and the image's size are kept for the backward pass.
        c0_norm_cfg: Normalisation of C0's convolutions. Required for images
            that are not divided by their standard deviation, as for
            Detectron's weights.
        kwargs: See ``ResNet``. ``in_channels`` is that of the image, also for
            C0; ``out_indices`` selects among C2 to C5, and C0 and C1 are
            always returned.
    """

    def __init__(
        self,
        *args,
        c0_channels: int = 32,
        c0_norm_cfg: OptConfigType = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        first = self.stem[0] if self.deep_stem else self.conv1
        self.c0 = nn.Sequential(
            *(
                ConvModule(
                    channels, c0_channels, 3, padding=1, norm_cfg=c0_norm_cfg
                )
                for channels in (first.in_channels, c0_channels)
            )
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the levels of images (N, C, H, W), the finest first.

        Returns:
            C0 of shape (N, ``c0_channels``, H, W), C1 of half that size, and
            the outputs of ``ResNet``.
        """
        # A hook keeps mmdet's forward unchanged; it is not thread-safe.
        c1: list[Tensor] = []
        with self.maxpool.register_forward_pre_hook(
            lambda module, inputs: c1.extend(inputs)
        ):
            levels = super().forward(x)
        return (self.c0(x), *c1, *levels)

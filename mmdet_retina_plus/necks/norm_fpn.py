"""FPN without normalisation on its extra levels.

FPN: https://arxiv.org/abs/1612.03144
"""

from mmdet.models.necks import FPN
from mmdet.registry import MODELS
from mmdet.utils import OptConfigType


@MODELS.register_module()
class NormFPN(FPN):
    """mmdet's FPN with optional normalisation of its extra convolutions.

    RetinaMask's models with GroupNorm normalise lateral and output
    convolutions, but neither P6 nor P7.

    Args:
        args: See ``FPN``.
        norm_cfg: See ``FPN``; keyword only.
        no_norm_on_extra_convs: Use a bias instead of normalisation in extra
            convolutions.
        kwargs: See ``FPN``.
    """

    def __init__(
        self,
        *args,
        norm_cfg: OptConfigType = None,
        no_norm_on_extra_convs: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(*args, norm_cfg=norm_cfg, **kwargs)
        if not no_norm_on_extra_convs:
            return
        plain = FPN(*args, **kwargs)
        for level in range(len(self.lateral_convs), len(self.fpn_convs)):
            self.fpn_convs[level] = plain.fpn_convs[level]

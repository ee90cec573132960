"""Map grey values of more than 8 bits, such as those of CT, to 0 to 255."""

from collections.abc import Sequence

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.fileio import LocalBackend, register_backend

Windows = Sequence[tuple[float, float]]


def apply_windows(image: np.ndarray, windows: Windows) -> np.ndarray:
    """Map each window (low, high) to 0 to 255 and clip what lies outside.

    Args:
        image: Shape (H, W) or (H, W, C), of any type.
        windows: In units of the image's values. With several windows, an image
            of shape (H, W) gets a channel per window. An image of C channels
            needs one window, or one per channel.

    Returns:
        Shape (H, W) or (H, W, channels), float32.

    Raises:
        ValueError: The numbers of channels and windows do not match, or an
            8-bit image cannot have such values.
    """
    low, high = np.array(windows, np.float32).T
    if image.dtype == np.uint8 and high.max() > 255:
        raise ValueError(
            f'A window up to {high.max():g} on an image of 8 bits: read it '
            "with dict(type='LoadImageFromFile', color_type='unchanged'), "
            'since the default divides 16 bits by 256'
        )
    if image.ndim == 2 and len(low) > 1:
        image = image[..., None]
    elif image.ndim == 3 and len(low) not in (1, image.shape[2]):
        raise ValueError(
            f'{len(low)} windows for {image.shape[2]} channels: give one for '
            'all or one for each'
        )
    shares = (image.astype(np.float32) - low) / (high - low)
    return 255 * shares.clip(0, 1)


def check_windows(windows: Windows) -> list[tuple[float, float]]:
    """Check the windows and return them as a list.

    Raises:
        ValueError: There are no windows, or one is empty.
    """
    pairs = [(low, high) for low, high in windows]
    if not pairs or any(low >= high for low, high in pairs):
        raise ValueError(
            'windows are pairs (low, high) with low < high, such as '
            f'[(-160, 240)], not {windows}'
        )
    return pairs


@TRANSFORMS.register_module()
class WindowIntensity(BaseTransform):
    """Map windows of an image's values to 0 to 255, as float32.

    Later transforms then see the range of photographs. Three windows on a grey
    image give the three channels that pretrained weights expect; the same
    window three times gives a grey image with three channels.

    Required and modified key: ``img``, see ``apply_windows``.

    Args:
        windows: Pairs (low, high) in units of the file, for CT
            ``level - width / 2`` and ``level + width / 2``.

    Raises:
        ValueError: There are no windows, or one is empty.
    """

    def __init__(self, windows: Windows) -> None:
        self.windows = check_windows(windows)

    def transform(self, results: dict) -> dict:
        results['img'] = apply_windows(results['img'], self.windows)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(windows={self.windows})'


@register_backend('WindowedBackend')
class WindowedBackend(LocalBackend):
    """Read images of any depth as 8-bit PNG, to draw results on.

    mmdet's visualization hook reads the image again, as 8 bits: 12-bit values
    in a 16-bit file look black, floating point fails. It runs no transforms,
    but it reads through ``backend_args``::

        visualization=dict(
            backend_args=dict(backend='WindowedBackend', windows=[(0, 4095)])
        )

    For any other number of channels than one or three, the middle one is
    shown.

    Args:
        windows: See ``WindowIntensity``.
        imdecode_backend: See ``LoadImageFromFile``.
    """

    def __init__(
        self, windows: Windows, imdecode_backend: str = 'cv2'
    ) -> None:
        super().__init__()
        self.windows = check_windows(windows)
        self.imdecode_backend = imdecode_backend

    def get(self, filepath: str) -> bytes:
        image = mmcv.imfrombytes(
            super().get(filepath), 'unchanged', backend=self.imdecode_backend
        )
        shown = np.rint(apply_windows(image, self.windows)).astype(np.uint8)
        if shown.ndim == 3 and shown.shape[2] != 3:
            shown = shown[..., shown.shape[2] // 2]
        return cv2.imencode('.png', shown)[1].tobytes()

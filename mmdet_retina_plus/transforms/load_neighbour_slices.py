"""Slices of a volume as channels of one image, "2Dc" in Retina U-Net.

https://arxiv.org/abs/1811.08661
"""

import re

from mmdet.datasets.transforms import LoadMultiChannelImageFromFiles
from mmdet.registry import TRANSFORMS
from mmengine.fileio import exists


@TRANSFORMS.register_module()
class LoadNeighbourSlices(LoadMultiChannelImageFromFiles):
    """Load a grey slice and its neighbours, shape (H, W, 2 neighbours + 1).

    File names end in the slice number (``scan7_041.png``), with or without
    leading zeros. A missing slice, as at the ends of a volume, is replaced by
    the next one towards the middle. Annotations are those of the middle slice,
    ``img_path``.

    Required key: ``img_path``. Added keys: ``img``, ``img_shape`` and
    ``ori_shape``.

    Args:
        neighbours: Number of slices on each side.
        to_float32: Convert to float32; otherwise keep the type of the file.
        kwargs: See ``LoadMultiChannelImageFromFiles``.

    Raises:
        ValueError: ``neighbours`` is negative.
    """

    def __init__(
        self, neighbours: int = 1, to_float32: bool = True, **kwargs
    ) -> None:
        super().__init__(to_float32=to_float32, **kwargs)
        if neighbours < 0:
            raise ValueError(f'neighbours must be 0 or more, not {neighbours}')
        self.neighbours = neighbours

    def transform(self, results: dict) -> dict:
        """Load the slices, from the lowest number to the highest.

        Raises:
            ValueError: A name has no number, or a slice is not grey.
        """
        middle = results['img_path']
        paths = [
            *reversed(self._paths(middle, -1)),
            middle,
            *self._paths(middle, 1),
        ]
        loaded = super().transform(dict(results, img_path=paths))
        if loaded['img'].ndim != 3:
            raise ValueError(f'{middle} has more than one channel')
        # Predictions are drawn on the middle slice.
        return dict(loaded, img_path=middle)

    def _paths(self, middle: str, step: int) -> list[str]:
        """Paths of the neighbours on one side, nearest first."""
        match = re.fullmatch(r'(.*?)(\d+)(\.[^./]*)?', middle)
        if match is None:
            raise ValueError(f'{middle} does not end in the number of a slice')
        head, digits, suffix = match.groups(default='')
        paths, last = [], middle
        for distance in range(1, self.neighbours + 1):
            number = int(digits) + step * distance
            names = (f'{number:0{len(digits)}d}', str(number))
            files = [f'{head}{name}{suffix}' for name in names]
            found = (file for file in files if exists(file, self.backend_args))
            last = next(found, last)
            paths.append(last)
        return paths

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(neighbours={self.neighbours}, '
            f'to_float32={self.to_float32}, '
            f'color_type={self.color_type!r}, '
            f'imdecode_backend={self.imdecode_backend!r})'
        )

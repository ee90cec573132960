"""mmdet's visualizer for semantic maps whose value 0 is the background."""

import numpy as np
from mmdet.registry import VISUALIZERS
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.structures import PixelData

BACKGROUND = 0
OBJECT_COLOUR = (0, 255, 255)


@VISUALIZERS.register_module()
class SemSegLocalVisualizer(DetLocalVisualizer):
    """Draw ``pred_sem_seg`` and ``gt_sem_seg`` with a background.

    The maps are those of a detector's semantic head: 0 is background, other
    values are label + 1, and ``ignore_index`` is not drawn. mmdet's own
    visualizer takes 0 for the first class, so it paints the background,
    misnames the objects and fails at the last class of a short palette.

    A class has the colour of its boxes. If the map has the metainfo
    ``label_names``, its values are not labels (for example 1 for all objects)
    and are cyan.

    Args:
        name: See ``DetLocalVisualizer``.
        args: See ``DetLocalVisualizer``.
        seg_alpha: Opacity of the map, which is drawn over boxes and names.
        kwargs: See ``DetLocalVisualizer``.
    """

    def __init__(
        self,
        # mmengine passes it by keyword to every visualizer.
        name: str = 'visualizer',
        *args,
        seg_alpha: float = 0.35,
        **kwargs,
    ) -> None:
        super().__init__(name, *args, **kwargs)
        self.seg_alpha = seg_alpha

    def _draw_sem_seg(
        self,
        image: np.ndarray,
        sem_seg: PixelData,
        classes: list[str] | None,
        palette: list[tuple] | None,
    ) -> np.ndarray:
        seg_map = sem_seg.sem_seg[0].numpy()
        unseen = (BACKGROUND, sem_seg.metainfo.get('ignore_index', 255))
        values = np.setdiff1d(seg_map, unseen)
        if 'label_names' in sem_seg:
            source: object = OBJECT_COLOUR
        else:
            source = palette if self.mask_color is None else self.mask_color
        colours = get_palette(source, int(values.max(initial=0)))
        self.set_image(image)
        for value in values:
            # mmengine does not accept the NumPy integers of a random palette.
            colour = tuple(map(int, colours[value - 1]))
            self.draw_binary_masks(
                seg_map == value, colors=colour, alphas=self.seg_alpha
            )
        return self.get_image()

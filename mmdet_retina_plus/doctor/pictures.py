"""Draw samples with boxes, masks and maps as the network gets them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def as_picture(inputs: Any) -> np.ndarray:
    """Convert an input (C, H, W) to an 8-bit RGB image."""
    image = inputs.detach().cpu().numpy().astype(float)
    channels = image[[0, len(image) // 2, -1]] if len(image) != 3 else image
    if channels.min() < 0 or channels.max() > 255:
        low, high = channels.min(), channels.max()
        channels = (channels - low) * 255 / max(high - low, 1e-12)
    elif len(image) == 3:
        channels = channels[::-1]  # mmcv reads BGR.
    return channels.transpose(1, 2, 0).astype(np.uint8)


def loads_late(steps: Sequence[Any]) -> bool:
    """Whether annotations are loaded after `Resize`, as for scoring."""
    names = [type(step).__name__ for step in steps]
    if 'LoadAnnotations' not in names:
        return False
    before = names[: names.index('LoadAnnotations')]
    return any(name.endswith('Resize') for name in before)


def resize_objects(sample: Any, shape: Sequence[int]) -> None:
    """Scale objects from the original image to the image shown.

    Args:
        sample: Data sample; its `gt_instances` are changed in place.
        shape: Height and width of the picture, including padding.
    """
    height, width = sample.ori_shape[:2]
    factors = sample.get('scale_factor')
    factors = factors or (shape[1] / width, shape[0] / height)
    objects = sample.gt_instances
    if 'bboxes' in objects:
        boxes = objects.bboxes
        objects.bboxes = boxes * boxes.new_tensor([*factors, *factors])
    if 'masks' in objects:
        size = (
            min(round(height * factors[1]), shape[0]),
            min(round(width * factors[0]), shape[1]),
        )
        objects.masks = objects.masks.resize(size).pad(tuple(shape))


def draw_samples(
    folder: Path,
    name: str,
    samples: Sequence[Any],
    classes: Sequence[str],
    late: bool = False,
) -> list[Path]:
    """Draw the ground truth of samples and save one PNG per sample.

    Args:
        folder: Output folder; it is created.
        name: Prefix of the file names.
        samples: Samples as the network gets them.
        classes: Class names by label.
        late: Whether objects are in pixels of the original image.
    """
    import torch
    from mmdet.visualization import DetLocalVisualizer
    from mmengine.structures import InstanceData

    from mmdet_retina_plus.visualization.class_palette import class_palette

    folder.mkdir(parents=True, exist_ok=True)
    visualizer = DetLocalVisualizer()
    meta = dict(classes=tuple(classes), palette='random')
    visualizer.dataset_meta = dict(meta, palette=class_palette(meta))
    files = []
    for number, sample in enumerate(samples):
        shown = sample['data_samples'].clone()
        if 'gt_instances' in shown:
            instances = shown.gt_instances
            boxes = instances.get('bboxes', torch.zeros(0, 4))
            given = {'bboxes': getattr(boxes, 'tensor', boxes)}
            for key in ('labels', 'masks'):
                if key in instances:
                    given[key] = instances[key]
            shown.gt_instances = InstanceData(**given)
            if late:
                resize_objects(shown, sample['inputs'].shape[-2:])
        file = folder / f'{name}-{number}.png'
        visualizer.add_datasample(
            name,
            as_picture(sample['inputs']),
            shown,
            draw_pred=False,
            out_file=str(file),
        )
        files.append(file)
    return files

"""Pictures of samples, with boxes, masks and maps as the network gets them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def as_picture(inputs: Any) -> np.ndarray:
    """Pixels of an input (C, H, W) as 8 bits in three channels, RGB."""
    image = inputs.detach().cpu().numpy().astype(float)
    channels = image[[0, len(image) // 2, -1]] if len(image) != 3 else image
    if channels.min() < 0 or channels.max() > 255:
        low, high = channels.min(), channels.max()
        channels = (channels - low) * 255 / max(high - low, 1e-12)
    elif len(image) == 3:
        channels = channels[::-1]  # mmcv reads BGR.
    return channels.transpose(1, 2, 0).astype(np.uint8)


def draw_samples(
    folder: Path, name: str, samples: Sequence[Any], classes: Sequence[str]
) -> list[Path]:
    """Draw the ground truth of samples into files of a folder."""
    import torch
    from mmdet.visualization import DetLocalVisualizer
    from mmengine.structures import InstanceData

    folder.mkdir(parents=True, exist_ok=True)
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = {'classes': tuple(classes), 'palette': 'random'}
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

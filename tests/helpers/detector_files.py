"""Configs with a test set, and checkpoints, as files."""

from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

from tests.helpers.models import detector_config

CLASSES = ('red', 'green', 'blue')


def write_config(path: Path, model, scale=None) -> Path:
    """A config of a test set; `scale` is the width and height to fit into."""
    resize = (
        dict(type='Resize', scale=scale, keep_ratio=True)
        if scale
        else dict(type='Resize', scale_factor=1.0)
    )
    config = Config(
        dict(
            default_scope='mmdet',
            model=dict(
                model,
                data_preprocessor=dict(
                    type='DetDataPreprocessor', pad_size_divisor=32
                ),
            ),
            test_dataloader=dict(
                dataset=dict(
                    type='CocoDataset',
                    metainfo=dict(classes=CLASSES),
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        resize,
                        dict(type='LoadAnnotations', with_bbox=True),
                        dict(type='PackDetInputs'),
                    ],
                )
            ),
        )
    )
    config.dump(path)
    return path


def retinanet(folder: Path, seed=0, stock=False, classes=3) -> list[str]:
    """Config and checkpoint of a narrow one, ours or mmdet's."""
    torch.manual_seed(seed)
    model = detector_config()
    model.bbox_head.num_classes = classes
    if stock:
        model.type, model.bbox_head.type = 'RetinaNet', 'RetinaHead'
    detector = MODELS.build(model)
    detector.init_weights()
    nn.init.normal_(detector.bbox_head.retina_cls.weight, std=0.3)
    name = f'{"stock" if stock else "ours"}-{seed}-{classes}'
    config = write_config(folder / f'{name}.py', model, scale=(128, 128))
    torch.save(detector.state_dict(), folder / f'{name}.pth')
    return [str(config), str(folder / f'{name}.pth')]

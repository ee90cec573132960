"""A detector that reads boxes off images, a narrow RetinaNet, and predict."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mmdet.models import BaseDetector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import nn

from mmdet_retina_plus.cli.predict import main
from tests.helpers.models import detector_config

CLASSES = ('red', 'green', 'blue')
POISON = 77
"""A grey that no model could bear."""


class SeeingDetector(BaseDetector):
    """Boxes around what is bright, scored by how bright it is."""

    def predict(self, batch_inputs, batch_data_samples, rescale=True):
        for image, sample in zip(
            batch_inputs, batch_data_samples, strict=True
        ):
            height, width = sample.img_shape
            sample.pred_instances = self.look(image[0, :height, :width])
            scale = torch.tensor(sample.scale_factor).repeat(2)
            sample.pred_instances.bboxes /= scale
        return batch_data_samples

    def look(self, pixels):
        if (pixels == POISON).any():
            raise RuntimeError('out of memory')
        bright = (pixels > 100).numpy().astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(bright)
        corners = torch.from_numpy(stats[1:, :4]).float()
        corners[:, 2:] += corners[:, :2]
        scores = [
            float(pixels[y1:y2, x1:x2].mean() / 255)
            for x1, y1, x2, y2 in corners.long().tolist()
        ]
        return InstanceData(
            bboxes=corners,
            scores=torch.tensor(scores),
            labels=torch.ones(len(corners), dtype=torch.long),
        )

    def extract_feat(self, batch_inputs):
        raise NotImplementedError

    loss = _forward = extract_feat


@pytest.fixture
def seeing(tmp_path):
    """Config and checkpoint of a detector that reads boxes off images."""
    MODELS.register_module(module=SeeingDetector)
    config = write_config(tmp_path / 'seeing.py', dict(type='SeeingDetector'))
    checkpoint = tmp_path / 'seeing.pth'
    torch.save(dict(state_dict={}), checkpoint)
    yield [str(config), str(checkpoint)]
    MODELS.module_dict.pop('SeeingDetector')


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


def write_image(path: Path, *boxes, size=(90, 120), grey=255) -> str:
    """A black image of a height and width with bright boxes."""
    image = np.zeros((*size, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = grey
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return str(path)


def run(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result.output


def read(path: Path):
    return json.loads(path.read_text())


def noise(path: Path, seed: int) -> str:
    image = np.random.default_rng(seed).integers(0, 256, (90, 120, 3))
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), image.astype(np.uint8))
    return str(path)


def annotations(path: Path, *images, names=CLASSES) -> Path:
    """A COCO file of images and categories 10, 20, ..."""
    coco = dict(
        images=[
            dict(id=number, file_name=name, width=120, height=90)
            for number, name in images
        ],
        categories=[
            dict(id=10 * i, name=name) for i, name in enumerate(names, 1)
        ],
        annotations=[],
    )
    path.write_text(json.dumps(coco))
    return path

"""A detector that reads boxes off images."""

import cv2
import numpy as np
import pytest
import torch
from mmdet.models import BaseDetector
from mmdet.registry import MODELS
from mmengine.structures import InstanceData

from tests.helpers.detector_files import CLASSES, write_config

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


def interrupt(monkeypatch, done: int) -> None:
    """Ctrl-C at every image but the first ones."""
    look, seen = SeeingDetector.look, []

    def interrupted(self, pixels):
        if len(seen) == done:
            raise KeyboardInterrupt
        seen.append(pixels)
        return look(self, pixels)

    monkeypatch.setattr(SeeingDetector, 'look', interrupted)


@pytest.fixture
def seeing(tmp_path):
    """Config and checkpoint of a detector that reads boxes off images."""
    MODELS.register_module(module=SeeingDetector)
    config = write_config(tmp_path / 'seeing.py', dict(type='SeeingDetector'))
    checkpoint = tmp_path / 'seeing.pth'
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict={}, meta=meta), checkpoint)
    yield [str(config), str(checkpoint)]
    MODELS.module_dict.pop('SeeingDetector')

"""Three small images, an untrained detector, and loss-cdf of them."""

import errno
from pathlib import Path

import pytest
import torch
from mmdet.models import RetinaHead
from torch import nn

from mmdet_retina_plus import config
from mmdet_retina_plus.cli.loss_cdf import main
from mmdet_retina_plus.common.config_file import load_config
from mmdet_retina_plus.synthetic.shapes import make_shapes
from tests.helpers import commands
from tests.helpers.models import detector_config
from tests.helpers.shipped_configs import build_detector

IMAGES = 3


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Three small images, a config and an untrained checkpoint."""
    root = tmp_path_factory.mktemp('cdf')
    make_shapes(root / 'set', num=2, num_val=IMAGES, size=96)
    cfg = load_config(config('retinanet_r18_fpn_shapes'))
    cfg.model = detector_config(
        data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32)
    )
    cfg.model.bbox_head.num_classes = 4
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.data_root = f'{root / "set"}/'
        for step in dataset.pipeline:
            if step.type == 'Resize':
                step.scale = (96, 96)
    cfg.dump(root / 'config.py')
    torch.manual_seed(0)
    model = build_detector(cfg)
    nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.3)
    torch.save(model.state_dict(), root / 'weights.pth')
    return root


def run(folder: Path, *arguments, code=0, checkpoint='weights.pth') -> str:
    files = (folder / 'config.py', folder / checkpoint)
    return commands.invoke(main, *files, *arguments, code=code)


def read(out: Path, name='loss_cdf') -> dict:
    return commands.read(out / f'{name}.json')


def stop_at(monkeypatch, done: int, error: BaseException) -> None:
    """Stop at every image but the first ones."""
    loss, seen = RetinaHead.loss, []

    def stopped(self, *args):
        if len(seen) == done:
            raise error
        seen.append(args)
        return loss(self, *args)

    monkeypatch.setattr(RetinaHead, 'loss', stopped)


def fail_to_draw(*args) -> bytes:
    raise OSError(errno.ENOSPC, 'No space left')

import pytest

from mmdet_retina_plus.sweeps import worker
from tests.helpers.shipped_configs import load


@pytest.fixture
def journal(tmp_path):
    """Path of a study's journal."""
    return str(tmp_path / 'study.log')


@pytest.fixture
def hasty(monkeypatch):
    """Workers that look at their runs every moment."""
    monkeypatch.setattr(worker, 'POLL', 0.05)


@pytest.fixture
def cfg(tmp_path):
    """A config whose annotation files are there."""
    cfg = load('retinanet_r18_fpn_shapes')
    for split in ('train', 'val'):
        (tmp_path / f'instances_{split}.json').write_text('{}')
        cfg[f'{split}_dataloader'].dataset.data_root = str(tmp_path)
    return cfg

"""Configs for sahi, which looks for masks in the training pipeline."""

from collections.abc import Sequence

from mmengine.config import Config

from mmdet_retina_plus.common.config_file import read_config


def sahi_config(config: str, cfg_options: Sequence[str] = ()) -> Config:
    """Make a config for `config_path` of sahi's `AutoDetectionModel`.

    sahi expects masks from a detector whose *training* pipeline loads masks.
    It stops with ``KeyError: 'masks'`` if they only train pixels (Retina
    U-Net) or if the mask branch is off. In this config, the training pipeline
    loads masks only if the detector predicts them; the rest of the training
    data is removed.

    Args:
        config: Config file.
        cfg_options: Changes, each KEY=VALUE.

    Raises:
        ValueError: The config or a change cannot be read.
        ImportError: The environment is broken.
    """
    cfg = read_config(config, cfg_options)
    branch = cfg.model.get('roi_head') or {}
    gives_masks = 'mask_head' in cfg.model or (
        'mask_head' in branch
        and (branch.get('test_cfg') or {}).get('with_mask', True)
    )
    pipeline = [dict(type='LoadAnnotations', with_mask=bool(gives_masks))]
    cfg.train_dataloader = dict(
        dataset=dict(type='CocoDataset', pipeline=pipeline)
    )
    cfg.setdefault('visualizer', dict(type='DetLocalVisualizer'))
    return cfg

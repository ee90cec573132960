"""Settings of torch and mmengine that make a training step faster."""

import copy

import torch
from mmengine.config import Config

# mmdet's tools look a `runner_type` up here, before there is a default scope.
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn


@RUNNERS.register_module()
class FastRunner(Runner):
    """mmengine's Runner with settings for speed.

    ``runner_type = 'FastRunner'`` selects it; ``configs/_base_/fast.py`` is
    that line. It keeps weights and feature maps in channels-last order, and
    workers of data loaders alive between epochs. On a GPU it also sets:

    - bfloat16 autocast, or float16 with dynamic loss scaling if the GPU has no
      bfloat16;
    - TF32 for what stays in float32, and cuDNN's benchmark;
    - pinned memory, and copies to the GPU that do not block.

    Weights drawn at random depend on their order in memory: a seed gives other
    ones than under Runner.

    What the config sets itself stays: an ``optim_wrapper`` of another type
    than ``OptimWrapper``, or ``pin_memory=False``.

    The config's ``compile_backbone`` holds arguments of ``torch.compile`` for
    backbone and neck, such as ``dict(mode='reduce-overhead')``.

    Raises:
        ValueError: ``compile_backbone`` is not a dict.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'FastRunner':
        cfg = with_fast_settings(cfg, torch.cuda.is_available())
        return super().from_cfg(cfg)

    def setup_env(self, env_cfg: dict) -> None:
        super().setup_env(env_cfg)
        if torch.cuda.is_available():
            torch.set_float32_matmul_precision('high')

    def wrap_model(
        self, model_wrapper_cfg: dict | None, model: nn.Module
    ) -> nn.Module:
        if not torch.cuda.is_available():
            self.logger.info('FastRunner: there is no GPU, so no autocast')
        model = model.to(  # type: ignore[call-overload]
            memory_format=torch.channels_last
        )
        options = self.cfg.get('compile_backbone')
        if options is not None:
            # In place: a copy of the model, as EMA makes it, is not compiled.
            # A compiled method of it would run this model instead.
            for name, part in model.named_children():
                if name in ('backbone', 'neck'):
                    part.compile(**options)
        return super().wrap_model(model_wrapper_cfg, model)


def with_fast_settings(cfg: Config, on_gpu: bool) -> Config:
    """Copy a config and fill in the settings of ``FastRunner``.

    Args:
        cfg: Config of a training.
        on_gpu: Also set what needs a GPU.

    Raises:
        ValueError: ``compile_backbone`` is not a dict.
    """
    cfg = copy.deepcopy(cfg)
    options = cfg.get('compile_backbone')
    if options is not None and not isinstance(options, dict):
        raise ValueError(
            f'compile_backbone is {options!r}: set arguments of torch.compile,'
            " such as dict(mode='reduce-overhead'), or None"
        )
    loaders = [
        cfg[name]
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader')
        if cfg.get(name)
    ]
    for loader in loaders:
        if loader.get('num_workers', 0):
            loader.setdefault('persistent_workers', True)
    if not on_gpu:
        return cfg
    for loader in loaders:
        loader.setdefault('pin_memory', True)
    cfg.model.setdefault('data_preprocessor', {}).setdefault(
        'non_blocking', True
    )
    cfg.setdefault('env_cfg', {})['cudnn_benchmark'] = True
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type', 'OptimWrapper') == 'OptimWrapper':
        wrapper.update(type='AmpOptimWrapper', **autocast_settings())
    return cfg


def autocast_settings() -> dict:
    # Older GPUs have bfloat16 in software only.
    if torch.cuda.get_device_capability() >= (8, 0):
        # bfloat16 has float32's range. Scaling would make each step wait for
        # the GPU.
        return dict(dtype='bfloat16', loss_scale=dict(enabled=False))
    return dict(dtype='float16', loss_scale='dynamic')

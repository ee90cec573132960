"""Settings of torch and mmengine that make a training step faster."""

import copy

import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper

# mmdet's tools look a `runner_type` up here, before there is a default scope.
from mmengine.registry import OPTIM_WRAPPERS, RUNNERS
from mmengine.runner import Runner
from torch import nn


@RUNNERS.register_module()
class FastRunner(Runner):
    """mmengine's Runner with settings for speed on a GPU.

    ``runner_type = 'FastRunner'`` selects it; ``configs/_base_/fast.py`` is
    that line. On a CPU, where none of this helps, it is a Runner. It sets:

    - weights and feature maps in channels-last order;
    - bfloat16 autocast, or float16 with dynamic loss scaling if the GPU has no
      bfloat16;
    - TF32 for what stays in float32;
    - workers of data loaders that outlive an epoch, pinned memory, and copies
      to the GPU that do not block.

    Weights drawn at random depend on their order in memory: a seed gives other
    ones than under Runner.

    What the config sets itself stays: an ``optim_wrapper`` of another class
    than ``OptimWrapper``, or ``pin_memory=False``.

    The config's ``compile_backbone`` holds arguments of ``torch.compile`` for
    backbone and neck, such as ``dict(mode='reduce-overhead')``.

    Raises:
        ValueError: ``compile_backbone`` is not a dict, or the model has no
            backbone.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'FastRunner':
        check_compile_backbone(cfg)
        return super().from_cfg(with_fast_settings(cfg) if on_gpu() else cfg)

    def setup_env(self, env_cfg: dict) -> None:
        super().setup_env(env_cfg)
        if on_gpu():
            torch.set_float32_matmul_precision('high')

    def wrap_model(
        self, model_wrapper_cfg: dict | None, model: nn.Module
    ) -> nn.Module:
        if on_gpu():
            model = model.to(  # type: ignore[call-overload]
                memory_format=torch.channels_last
            )
            compile_parts(model, self.cfg.get('compile_backbone'))
        else:
            self.logger.info('There is no GPU: FastRunner changes nothing')
        return super().wrap_model(model_wrapper_cfg, model)


def on_gpu() -> bool:
    return torch.cuda.is_available()


def check_compile_backbone(cfg: Config) -> None:
    """Refuse what would fail after the model is built.

    Raises:
        ValueError: ``compile_backbone`` is not a dict.
    """
    options = cfg.get('compile_backbone')
    if options is not None and not isinstance(options, dict):
        raise ValueError(
            f'compile_backbone is {options!r}: set arguments of torch.compile,'
            " such as dict(mode='reduce-overhead'), or None"
        )


def compile_parts(model: nn.Module, options: dict | None) -> None:
    """Compile backbone and neck in place.

    A copy of the model, as EMA makes it, is not compiled. A compiled method of
    it would run this model instead.

    Args:
        model: A detector, or one in test-time augmentation.
        options: Arguments of ``torch.compile``, None for not at all.

    Raises:
        ValueError: The model has no backbone.
    """
    if options is None:
        return
    detector = getattr(model, 'module', model)
    parts = dict(detector.named_children())
    if 'backbone' not in parts:
        raise ValueError(
            f'{type(detector).__name__} has no backbone to compile: leave '
            'compile_backbone out'
        )
    for name in ('backbone', 'neck'):
        if name in parts:
            parts[name].compile(**options)


def with_fast_settings(cfg: Config) -> Config:
    """Copy a config and fill in the settings of ``FastRunner``."""
    cfg = copy.deepcopy(cfg) if isinstance(cfg, Config) else Config(cfg)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader:
            loader.setdefault('pin_memory', True)
        if loader and loader.get('num_workers', 0):
            loader.setdefault('persistent_workers', True)
    for part in (cfg, cfg.model):
        preprocessor = part.get('data_preprocessor') or {}
        kind = preprocessor.get('type')
        if isinstance(kind, str):
            kind = MODELS.get(kind)
        # Others may not take the argument.
        if kind is DetDataPreprocessor:
            preprocessor.setdefault('non_blocking', True)
    wrapper = cfg.get('optim_wrapper') or {}
    kind = wrapper.get('type', OptimWrapper)
    if isinstance(kind, str):
        kind = OPTIM_WRAPPERS.get(kind)
    # A constructor may build several optimizers, each with its wrapper.
    if kind is OptimWrapper and 'optimizer' in wrapper:
        wrapper.update(autocast_settings())
    elif wrapper:
        print_log(
            'FastRunner leaves the optim_wrapper of the config as it is',
            logger='current',
        )
    return cfg


def autocast_settings() -> dict:
    """Autocast options of an ``optim_wrapper``."""
    # Older GPUs have bfloat16 in software only.
    if torch.cuda.get_device_capability() >= (8, 0):
        # bfloat16 has float32's range. Scaling would make each step wait for
        # the GPU.
        precision = dict(dtype='bfloat16', loss_scale=dict(enabled=False))
    else:
        precision = dict(dtype='float16', loss_scale='dynamic')
    return dict(type='AmpOptimWrapper', **precision)

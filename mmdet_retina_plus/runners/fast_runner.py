"""Settings of torch and mmengine that make a training step faster."""

import copy

import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper

# mmdet's tools look up `runner_type` here, before a default scope is set.
from mmengine.registry import OPTIM_WRAPPERS, RUNNERS
from mmengine.runner import Runner
from torch import Tensor, nn


@RUNNERS.register_module()
class FastRunner(Runner):
    """mmengine's Runner with settings for speed on a GPU.

    Select it by ``runner_type = 'FastRunner'`` or the base
    ``configs/_base_/fast.py``. On a CPU, where none of this helps, it behaves
    like Runner. It sets:

    - channels-last weights and feature maps, except in mmcv's operators;
    - bfloat16 autocast, or float16 with dynamic loss scaling if the GPU has no
      bfloat16;
    - TF32 for matrix products in float32;
    - data loader workers that outlive an epoch, pinned memory, and
      non-blocking copies to the GPU.

    Random initialisation depends on the memory layout, so the same seed gives
    other weights than with Runner.

    It does not change what the config sets itself, such as an
    ``optim_wrapper`` of another class than ``OptimWrapper`` or
    ``pin_memory=False``.

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
            keep_operators_contiguous(model)
            compile_parts(model, self.cfg.get('compile_backbone'))
        else:
            self.logger.info('There is no GPU: FastRunner changes nothing')
        return super().wrap_model(model_wrapper_cfg, model)


def on_gpu() -> bool:
    return torch.cuda.is_available()


def keep_operators_contiguous(model: nn.Module) -> None:
    """Give mmcv's operators contiguous weights and inputs.

    RoIAlign ignores strides, so it would pool wrong values. Deformable
    convolutions refuse weights that are not contiguous.
    """
    for module in model.modules():
        if any(
            base.__module__.startswith('mmcv.ops.')
            for base in type(module).__mro__
        ):
            module.to(  # type: ignore[call-overload]
                memory_format=torch.contiguous_format
            )
            module.register_forward_pre_hook(make_contiguous)


def make_contiguous(module: nn.Module, inputs: tuple) -> tuple:
    return tuple(
        value.contiguous() if isinstance(value, Tensor) else value
        for value in inputs
    )


def check_compile_backbone(cfg: Config) -> None:
    """Check ``compile_backbone`` before the model is built.

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

    Copies of the model, such as EMA's, are not compiled: a compiled method of
    a copy would run this model instead.

    Args:
        model: A detector, or one in test-time augmentation.
        options: Arguments of ``torch.compile``, or None to do nothing.

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
        # Other preprocessors may not accept the argument.
        if kind is DetDataPreprocessor:
            preprocessor.setdefault('non_blocking', True)
    wrapper = cfg.get('optim_wrapper') or {}
    kind = wrapper.get('type', OptimWrapper)
    if isinstance(kind, str):
        kind = OPTIM_WRAPPERS.get(kind)
    # A constructor may build several optimizers, each with its own wrapper.
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
    # Older GPUs support bfloat16 in software only.
    if torch.cuda.get_device_capability() >= (8, 0):
        # bfloat16 has float32's range. Loss scaling would synchronise in each
        # step.
        precision = dict(dtype='bfloat16', loss_scale=dict(enabled=False))
    else:
        precision = dict(dtype='float16', loss_scale='dynamic')
    return dict(type='AmpOptimWrapper', **precision)

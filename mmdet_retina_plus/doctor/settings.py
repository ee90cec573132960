"""Settings that a config accepts and that spoil its training in silence."""

from . import (
    assignment_settings,
    loader_settings,
    loss_settings,
    mask_settings,
    model_fit,
    pipeline_settings,
    preprocessor_settings,
)

CHECKS = (
    *assignment_settings.CHECKS,
    *loss_settings.CHECKS,
    *mask_settings.CHECKS,
    *model_fit.CHECKS,
    *loader_settings.CHECKS,
    *pipeline_settings.CHECKS,
    *preprocessor_settings.CHECKS,
)

"""Settings that a config accepts and that silently harm training."""

from . import (
    assignment_settings,
    loader_settings,
    loss_settings,
    mask_settings,
    model_fit,
    optimizer_settings,
    paramwise_settings,
    pipeline_settings,
    preprocessor_settings,
    reach,
    result_settings,
)

CHECKS = (
    *assignment_settings.CHECKS,
    *loss_settings.CHECKS,
    *mask_settings.CHECKS,
    *model_fit.CHECKS,
    *loader_settings.CHECKS,
    *pipeline_settings.CHECKS,
    *preprocessor_settings.CHECKS,
    *result_settings.CHECKS,
    *optimizer_settings.CHECKS,
    *paramwise_settings.CHECKS,
    *reach.CHECKS,
)

"""The console script `retina-plus`; it also starts where mmdet is broken."""

import os

SWITCH = 'MMDET_RETINA_PLUS_REGISTER'

os.environ[SWITCH] = '0'
from mmdet_retina_plus.cli.main import main  # noqa: E402

# Trainings that a sweep starts inherit the environment, and must register.
del os.environ[SWITCH]

__all__ = ['main']

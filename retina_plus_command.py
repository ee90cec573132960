"""The console script `retina-plus`; it also starts where mmdet is broken.

Importing the package registers its modules, which needs mmdet, unless the
environment variable MMDET_RETINA_PLUS_REGISTER is 0. Here it is so for the
import of the command alone: sub-commands register when they read a config,
and what they start, such as the trainings of a sweep, registers as ever.
"""

import os

SWITCH = 'MMDET_RETINA_PLUS_REGISTER'

before = os.environ.get(SWITCH)
os.environ[SWITCH] = '0'
try:
    from mmdet_retina_plus.cli.main import main
finally:
    del os.environ[SWITCH]
    if before is not None:
        os.environ[SWITCH] = before

__all__ = ['main']

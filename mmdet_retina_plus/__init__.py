"""One-stage detection for an installed mmdetection 3.x.

Importing the package registers its modules in mmdet's registries.
"""

__version__ = '0.1.0'

"""Packaging of mmdet_retina_plus, with a reason for every version bound."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r"__version__ = '(.+)'",
    (ROOT / 'mmdet_retina_plus/__init__.py').read_text(encoding='utf-8'),
)[1]

# The two host stacks share their import names but not their distribution
# names, so neither is a hard dependency: `retina-plus doctor` checks.
UPSTREAM = [
    'mmdet>=3.3,<3.4',  # 3.3 is the last release; its heads are our parents
    'mmengine>=0.10.5,<1',  # the range that mmdet 3.3 accepts
    'mmcv>=2.0.1,<2.2',  # mmdet 3.3 asserts mmcv < 2.2 at import
    'setuptools>=77.0.3,<82',  # 82 dropped pkg_resources, which mim imports
]
ONEDL = [
    'onedl-mmdetection>=3.5,<4',  # same import names as mmdet 3.3
    'onedl-mmengine>=0.10.10',
    'onedl-mmcv>=2.3',
    'onedl-mim>=0.5.1',
]
SWEEP = [
    'optuna>=4.5,<6',  # its journal storage
    'psutil>=5.9',  # ends children of torchrun
    'pandas>=2.1',  # DataFrame.map
    'tabulate>=0.9',  # its Markdown
    'jinja2>=3',
    'altair>=6,<7',  # Vega-Lite 6, which vl-convert draws without a browser
    'vl-convert-python>=1.9',  # a bundle with Vega's interpreter
]
EVALUATE = ['plotly>=5.24']  # its script is embedded in the page
FAST = ['faster-coco-eval>=1.7']  # torch-free COCO evaluation
EXPORT = [
    'onnx>=1.16',
    'onnxruntime>=1.18',  # runs the file to compare it with the checkpoint
]
DOCS = [
    'mkdocs-material>=9.6,<10',  # brings MkDocs
    'mkdocstrings[python]>=1',
    'mkdocs-click>=0.9',
]
TEST = [
    'pytest>=8',
    'pytest-xdist>=3.6',  # `make test` on two cores
    'hypothesis>=6.100',
    'mpmath>=1.3',  # the 50-digit oracle of the focal loss
    # The kernels run in its interpreter and compile without a card; 3.6 fails
    # on numpy 2.4.
    'triton>=3.7; platform_system == "Linux"',
    'psycopg[binary]>=3.1',  # a study in PostgreSQL
    # The backends of docs/training-statistics.md; skinny is MLflow without
    # its server.
    'tensorboard>=2.18',
    'wandb>=0.19',
    'mlflow-skinny>=3',
    'sahi>=0.12',  # the examples of docs/tiling.md
    'supervision>=0.31',
    'tifffile>=2024.1.30',  # images of many channels, docs/medical-images.md
    'ruff==0.17.*',  # formatting differs between minor releases
    'mypy>=1.15',
]

setup(
    name='mmdet_retina_plus',
    version=VERSION,
    description='One-stage detection for an installed mmdetection 3.x',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=[
        *find_packages(include=['mmdet_retina_plus*']),
        'mmdet_retina_plus.configs',
    ],
    py_modules=['retina_plus_command'],  # the console script
    # Configs live beside the package in a checkout and inside of it in a
    # wheel; `mmdet_retina_plus.config` finds them in both.
    package_dir={'mmdet_retina_plus.configs': 'configs'},
    package_data={
        'mmdet_retina_plus.configs': ['*.md', '*/*.py'],
        'mmdet_retina_plus.sweeps': ['*.html'],
    },
    install_requires=[
        'click>=8',
        'matplotlib>=3.7',
        'numpy>=1.24',
        'packaging>=22',
        'pycocotools>=2.0.7',
        'rich>=13.4',  # not newer: openxlab, which openmim pulls in, pins it
    ],
    extras_require={
        'upstream': UPSTREAM,
        'onedl': ONEDL,
        'sweep': SWEEP,
        'evaluate': EVALUATE,
        'fast': FAST,
        'export': EXPORT,
        'docs': DOCS,
        'test': [*SWEEP, *EVALUATE, *FAST, *EXPORT, *TEST],
    },
    entry_points={
        'console_scripts': ['retina-plus = retina_plus_command:main']
    },
)

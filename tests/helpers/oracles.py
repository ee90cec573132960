"""Numbers of the original authors' code and of the papers, to compare with."""

import json
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent.parent / 'oracles'


def read_oracle(name: str) -> dict[str, Any]:
    """Content of ``tests/oracles/<name>.json``; `about` says whose it is."""
    return json.loads((FOLDER / f'{name}.json').read_text())


def exact_level(scale: np.ndarray | float, k0: int) -> np.ndarray | float:
    """The authors' level of boxes of sqrt(area) `scale`, neither cut."""
    return k0 + np.log2(scale / 224 + 1e-6)

"""Numbers of the original authors' code and of the papers, to compare with."""

import json
from pathlib import Path
from typing import Any

import mpmath
import numpy as np

FOLDER = Path(__file__).parent.parent / 'oracles'


def read_oracle(name: str) -> dict[str, Any]:
    """Content of ``tests/oracles/<name>.json``; `about` says whose it is."""
    return json.loads((FOLDER / f'{name}.json').read_text())


def exact_level(scale: np.ndarray | float, k0: int) -> np.ndarray | float:
    """The authors' level of boxes of sqrt(area) `scale`, neither cut."""
    return k0 + np.log2(scale / 224 + 1e-6)


def exact_focal(logit, target, gamma, alpha):
    """Loss and gradient by the definition, in 50 digits."""
    with mpmath.workdps(50):
        z = mpmath.mpf(logit) * (1 if target else -1)
        p = 1 / (1 + mpmath.exp(-z))
        q = 1 / (1 + mpmath.exp(z))
        minus_ln_p = mpmath.log1p(mpmath.exp(-z))
        alpha_t = mpmath.mpf(alpha) if target else 1 - mpmath.mpf(alpha)
        factor = alpha_t * q ** mpmath.mpf(gamma)
        slope = factor * (gamma * p * minus_ln_p + q)
        return float(factor * minus_ln_p), float(-slope if target else slope)

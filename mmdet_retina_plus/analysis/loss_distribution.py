"""Distribution of the classification loss over anchors, in bounded memory.

Figure 4 of the focal loss paper, arXiv 1708.02002. Everything is computed on
logarithms, since at gamma 5 the loss of an easy background underflows.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

LOWEST = -1024
"""Logarithm of the loss below which all values share a bin."""
HIGHEST = 32
BINS_PER_UNIT = 128
CHUNK = 2**20
"""Logits per step."""


class LogHistogram:
    """Cumulative distribution of values, without keeping the values.

    A bin has the number and the sum of values that differ by at most a factor
    of r = exp(1 / BINS_PER_UNIT). The curve is exact at the edges of bins.
    Within a bin it is a chord of the true curve, and exceeds it by at most
    (sqrt(r) - 1) / (sqrt(r) + 1) = tanh(ln(r) / 4) < .002 of the bin's sum.
    This does not hold for values below exp(LOWEST) or above exp(HIGHEST),
    which share a bin each.
    """

    ERROR = float(np.tanh(0.25 / BINS_PER_UNIT))
    """Bound of the curve's error, relative to the sum of the bin."""

    def __init__(self) -> None:
        bins = (HIGHEST - LOWEST) * BINS_PER_UNIT
        self.counts = np.zeros(bins, np.int64)
        # In units of the bin's lower end, so that no sum underflows.
        self.sums = np.zeros(bins)

    def add(self, logs: NDArray) -> None:
        """Add values, given their logarithms in any shape."""
        logs = np.asarray(logs, np.float64).ravel()
        bins = len(self.counts)
        index = np.floor((logs - LOWEST) * BINS_PER_UNIT)
        index = index.clip(0, bins - 1).astype(np.int64)
        ratios = np.exp(logs - lower_end(index))
        self.counts += np.bincount(index, minlength=bins)
        self.sums += np.bincount(index, ratios, bins)

    def __add__(self, other: 'LogHistogram') -> 'LogHistogram':
        """Histogram of the values of both."""
        both = LogHistogram()
        np.add(self.counts, other.counts, out=both.counts)
        np.add(self.sums, other.sums, out=both.sums)
        return both

    @property
    def count(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    def curve(self) -> tuple[NDArray, NDArray]:
        """Vertices of the cumulative distribution, lowest values first.

        Returns:
            Fractions of the values, from 0 to 1, and their shares of the sum,
            from 0 to 1.

        Raises:
            ValueError: There are no values.
        """
        (filled,) = self.counts.nonzero()
        if not len(filled):
            raise ValueError('No values, so they have no distribution')
        # Sums that underflow here are negligible.
        scale = np.exp(lower_end(filled) - lower_end(filled[-1]))
        numbers, sums = (
            np.concatenate([[0.0], np.cumsum(values)])
            for values in (self.counts[filled], self.sums[filled] * scale)
        )
        return numbers / numbers[-1], sums / sums[-1]

    def cumulative(self, fractions: NDArray) -> NDArray:
        """Share of the lowest `fractions` of values in the sum."""
        return np.interp(fractions, *self.curve())

    def hardest(self, fraction: float) -> float:
        """Share of the highest `fraction` of values in the sum."""
        return 1 - float(self.cumulative(np.array(1 - fraction)))


def lower_end(index: NDArray) -> NDArray:
    """Lower end of bins, as a logarithm."""
    return LOWEST + index / BINS_PER_UNIT


class LossSpread:
    """Distributions of the focal loss of positives and of negatives.

    Args:
        gammas: Gammas of the losses.

    Attributes:
        positives, negatives: A `LogHistogram` per gamma.
    """

    def __init__(self, gammas: list[float]) -> None:
        self.positives = {gamma: LogHistogram() for gamma in gammas}
        self.negatives = {gamma: LogHistogram() for gamma in gammas}

    def add(self, logits: Tensor, labels: Tensor, use_sigmoid: bool) -> None:
        """Add the losses of anchors, see `background_logits`.

        An interruption leaves some of them out.
        """
        groups = (self.positives, self.negatives)
        rows = max(1, CHUNK // logits.size(1))
        for chunk in zip(logits.split(rows), labels.split(rows), strict=True):
            logits_of = background_logits(*chunk, use_sigmoid)
            for group, terms in zip(groups, logits_of, strict=True):
                log_p, log_u = log_terms(terms)
                for gamma, histogram in group.items():
                    losses = (gamma * log_p + log_u).logsumexp(dim=1)
                    histogram.add(losses.cpu().numpy())

    def __add__(self, other: 'LossSpread') -> 'LossSpread':
        """Distributions of the anchors of both."""
        both = LossSpread([])
        for gamma in self.positives:
            both.positives[gamma] = (
                self.positives[gamma] + other.positives[gamma]
            )
            both.negatives[gamma] = (
                self.negatives[gamma] + other.negatives[gamma]
            )
        return both


def background_logits(
    logits: Tensor, labels: Tensor, use_sigmoid: bool
) -> tuple[Tensor, Tensor]:
    """Binary background logits whose focal losses add up to an anchor's loss.

    A positive anchor has the term of its class, a negative anchor those of all
    classes. A softmax is also a sigmoid: of the logit of the class minus the
    log-sum-exp of all other logits.

    Args:
        logits: Shape (N, C), for a softmax (N, C + 1).
        labels: Shape (N,), background is C.
        use_sigmoid: Whether the loss uses a sigmoid, without a background
            logit.

    Returns:
        Logits of positive anchors, shape (P, 1), and of negative anchors,
        shape (N - P, C), for a softmax (N - P, 1), in at least single
        precision.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    column = labels.long()[:, None]
    if use_sigmoid:
        positive = labels < logits.size(1)
        own = logits[positive].gather(1, column[positive])
        return -own, logits[~positive]
    positive = labels < logits.size(1) - 1
    others = logits.scatter(1, column, -torch.inf).logsumexp(1, keepdim=True)
    margins = others - logits.gather(1, column)
    return margins[positive], margins[~positive]


def log_terms(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Compute ln p and ln(-ln(1 - p)) of p = sigmoid(logits).

    Gamma times the first plus the second is the logarithm of a background's
    focal loss without alpha.
    """
    # Below -20, the second equals the logit up to 1e-9.
    log_u = F.softplus(logits).log().where(logits > -20, logits)
    return F.logsigmoid(logits), log_u

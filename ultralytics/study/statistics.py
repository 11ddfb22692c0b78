"""What a difference between two arms of a study can be said to be.

Two things vary: how training went (seeds), and which images it was tested on. The variance of the images is found by
drawing them with repetition, that of the seeds from the seeds, and the interval is Student's with the degrees of
freedom of both. A bootstrap of six seeds is too narrow, and its corrections (BCa) added more noise than they removed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ultralytics.utils.types import Float64Array

EXACT = 14  # seeds up to which all signs are tried
FLIPS = 20_000  # random ones beyond
POWER = 0.8
SHOWN = 0.05


@dataclass(frozen=True)
class Difference:
    """An arm against the control, in the figure's unit."""

    mean: float  # over the seeds
    # low, high: its 95 % interval
    low: float
    high: float
    p: float  # of the sign-flip test, two-sided
    # seeds, images: how many there were
    seeds: int
    images: int
    per_seed: tuple[float, ...]  # the differences
    error: float  # standard error, of seeds and images together
    detectable: float  # the smallest true difference that a study of this spread and size finds in four of five cases

    @property
    def verdict(self) -> str:
        """gains, costs, or what the interval leaves open. The first two need both: an interval without 0, which counts
        seeds and images, and a p of 0.05 at most, which six seeds are the fewest to reach."""
        if self.p <= SHOWN and self.low > 0:
            return "gains"
        if self.p <= SHOWN and self.high < 0:
            return "costs"
        return f"no difference of more than {max(0.0, -self.low, self.high):.4f} shown"


def compare(
    arm: Float64Array,
    control: Float64Array,
    resampled_arm: Float64Array,
    resampled_control: Float64Array,
    images: int,
    level: float = 0.95,
) -> Difference:
    """Compare two arms that were trained with the same seeds and tested on the same images.

    Args:
        arm, control: (S,) the figure of each seed.
        resampled_arm, resampled_control: (S, R) the same on R draws of the test images, the same draws for all.
        images: in the split; level: of the interval.

    Returns:
        The difference. With one seed the interval is of the images alone, and p is 1.

    Raises:
        ValueError: shapes that do not belong together.
    """
    differences = np.asarray(arm, np.float64) - np.asarray(control, np.float64)
    drawn = np.asarray(resampled_arm, np.float64) - np.asarray(resampled_control, np.float64)
    if differences.ndim != 1 or drawn.ndim != 2 or len(drawn) != len(differences) or not drawn.size:
        raise ValueError(f"differences of shape {differences.shape} and draws of {drawn.shape} do not belong together")
    count = len(differences)
    mean = float(differences.mean())
    of_seeds, of_images = _variances(differences, drawn, images)
    error = float(np.sqrt(of_seeds + of_images))
    freedom = _freedom(of_seeds, count - 1, of_images, images - 1)
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    low, high = mean - half, mean + half
    reach = float(stats.t.ppf((1 + level) / 2, freedom) + stats.t.ppf(POWER, freedom))
    return Difference(
        mean, low, high, sign_flip(differences), count, images, tuple(map(float, differences)), error, reach * error
    )


def _variances(differences: Float64Array, drawn: Float64Array, images: int) -> tuple[float, float]:
    """Variance of the mean difference that comes of the seeds, and that of the images.

    How a seed fares on just these images is in the spread of the differences already, so it is taken out of the draws.
    """
    count = len(differences)
    middle = drawn.mean(0)
    wider = images / max(images - 1, 1)  # draws with repetition vary too little by this
    of_images = float(middle.var(ddof=1)) * wider
    if count == 1:
        return 0.0, of_images
    both = float((drawn - middle).var(1, ddof=1).sum()) / (count - 1) * wider
    return float(differences.var(ddof=1)) / count, max(of_images - both / count, 0.0)


def _freedom(of_seeds: float, seeds: int, of_images: float, images: int) -> float:
    """Degrees of freedom of the sum of two variances (Satterthwaite)."""
    parts = of_seeds**2 / max(seeds, 1) + of_images**2 / max(images, 1)
    return (of_seeds + of_images) ** 2 / parts if parts else float(max(seeds, images, 1))


def sign_flip(differences: Float64Array, seed: int = 0) -> float:
    """The two-sided p of the hypothesis that each difference could as well have the other sign: 1/2^(S−1) at least."""
    count = len(differences)
    if count <= EXACT:
        signs = np.array(list(itertools.product((1, -1), repeat=count)), np.float64)
    else:
        signs = np.random.default_rng(seed).choice([1.0, -1.0], (FLIPS, count))
        signs[0] = 1
    sums = np.abs(signs @ differences)
    return float((sums >= abs(differences.sum()) * (1 - 1e-12)).mean())


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """p of several comparisons corrected for their number (Holm 1979), by name."""
    out: dict[str, float] = {}
    largest = 0.0
    for rank, (name, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        largest = max(largest, min(value * (len(p) - rank), 1.0))
        out[name] = largest
    return {name: out[name] for name in p}

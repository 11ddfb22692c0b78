"""What a difference between two arms of a study can be said to be.

Two things vary: how training went (seeds), and which images it was tested on. Both are resampled (two-level bootstrap).
Six seeds alone would make such an interval too narrow: it holds the truth in some 87 of 100 studies, not 95. So the
bootstrap gives the interval its shape, and its width comes of the two variances with Student's quantiles.
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
    """An arm against the control, in the figure's unit.

    Attributes:
        mean: over the seeds; low, high: its 95 % interval; p: of the sign-flip test, two-sided.
        seeds, images: how many there were; per_seed: the differences.
        error: standard error, of seeds and images together.
        detectable: the smallest true difference that a study of this spread and size finds in four of five cases.
    """

    mean: float
    low: float
    high: float
    p: float
    seeds: int
    images: int
    per_seed: tuple[float, ...]
    error: float
    detectable: float

    @property
    def verdict(self) -> str:
        """gains, costs, or what the interval leaves open. The first two need both: an interval without 0, which counts
        seeds and images, and a p of 0.05 at most, which six seeds are the fewest to reach."""
        if self.p <= SHOWN and self.low > 0:
            return "gains"
        if self.p <= SHOWN and self.high < 0:
            return "costs"
        return f"no difference of more than {max(-self.low, self.high):.4f} shown"


def compare(
    arm: Float64Array,
    control: Float64Array,
    resampled_arm: Float64Array,
    resampled_control: Float64Array,
    images: int,
    jackknife: Float64Array | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Compare two arms that were trained with the same seeds and tested on the same images.

    Args:
        arm, control: (S,) the figure of each seed.
        resampled_arm, resampled_control: (S, R) the same on R draws of the test images, the same draws for all.
        images: in the split.
        jackknife: (S, images) differences with one image left out each, for the skewness of the interval.

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
    of_seeds, of_images = _variances(differences, drawn)
    error = float(np.sqrt(of_seeds + of_images))
    freedom = _freedom(of_seeds, count - 1, of_images, images - 1)
    # How skewed: six seeds cannot tell, images can.
    lean = _acceleration(jackknife) * of_images / (error**2 or 1) if jackknife is not None else 0.0
    low, high = _interval(mean, _two_levels(drawn, seed), error, lean, freedom, level)
    reach = float(stats.t.ppf((1 + level) / 2, freedom) + stats.t.ppf(POWER, freedom))
    return Difference(
        mean, low, high, sign_flip(differences), count, images, tuple(map(float, differences)), error, reach * error
    )


def _variances(differences: Float64Array, drawn: Float64Array) -> tuple[float, float]:
    """Variance of the mean difference that comes of the seeds, and that of the images.

    How a seed fares on just these images is in the spread of the differences already, so it is taken out of the draws.
    """
    count = len(differences)
    middle = drawn.mean(0)
    of_images = float(middle.var(ddof=1))
    if count == 1:
        return 0.0, of_images
    both = float((drawn - middle).var(1, ddof=1).sum()) / (count - 1)
    return float(differences.var(ddof=1)) / count, max(of_images - both / count, 0.0)


def _two_levels(drawn: Float64Array, seed: int) -> Float64Array:
    """(R,) the mean difference on each draw of images, over as many seeds drawn with repetition."""
    picks = np.random.default_rng(seed).integers(0, len(drawn), drawn.shape)
    out: Float64Array = np.take_along_axis(drawn, picks, 0).mean(0)
    return out


def _freedom(of_seeds: float, seeds: int, of_images: float, images: int) -> float:
    """Degrees of freedom of the sum of two variances (Satterthwaite)."""
    parts = of_seeds**2 / max(seeds, 1) + of_images**2 / max(images, 1)
    return (of_seeds + of_images) ** 2 / parts if parts else float(max(seeds, images, 1))


def _acceleration(jackknife: Float64Array) -> float:
    """How skewed the estimate is over images (Efron 1987, eq. 6.6), from what leaving out one of them does."""
    mean = jackknife.mean(0)
    influence = mean.mean() - mean
    size = float((influence**2).sum()) ** 1.5
    return float((influence**3).sum()) / (6 * size) if size else 0.0


def _interval(
    mean: float, spread: Float64Array, error: float, acceleration: float, freedom: float, level: float
) -> tuple[float, float]:
    """The BCa interval (Efron 1987) with Student's quantiles, of a bootstrap that is widened to the standard error."""
    width = float(spread.std())
    if not width or not error:
        return mean, mean
    spread = mean + (spread - spread.mean()) * (error / width)
    below = float((spread < mean).mean() + (spread == mean).mean() / 2)
    bias = float(stats.norm.ppf(np.clip(below, 1 / len(spread), 1 - 1 / len(spread))))
    ends = []
    for side in (-1, 1):
        z = bias + side * float(stats.t.ppf((1 + level) / 2, freedom))
        ends.append(bias + z / max(1 - acceleration * z, 0.1))
    # Beyond the spread's own quantiles, which few draws hold, the normal tail goes on from its deciles.
    low, high = (_quantile(spread, z) for z in ends)
    return low, high


def _quantile(spread: Float64Array, z: float) -> float:
    """The value of a standard normal place; beyond ±1.645 the spread is continued in proportion."""
    inner = float(np.clip(z, -1.645, 1.645))
    edge = float(np.quantile(spread, float(stats.norm.cdf(inner))))
    middle = float(np.median(spread))
    return middle + (edge - middle) * (z / inner) if inner != z else edge


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


def leave_one_out(images: int) -> Float64Array:
    """(images, images) weights with one image left out in each row."""
    return np.ones((images, images)) - np.eye(images)

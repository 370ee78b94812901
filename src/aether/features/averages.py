"""Moving averages and bands, one value at a time."""

import math


def ema_step(value: float, sample: float, span: int, count: int) -> float:
    """Return an exponential moving average after one more `sample`.

    Args:
        value: the average so far; ignored for the first sample.
        span: number of samples that the average looks back on, alpha = 2 / (span + 1).
        count: samples seen before this one.
    """
    if count == 0:
        return sample
    return value + (sample - value) * 2.0 / (span + 1.0)


def ema_band_step(mean: float, variance: float, sample: float, span: int, count: int) -> tuple[float, float]:
    """Return the exponentially weighted mean and variance after one more `sample` (Finch 2009, eq. 143)."""
    if count == 0:
        return sample, 0.0
    alpha = 2.0 / (span + 1.0)
    gap = sample - mean
    return mean + alpha * gap, (1.0 - alpha) * (variance + alpha * gap * gap)


def z_score(sample: float, mean: float, variance: float) -> float:
    """Return how many standard deviations `sample` is from `mean`; 0 while there is no variance."""
    return (sample - mean) / math.sqrt(variance) if variance > 0.0 else 0.0

"""How large an entry is (requirement R2): volatility-targeted, capped by risk per trade, by limits and by cash.

Plain functions of numbers. Volatility is the exponentially weighted variance of log returns per second, so that bars of
any length feed one estimate (RiskMetrics technical document, 1996, section 5.2, for the recursion).
"""

import math

SECONDS_PER_YEAR = 365 * 86_400
PRIOR_VOLATILITY = 0.80
"""Yearly volatility assumed before any bar has been seen; typical of large crypto assets."""

PRIOR_VARIANCE_PER_S = PRIOR_VOLATILITY**2 / SECONDS_PER_YEAR


def ewma_variance(variance: float, log_return: float, interval_s: float, halflife_bars: float) -> float:
    """Return the variance per second after one more bar of `interval_s` seconds with `log_return`."""
    decay = math.exp2(-1.0 / halflife_bars)
    return decay * variance + (1.0 - decay) * log_return * log_return / interval_s


def annual_volatility(variance_per_s: float) -> float:
    """Return a variance per second as yearly volatility, a fraction."""
    return math.sqrt(variance_per_s * SECONDS_PER_YEAR)


def volatility_over(variance_per_s: float, horizon_s: float) -> float:
    """Return the standard deviation of the log return over `horizon_s` seconds."""
    return math.sqrt(variance_per_s * horizon_s)


def entry_weight(
    strength: float, target_volatility: float, volatility: float, risk_per_trade: float, stop_distance: float
) -> float:
    """Return the share of NAV to put into an entry.

    Args:
        strength: the strategy's conviction, 0 to 1.
        target_volatility, volatility: yearly, fractions.
        risk_per_trade: share of NAV that may be lost at the stop.
        stop_distance: distance of the stop from the entry, a fraction of price; 0 when there is no stop.
    """
    weight = target_volatility / max(volatility, 1e-9)
    if stop_distance > 0.0:
        weight = min(weight, risk_per_trade / stop_distance)
    return min(1.0, weight) * strength

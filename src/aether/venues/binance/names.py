"""Binance's own spellings: symbols without a separator, and the codes of its errors."""

from aether.domain.errors import Failure
from aether.domain.identifiers import Symbol

_QUOTES = (
    "FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USDP", "DAI", "EURI", "EUR", "GBP", "TRY", "BRL", "JPY", "AUD", "UAH",
    "ARS", "MXN", "PLN", "RON", "ZAR", "USD1", "USD", "BTC", "ETH", "BNB", "XRP", "TRX", "DOGE", "SOL",
)  # fmt: skip
"""Quote assets, for reading a symbol when the reference data are not at hand; longer ones first where they overlap."""

_FAILURES = {
    -1000: Failure.UNKNOWN_OUTCOME,
    -1001: Failure.UNKNOWN_OUTCOME,
    -1002: Failure.AUTH,
    -1003: Failure.RATE_LIMIT,
    -1006: Failure.UNKNOWN_OUTCOME,
    -1007: Failure.UNKNOWN_OUTCOME,
    -1008: Failure.RETRYABLE,
    -1015: Failure.RATE_LIMIT,
    -1016: Failure.VENUE_DOWN,
    -1021: Failure.CLOCK,
    -1022: Failure.AUTH,
    -2011: Failure.NOT_FOUND,
    -2013: Failure.NOT_FOUND,
    -2014: Failure.AUTH,
    -2015: Failure.AUTH,
    -2026: Failure.NOT_FOUND,
}
"""Source: errors.md of binance-spot-api-docs; anything else is a rejection."""


def binance_symbol(symbol: str) -> str:
    """Return Binance's name of our symbol: ETH/USDT is ETHUSDT."""
    return symbol.replace("/", "")


def split_native(native: str) -> Symbol | None:
    """Return our symbol of one of Binance's, None when no known quote asset ends it."""
    for quote in _QUOTES:
        if native.endswith(quote) and len(native) > len(quote):
            return Symbol(f"{native[: -len(quote)]}/{quote}")
    return None


def failure_of(code: int) -> Failure:
    """Return the class of one of Binance's error codes."""
    return _FAILURES.get(code, Failure.REJECTED)

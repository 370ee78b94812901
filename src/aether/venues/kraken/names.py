"""Kraken's own spellings: asset codes with their X and Z prefixes, and the texts of its errors."""

from aether.domain.errors import Failure
from aether.domain.identifiers import AssetCode

_RENAMED = {"XBT": "BTC", "XDG": "DOGE"}
_PREFIXED = frozenset(
    {
        "XETC", "XETH", "XLTC", "XMLN", "XREP", "XXBT", "XXDG", "XXLM", "XXMR", "XXRP", "XZEC",
        "ZAUD", "ZCAD", "ZEUR", "ZGBP", "ZJPY", "ZUSD",
    }
)  # fmt: skip
"""The assets that Kraken listed before it dropped the habit; all others are spelled plainly."""

_FAILURES = (
    ("EOrder:Unknown order", Failure.NOT_FOUND),
    ("EOrder:Invalid order", Failure.NOT_FOUND),
    ("EAPI:Rate limit exceeded", Failure.RATE_LIMIT),
    ("EOrder:Rate limit exceeded", Failure.RATE_LIMIT),
    ("EGeneral:Temporary lockout", Failure.LOCKOUT),
    ("EGeneral:Too many requests", Failure.RATE_LIMIT),
    ("EService:Throttled", Failure.RATE_LIMIT),
    ("EAPI:Invalid nonce", Failure.RETRYABLE),
    ("EAPI:", Failure.AUTH),
    ("EGeneral:Permission denied", Failure.AUTH),
    ("ESession:", Failure.AUTH),
    ("EAuth:", Failure.AUTH),
    ("EService:Deadline elapsed", Failure.CLOCK),
    ("EService:Market in cancel_only mode", Failure.REJECTED),
    ("EService:Market in post_only mode", Failure.REJECTED),
    ("EService:Market in limit_only mode", Failure.REJECTED),
    ("EService:Unavailable", Failure.UNKNOWN_OUTCOME),
    ("EService:Busy", Failure.UNKNOWN_OUTCOME),
    ("EService:Timeout", Failure.UNKNOWN_OUTCOME),
    ("EService:", Failure.VENUE_DOWN),
    ("EGeneral:Internal error", Failure.UNKNOWN_OUTCOME),
    ("EDatabase:", Failure.UNKNOWN_OUTCOME),
    ("EGeneral:Unknown", Failure.UNKNOWN_OUTCOME),
)
"""By the beginning of the text, first match wins; anything else is a rejection."""


def asset_code(name: str) -> AssetCode:
    """Return our code of a Kraken asset: XXBT, XBT and XBT.F are BTC, ZUSD is USD."""
    plain = name.partition(".")[0]
    if plain in _PREFIXED:
        plain = plain[1:]
    return AssetCode(_RENAMED.get(plain, plain))


def kraken_symbol(symbol: str) -> str:
    """Return the pair name that REST takes for our symbol: BTC/USD is XBTUSD."""
    base, _, quote = symbol.partition("/")
    back = {ours: theirs for theirs, ours in _RENAMED.items()}
    return back.get(base, base) + back.get(quote, quote)


def failure_of(error: str) -> Failure:
    """Return the class of one of Kraken's error texts."""
    for prefix, failure in _FAILURES:
        if error.startswith(prefix):
            return failure
    return Failure.REJECTED

"""What Binance takes as a request's parameters, and the words in which it refuses the rest.

Sources: errors.md, enums.md and rest-api.md of binance-spot-api-docs (2026).
"""

import re
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from aether.exchange.venue import Refusal, Refused


class BinanceError(Exception):
    """An error with Binance's own code.

    Args:
        status: of the HTTP answer.
        data: what some errors tell beside their text.
    """

    def __init__(self, code: int, text: str, status: int = 400, data: object = None) -> None:
        super().__init__(text)
        self.code, self.text, self.status, self.data = code, text, status, data

    def body(self) -> dict[str, object]:
        """Return the error as it is sent."""
        return {"code": self.code, "msg": self.text} | ({"data": self.data} if self.data is not None else {})


ERRORS = {
    Refusal.UNKNOWN_MARKET: (-1121, "Invalid symbol."),
    Refusal.MARKET_CLOSED: (-1013, "Market is closed."),
    Refusal.BAD_PRICE: (-1013, "Filter failure: PRICE_FILTER"),
    Refusal.BAD_SIZE: (-1013, "Filter failure: LOT_SIZE"),
    Refusal.TOO_SMALL: (-1013, "Filter failure: LOT_SIZE"),
    Refusal.TOO_LARGE: (-1013, "Filter failure: LOT_SIZE"),
    Refusal.NOTIONAL: (-1013, "Filter failure: NOTIONAL"),
    Refusal.FUNDS: (-2010, "Account has insufficient balance for requested action."),
    Refusal.POST_ONLY: (-2010, "Order would immediately match and take."),
    Refusal.TRIGGER: (-2010, "Stop price would trigger immediately."),
    Refusal.DUPLICATE: (-2010, "Duplicate order sent."),
    Refusal.UNKNOWN_ORDER: (-2011, "Unknown order sent."),
    Refusal.TOO_MANY: (-1013, "Filter failure: MAX_NUM_ORDERS"),
    Refusal.BAD_FIELDS: (-1102, "A mandatory parameter was not sent, was empty/null, or malformed."),
    Refusal.INJECTED: (-2010, "This symbol is not permitted for this account."),
    Refusal.AMEND: (-2038, "Order amend (quantity increase) is not supported."),
    Refusal.FOK: (-2010, "Order would not fill."),
}


def error_of(refused: Refused) -> BinanceError:
    """Return the venue's error for what the exchange refused."""
    code, text = ERRORS[refused.reason]
    return BinanceError(code, text)


_DECIMAL = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
_WHOLE = r"^[0-9]{1,20}$"
_ID = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"
_SYMBOL = r"^[A-Z0-9-_.]{1,20}$"
_PATTERNS = {
    **dict.fromkeys(
        ("quantity", "quoteOrderQty", "price", "stopPrice", "icebergQty", "newQty", "recvWindow"), _DECIMAL
    ),
    **dict.fromkeys(
        (
            "orderId", "trailingDelta", "strategyId", "strategyType", "limit", "fromId", "startTime", "endTime",
            "orderListId", "timestamp", "preventedMatchId", "fromPreventedMatchId", "pegOffsetValue", "fromExecutionId",
        ),
        _WHOLE,
    ),
    **dict.fromkeys(("clientOrderId", "newClientOrderId", "origClientOrderId"), _ID),
    "symbol": _SYMBOL,
}  # fmt: skip
_LEGS = ("pendingAbove", "pendingBelow", "pending", "working", "above", "below", "stopLimit", "stop", "limit", "cancel")
"""Words before a parameter's name that say of which order it is."""

_CHOICES: Mapping[str, tuple[frozenset[str], int, str]] = {
    "side": (frozenset({"BUY", "SELL"}), -1117, "Invalid side."),
    "type": (
        frozenset(
            {"LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"}
        ),
        -1116,
        "Invalid orderType.",
    ),
    "timeInForce": (frozenset({"GTC", "IOC", "FOK"}), -1115, "Invalid timeInForce."),
    "newOrderRespType": (frozenset({"ACK", "RESULT", "FULL"}), -1130, ""),
    "selfTradePreventionMode": (
        frozenset({"NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER"}),
        -1130,
        "",
    ),
    "cancelReplaceMode": (frozenset({"STOP_ON_FAILURE", "ALLOW_FAILURE"}), -1130, ""),
    "orderRateLimitExceededMode": (frozenset({"DO_NOTHING", "CANCEL_ONLY"}), -1130, ""),
    "cancelRestrictions": (frozenset({"ONLY_NEW", "ONLY_PARTIALLY_FILLED"}), -1145, "Invalid cancelRestrictions"),
    "pegPriceType": (frozenset({"PRIMARY_PEG", "MARKET_PEG"}), -1210, "Invalid pegPriceType."),
    "pegOffsetType": (frozenset({"PRICE_LEVEL"}), -1211, "Invalid pegOffsetType."),
    **dict.fromkeys(
        (
            "computeCommissionRates",
            "omitZeroBalances",
            "returnRateLimits",
            "showPermissionSets",
            "spotBNBBurn",
            "interestBNBBurn",
        ),
        (frozenset({"true", "false"}), -1130, ""),
    ),
}


def plain_name(name: str) -> str:
    """Return a parameter's name without the word for the order that it is of: `aboveStopPrice` is `stopPrice`."""
    if name in _PATTERNS or name in _CHOICES:
        return name
    for leg in _LEGS:
        rest = name.removeprefix(leg)
        if rest != name and rest[:1].isupper():
            plain = rest[0].lower() + rest[1:]
            if plain in _PATTERNS or plain in _CHOICES:
                return plain
    return name


def missing(name: str) -> BinanceError:
    """Return the error for a parameter that has to be there."""
    return BinanceError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def one_of(first: str, second: str) -> BinanceError:
    """Return the error for two parameters of which one has to be there."""
    return BinanceError(-1102, f"Param '{first}' or '{second}' must be sent, but both were empty/null!")


def not_required(name: str) -> BinanceError:
    """Return the error for a parameter that does not belong there."""
    return BinanceError(-1106, f"Parameter '{name}' sent when not required.")


def check(given: Mapping[str, str], mandatory: tuple[str, ...], optional: frozenset[str]) -> None:
    """Refuse parameters that are unknown, empty, malformed or not there.

    Raises:
        BinanceError: as the venue would.
    """
    known = optional | set(mandatory)
    unread = [name for name in given if name not in known]
    if len(given) > len(known):
        raise BinanceError(-1101, f"Too many parameters; expected '{len(known)}' and received '{len(given)}'.")
    if unread:
        read = len(given) - len(unread)
        text = f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(given)}'."
        raise BinanceError(-1104, text)
    for name, value in given.items():
        if not value:
            raise BinanceError(-1105, f"Parameter '{name}' was empty.")
        if name != "type" or name in mandatory:
            _check_value(name, value)
    for name in mandatory:
        if name not in given:
            raise missing(name)


def _check_value(name: str, value: str) -> None:
    plain = plain_name(name)
    pattern = _PATTERNS.get(plain, _ID if name.endswith("ClientOrderId") else "")
    if pattern and not re.fullmatch(pattern, value):
        raise BinanceError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'.")
    allowed, code, text = _CHOICES.get(plain, (frozenset(), 0, ""))
    if allowed and value not in allowed:
        raise BinanceError(code, text or f"Data sent for parameter '{name}' is not valid.")


def whole(given: Mapping[str, str], name: str, default: int = 0) -> int:
    """Return a whole number, `default` when it is not there."""
    return int(given.get(name, default))


def limit(given: Mapping[str, str], default: int = 500, most: int = 1000) -> int:
    """Return how many rows are wanted; more than `most` are not given. Raises BinanceError for none."""
    count = whole(given, "limit", default)
    if count < 1:
        raise BinanceError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(count, most)


def units_of(given: Mapping[str, str], name: str, decimals: int, reason: Refusal) -> int:
    """Return a decimal parameter in units of 10^-`decimals`.

    Raises:
        BinanceError: when it has more than the 8 decimals that the venue reads.
        Refused: with `reason` when it is finer than the market's step.
    """
    number = Decimal(given[name])
    if number != number.quantize(Decimal("1e-8")):
        raise BinanceError(-1111, f"Parameter '{name}' has too much precision.")
    scaled = number.scaleb(decimals)
    if scaled != scaled.to_integral_value():
        raise Refused(reason, given[name])
    return int(scaled)


def names_in(given: Mapping[str, str], name: str) -> list[str]:
    """Return a list of names that is sent as JSON, or as one bare name. Raises BinanceError."""
    text = given.get(name, "")
    if not text.startswith("["):
        return [text] if text else []
    try:
        found = msgspec.json.decode(text, type=list[str])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BinanceError(-1135, f"JSON sent for parameter '{name}' is not valid") from error
    if len(set(found)) < len(found):
        raise BinanceError(-1151, "Symbol is present multiple times in the list.")
    return found

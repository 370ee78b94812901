"""What the codecs of all venues share: exact numbers and times from text, and the listing of a venue's symbols.

Numbers on the wire are decimal text. They become integers of the instrument's own precision without ever being a
binary float. A feed says the same few thousand prices and sizes again and again, so each `Scaler` remembers what it has
parsed.
"""

import hashlib
import re
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

import msgspec

from aether.domain.identifiers import InstrumentId, VenueId
from aether.domain.instruments import Instrument
from aether.domain.scaled import AMOUNT_DECIMALS

REMEMBERED = 65_536
"""Most texts that a scaler or clock remembers."""

LONGEST_TEXT = 500
MAX_MESSAGE_BYTES = 16 * 2**20
"""A longer message is refused before it is parsed."""

ZEROS = "0" * 40
MAX_DIGITS = 40
"""A number of more characters is refused: no venue means it."""

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,2})?\Z")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:Z|\+00:00| \+0000 UTC.*)?\Z")

MICROSECONDS = len("1970-01-01T00:00:00.000000Z")
NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
_DAYS_IN_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class MalformedError(ValueError):
    """A message that is not what the venue documents: the feed counts it, and goes on or resynchronises.

    Args:
        kind: names the sort of defect, one log line for each.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


def digest(payload: bytes) -> str:
    """Return a short hash by which a payload can be found again in a recording."""
    return hashlib.sha256(payload).hexdigest()[:16]


def scaled(text: str, decimals: int) -> int:
    """Return decimal `text` as an integer of 10^-`decimals`, exactly.

    Raises:
        MalformedError: when it is no number, or finer than `decimals`.
    """
    whole, _, fraction = text.partition(".")
    missing = decimals - len(fraction)
    if missing >= 0:
        digits = whole + fraction + ZEROS[:missing]
    elif fraction[missing:].strip("0"):
        return _scaled_slow(text, decimals)
    else:
        digits = whole + fraction[:missing]
    if whole and missing <= MAX_DIGITS and len(text) <= MAX_DIGITS and digits.isascii() and digits.isdigit():
        return int(digits)
    return _scaled_slow(text, decimals)


def _scaled_slow(text: str, decimals: int) -> int:
    if len(text) > MAX_DIGITS or not _NUMBER.match(text):
        raise MalformedError("number", f"{text[:MAX_DIGITS]!r} is no decimal number")
    try:
        number = Decimal(text).scaleb(decimals)
    except InvalidOperation as error:
        raise MalformedError("number", f"{text!r} is out of range") from error
    value = int(number)
    if value != number:
        raise MalformedError("precision", f"{text} is finer than {decimals} decimals")
    return value


def decimals_of(step: str) -> int:
    """Return how many decimals a step such as 0.01000000 leaves."""
    return max(0, -int(Decimal(step).normalize().as_tuple().exponent))


def rate_ppm(rate: object) -> int:
    """Return a rate, given as a share, in parts per million."""
    return int(Decimal(str(rate)) * 1_000_000)


def _amount(value: object) -> Decimal:
    text = str(value)
    if not _NUMBER.match(text):
        raise MalformedError("number", f"{text[:MAX_DIGITS]!r} is no decimal number")
    return Decimal(text).scaleb(AMOUNT_DECIMALS)


def amount_down(value: object) -> int:
    """Return a ledger amount of a number that may be finer: what is below a ledger unit is dropped.

    Raises:
        MalformedError: when it is no number.
    """
    return int(_amount(value))


def amount_near(value: object) -> int:
    """Return a ledger amount of a fee that may be finer: what is below a ledger unit is rounded to the nearest.

    Raises:
        MalformedError: when it is no number.
    """
    return int(_amount(value).to_integral_value(ROUND_HALF_UP))


class Scaler(dict[str, int]):
    """`scaler[text]` is the number as an integer of 10^-`decimals`; raises MalformedError as `scaled` does."""

    __slots__ = ("decimals",)

    def __init__(self, decimals: int) -> None:
        super().__init__()
        self.decimals = decimals

    def __missing__(self, text: str) -> int:
        value = scaled(text, self.decimals)
        if len(self) >= REMEMBERED:
            self.clear()
        self[text] = value
        return value


class RawScaler(dict[bytes, int]):
    """A `Scaler` for the bytes of a JSON number, as Kraken sends them."""

    __slots__ = ("decimals",)

    def __init__(self, decimals: int) -> None:
        super().__init__()
        self.decimals = decimals

    def __missing__(self, raw: bytes) -> int:
        value = scaled(raw_text(raw), self.decimals)
        if len(self) >= REMEMBERED:
            self.clear()
        self[raw] = value
        return value


def raw_text(raw: bytes | msgspec.Raw) -> str:
    """Return the text of a JSON number, quoted or not."""
    return bytes(raw).decode("ascii", "replace").strip('"')


class _Seconds(dict[str, int]):
    """Seconds since 1970 of `YYYY-MM-DDTHH:MM:SS`, remembered: neighbouring messages share them."""

    def __missing__(self, text: str) -> int:
        match = _TIME.match(text)
        if match is None:
            raise MalformedError("time", f"{text[:40]!r} is no RFC 3339 time in UTC")
        date, hour, minute, second, _ = match.groups()
        year, month, day = (int(part) for part in date.split("-"))
        value = ((days_since_1970(year, month, day) * 24 + int(hour)) * 60 + int(minute)) * 60 + int(second)
        if len(self) >= REMEMBERED:
            self.clear()
        self[text] = value
        return value


def days_since_1970(year: int, month: int, day: int) -> int:
    """Return the day number of a date.

    Raises:
        MalformedError: for a date that the calendar lacks.
    """
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not (1 <= month <= 12 and 1 <= day <= _DAYS_IN_MONTH[month - 1] + (leap and month == 2)):
        raise MalformedError("time", f"there is no {year:04}-{month:02}-{day:02}")
    before = year - 1
    days = 365 * before + before // 4 - before // 100 + before // 400
    days += sum(_DAYS_IN_MONTH[: month - 1]) + (leap and month > 2) + day
    return days - 719_163


_seconds = _Seconds()


def time_ns(text: str) -> int:
    """Return nanoseconds since 1970 of an RFC 3339 time in UTC, to the last digit given.

    Raises:
        MalformedError: for anything else.
    """
    if len(text) == MICROSECONDS and text[26] == "Z" and (micros := text[20:26]).isdecimal() and text[19] == ".":
        return _seconds[text[:19]] * NS_PER_S + int(micros) * 1_000
    fraction = text[20:-1]
    if text[-1:] == "Z" and (not fraction or (len(fraction) <= 9 and fraction.isascii() and fraction.isdigit())):
        return _seconds[text[:19]] * NS_PER_S + (int(fraction) * 10 ** (9 - len(fraction)) if fraction else 0)
    match = _TIME.match(text)
    if match is None:
        raise MalformedError("time", f"{text[:40]!r} is no RFC 3339 time in UTC")
    return _seconds[text[:10] + "T" + text[11:19]] * NS_PER_S + int((match[5] or "").ljust(9, "0"))


def seconds_ns(text: str) -> int:
    """Return nanoseconds of a decimal count of seconds."""
    return scaled(text, 9) if len(text.partition(".")[2]) <= 9 else scaled(text[: text.index(".") + 10], 9)


class Listing(msgspec.Struct, frozen=True, gc=False):
    """A symbol that a stream may speak of: its instrument and the scalers of its precision.

    Attributes:
        native: the venue's own name of the pair.
        written: the decimals that the venue itself writes prices and sizes of the pair with.
    """

    native: str
    id: InstrumentId
    instrument: Instrument
    price: Scaler
    size: Scaler
    raw_price: RawScaler
    raw_size: RawScaler
    written: tuple[int, int]


def plain_text(text: str) -> str:
    """Return a venue's words without what no database and no screen takes: control characters, halves of characters."""
    cleaned = text.encode("utf-8", "ignore").decode()
    return "".join(c for c in cleaned if c.isprintable())[:LONGEST_TEXT]


class Listings(dict[str, Listing]):
    """The symbols of a venue by the venue's own names; a name that is not listed raises MalformedError."""

    def __init__(self, venue: VenueId, instruments: Iterable[tuple[str, Instrument]] = ()) -> None:
        super().__init__()
        self.venue = venue
        self._by_id: dict[InstrumentId, Listing] = {}
        self._scales: dict[InstrumentId, tuple[int, int]] = {}
        self.told_as: dict[str, str] = {}
        """Under which other name the market data of a pair come, by the venue's name of it."""
        self.version = 0
        """Grows with each symbol that is listed, or listed anew."""
        for native, instrument in instruments:
            self.add(native, instrument)

    def add(self, native: str, instrument: Instrument, written: tuple[int, int] = (0, 0)) -> None:
        """List a symbol under the venue's name for it.

        Args:
            written: the decimals that the venue writes it with; by default the instrument's.
        """
        decimals = (instrument.price_decimals, instrument.size_decimals)
        self.version += 1
        self[native] = self._by_id[instrument.id] = Listing(
            native,
            instrument.id,
            instrument,
            Scaler(instrument.price_decimals),
            Scaler(instrument.size_decimals),
            RawScaler(instrument.price_decimals),
            RawScaler(instrument.size_decimals),
            written if any(written) else decimals,
        )

    def add_in_scale(self, native: str, instrument: Instrument) -> None:
        """List a symbol by the venue's rules, in the scale that the house keeps it in: it is chosen once."""
        written = (instrument.price_decimals, instrument.size_decimals)
        kept = self._scales.get(instrument.id)
        scaled_one = instrument.in_scale(*kept) if kept else instrument.with_room()
        self._scales[instrument.id] = (scaled_one.price_decimals, scaled_one.size_decimals)
        known = self.get(native)
        if known is None or (known.instrument, known.written) != (scaled_one, written):
            self.add(native, scaled_one, written)  # what is known already keeps what its scalers remember

    def keep_scale(self, kept: Instrument) -> None:
        """List a pair in the scale that the books have it in: what is written there stays what it is."""
        scale = (kept.price_decimals, kept.size_decimals)
        if self._scales.get(kept.id) != scale:
            self._scales[kept.id] = scale
            for native, listing in [(n, li) for n, li in self.items() if li.id == kept.id]:
                self.add(native, listing.instrument.in_scale(*scale), listing.written)

    def find(self, native: str) -> Listing | None:
        """Return what the venue calls so, None when it is not listed."""
        try:
            return self[native]
        except MalformedError:
            return None

    def of(self, instrument: InstrumentId) -> Listing:
        """Return the listing of one of our instruments. Raises KeyError when it is not listed."""
        return self._by_id[instrument]

    def has(self, instrument: InstrumentId) -> bool:
        """Return whether one of our instruments is listed."""
        return instrument in self._by_id

    def __missing__(self, native: str) -> Listing:
        raise MalformedError("symbol", f"{native[:40]!r} is not listed")


def precision_of(payload: bytes, price_keys: frozenset[str], size_keys: frozenset[str]) -> tuple[int, int]:
    """Return the most decimals that a payload's prices and its sizes are written with.

    For reading a payload when the venue's reference data are not at hand.

    Raises:
        MalformedError: when the payload is no JSON.
    """
    found = [0, 0]

    def note(which: int, value: object) -> None:
        text = str(value) if isinstance(value, Decimal | str) else ""
        if _NUMBER.match(text):
            mantissa, _, exponent = text.lower().partition("e")
            digits = len(mantissa.partition(".")[2]) - int(exponent or 0)
            found[which] = max(found[which], digits)

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(inner, dict | list):
                    walk(inner)
                elif key in price_keys:
                    note(0, inner)
                elif key in size_keys:
                    note(1, inner)
        elif isinstance(value, list):
            if len(value) >= 2 and isinstance(value[0], str | Decimal) and isinstance(value[1], str | Decimal):
                note(0, value[0])
                note(1, value[1])
            if len(value) >= 6 and isinstance(value[0], int):
                for inner in value[1:5]:
                    note(0, inner)
                for inner in value[5:7]:
                    note(1, inner)
            for inner in value:
                if isinstance(inner, dict | list):
                    walk(inner)

    walk(parse(payload))
    return found[0], found[1]


_any = msgspec.json.Decoder(float_hook=Decimal)


def parse(payload: bytes) -> Any:
    """Return any JSON, its fractions as Decimal.

    Raises:
        MalformedError: when it is no JSON, or longer than `MAX_MESSAGE_BYTES`.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MalformedError("size", f"{len(payload)} bytes, the most is {MAX_MESSAGE_BYTES}")
    try:
        return _any.decode(payload)
    except (msgspec.DecodeError, RecursionError, ArithmeticError, ValueError) as error:
        raise MalformedError("json", str(error)) from error

"""What the frequent messages of a venue look like, and what they become; read by the compiled `scanner`.

A `Shape` names the fields that matter, in any order; others are passed over. What a message leaves are the fields of
the message in the order of the shape, then the rows of its lists one after the other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aether.compiling import build, entry
from aether.domain.errors import words_of
from aether.domain.identifiers import InstrumentId, TradeId
from aether.telemetry import logger
from aether.venues import scanner as compiled_part
from aether.venues.messages import Level, Message
from aether.venues.scanner import (
    CODE,
    ENTRY,
    FIELD,
    FIELDS,
    NAME_BYTES,
    READ,
    ROW_WORDS,
    TABLE_AT,
    Kind,
)
from aether.venues.wire import Listing, Listings

_log = logger("venue")

Words = tuple[int, ...]

MOST_FIELDS = 60
_NESTING = (Kind.OBJECT, Kind.ONE, Kind.ROWS, Kind.LEVELS)

_ROWS = [Struct(f"={words}q") for words in range(10)]
_level: Callable[[memoryview, int], Level] = Struct("=2q").unpack_from
_levels: Callable[[memoryview], Iterator[Level]] = Struct("=2q").iter_unpack

trade_id_of: Callable[[int], TradeId] = str  # type: ignore[assignment]
"""A venue's number of a trade as its name."""


class Field(NamedTuple):
    """A field of a message.

    Attributes:
        words: of a `WORD`.
        fields: of an `OBJECT` or a `ONE`, or of each of the `ROWS`.
        kept: whether it leaves words.
        required: whether a message without it is left to the readable path; else it leaves 0.
    """

    name: str
    kind: Kind
    words: tuple[str, ...] = ()
    fields: "tuple[Field, ...]" = ()
    kept: bool = True
    required: bool = True


def passed(*names: str) -> tuple[Field, ...]:
    """Return fields that nobody needs, so that they are known where they come."""
    return tuple(Field(name, Kind.SKIP, kept=False, required=False) for name in names)


def refused(*names: str) -> tuple[Field, ...]:
    """Return fields with which a message means something else."""
    return tuple(Field(name, Kind.REFUSE, kept=False, required=False) for name in names)


class Shape:
    """What a message of one kind looks like.

    Attributes:
        width: words that the message's own fields take.
        row_words: words that a row of its longest kind takes.
        code: as the scanner reads it.
    """

    def __init__(self, *fields: Field) -> None:
        self.width = self.row_words = 0
        self.code: list[int] = []
        self._object(fields, in_row=False)

    def _object(self, fields: tuple[Field, ...], *, in_row: bool) -> int:
        """Write down an object; return where it stands.

        Raises:
            ValueError: when it is more than the scanner can hold.
        """
        if len(fields) > MOST_FIELDS or (in_row and any(f.kind in _NESTING for f in fields)):
            raise ValueError(f"an object has at most {MOST_FIELDS} fields, and one in a list no list or object")
        at = len(self.code)
        required = sum(1 << n for n, field in enumerate(fields) if field.required)
        self.code += [len(fields), required, any(f.kind is Kind.PAIR for f in fields), 0]
        self.code += [0] * (FIELD * len(fields))
        row_words = 0
        for n, field in enumerate(fields):
            slot = -1
            if field.kept and field.kind not in (Kind.OBJECT, Kind.ONE):
                slot = row_words if in_row else self.width
                row_words += in_row
                self.width += 0 if in_row else 2 if field.kind in (Kind.ROWS, Kind.LEVELS) else 1
            argument = self._argument(field, in_row=in_row)
            where = at + FIELDS + n * FIELD
            self.code[where : where + FIELD] = [*_token(field.name + '":'), field.kind, slot, argument]
        if row_words >= len(_ROWS):
            raise ValueError(f"a row leaves {row_words} words, at most {len(_ROWS) - 1}")
        self.code[at + ROW_WORDS] = row_words
        self.row_words = max(self.row_words, row_words)
        return at

    def _argument(self, field: Field, *, in_row: bool) -> int:
        if field.fields:
            return self._object(field.fields, in_row=in_row or field.kind is Kind.ROWS)
        at = len(self.code)
        if field.words:
            self.code += [len(field.words), *(word for text in field.words for word in _token(text + '"'))]
        return at


def _token(text: str) -> list[int]:
    """Return a name as the scanner compares it: its length, then its bytes in words."""
    if len(text) > NAME_BYTES or not text.isascii():
        raise ValueError(f"{text!r} is no ASCII text of at most {NAME_BYTES} bytes, as the names in a shape must be")
    padded = text.encode().ljust(NAME_BYTES, b"\0")
    return [len(text), *(int.from_bytes(padded[n : n + 8], "little", signed=True) for n in range(0, NAME_BYTES, 8))]


def pairs_table(pairs: Mapping[str, Listing]) -> list[int]:
    """Return the pairs by their names, for the scanner: open addressing over a power of two.

    A name that is too long for it, or not ASCII, is left out: its messages take the readable path.
    """
    size = 8
    while size < 2 * len(pairs):
        size *= 2
    table = [size, *[0] * (size * ENTRY)]
    for number, (name, listing) in enumerate(pairs.items()):
        if not 0 < len(name) <= NAME_BYTES or not name.isascii():
            continue
        token = _token(name)
        _, first, second, third = token
        at = compiled_part.place_of(first, second, third, size)
        while table[1 + at * ENTRY]:
            at = (at + 1) % size
        where = 1 + at * ENTRY
        decimals = listing.instrument.price_decimals, listing.instrument.size_decimals
        table[where : where + ENTRY] = [*token, number, *decimals]
    return table


@cache
def prepare() -> Callable[[bytes, Any], int]:
    """Have the scanner compiled, or what was compiled read: seconds, better spent before anything is traded.

    Return it; where that fails one that reads nothing, so that every message takes the readable path. It is tried once.
    """
    try:
        build(compiled_part)
        return entry(compiled_part.scan)
    except Exception as error:  # noqa: BLE001  slower is better than not at all
        _log.error("scanner_not_compiled", reason=words_of(error))
        return lambda _payload, _frame: -1


class Scanner:
    """Reads what comes all the time on one connection; it follows the connection's listings.

    Args:
        kinds: what the messages look like and what they become; shapes are tried in this order.
        pairs: returns which pairs the messages may be of, by the venue's names of them.

    Attributes:
        ids: of our instruments, by the number that a `PAIR` leaves.
    """

    def __init__(
        self, listings: Listings, kinds: Sequence[tuple[Shape, "Make"]], pairs: Callable[[], Mapping[str, Listing]]
    ) -> None:
        self.ids: list[InstrumentId] = []
        self._listings, self._pairs = listings, pairs
        self._shapes = [shape for shape, _ in kinds]
        self._made = [(make, Struct(f"={shape.width + shape.row_words}q").unpack_from) for shape, make in kinds]
        self._memory = memoryview(b"")
        self.read: Callable[[bytes], list[Message] | None] = self._begin
        """Returns what a message means, None when the readable path has to see."""

    def renew(self) -> None:
        """Ask anew which pairs there are."""
        self.read = self._begin

    def _begin(self, payload: bytes) -> list[Message] | None:
        """Read a message once it is known which pairs there are."""
        self.read = self._reader()
        return self.read(payload)

    def _reader(self) -> Callable[[bytes], list[Message] | None]:
        """Return what reads messages for as long as the listings are as they are now; all it needs is at hand."""
        listings, version = self._listings, self._listings.version
        scan, frame = prepare(), self._frame()
        made, memory = self._made, self._memory

        def read(payload: bytes) -> list[Message] | None:
            if listings.version != version:
                return self._begin(payload)
            kind = scan(payload, frame)
            if kind < 0:
                return None
            make, unpack = made[kind]
            return make(self, unpack(memory))

        return read

    def _frame(self) -> NDArray[np.int64]:
        """Return the scanner's memory for the pairs that there are now."""
        pairs = self._pairs()
        self.ids = [listing.id for listing in pairs.values()]
        shapes: list[int] = [len(self._shapes), *[0] * (2 * len(self._shapes))]
        for n, shape in enumerate(self._shapes):
            shapes[1 + 2 * n : 3 + 2 * n] = CODE + len(shapes), shape.width
            shapes += shape.code
        frame = np.array([*[0] * CODE, *shapes, *pairs_table(pairs)], dtype=np.int64)
        frame[TABLE_AT] = CODE + len(shapes)
        self._memory = memoryview(frame).cast("B")[8 * READ : 8 * CODE]  # type: ignore[arg-type]
        return frame

    def rows(self, start: int, count: int, words: int) -> Iterator[Words]:
        """Return the rows of a list of the message just read, of so many words each."""
        return _ROWS[words].iter_unpack(self._memory[8 * start : 8 * (start + count * words)])

    def levels(self, start: int, count: int) -> list[Level]:
        """Return so many levels of the message just read."""
        if count == 1:
            return [_level(self._memory, 8 * start)]
        return list(_levels(self._memory[8 * start : 8 * start + 16 * count])) if count else []


Make = Callable[[Scanner, Words], list[Message]]
"""What a message becomes: of its own words and, where it has rows, those of the first."""

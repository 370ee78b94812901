"""The compiled reader of the messages that come all the time: trades, quotes, changes of books.

It goes through the bytes once, by the code of a `shapes.Shape`, and leaves numbers: no objects, no text. It is strict.
A number that is finer than the pair's steps, an escape, a space, a field of another type, a pair that is not listed:
whatever it does not expect it leaves to the codec's readable path, which alone decides what such a message means. So it
can only be quicker, never of another opinion; the tests hold it against that path.

Everything lies in one flat array, the frame: a few words of the scanner's own, what it has read, the shape's code and
the table of pairs. Functions that call each other many times a message pass plain memory, since references to arrays
and bytes are counted at each call, which costs more than what is done there. So nobody checks an index but the code
itself: no function looks past the payload's end or writes past the room for what is read.
"""

from enum import IntEnum
from typing import Any

from aether.kernel.compiled import compiled

ROOM = 4_096
"""Words for what is read; a message of more is left to the readable path."""
NAME_WORDS = 3
NAME_BYTES = 8 * NAME_WORDS
"""A longer name is nobody's."""

SHAPE_AT, TABLE_AT, PRICE_DECIMALS, SIZE_DECIMALS, FREE, NAME = range(6)
"""The scanner's own words: where the shape that is tried and the table of pairs are, the steps of the pair that the
message speaks of, where the next row goes, and a name just read."""
READ = NAME + NAME_WORDS
CODE = READ + ROOM
"""Where the shapes are: how many, then of each where it stands and how many words its messages' own fields take."""

COUNT, REQUIRED, HAS_PAIR, ROW_WORDS, FIELDS = range(5)
"""Of an object in a shape: how many fields, which must be there, whether one is a pair, words of a row, the fields."""
TOKEN = 1 + NAME_WORDS
"""Words of a name as it is compared: its length, its bytes."""
KIND, SLOT, ARGUMENT = TOKEN, TOKEN + 1, TOKEN + 2
FIELD = TOKEN + 3
"""Words of a field: its name, its kind, its place among the words left (-1 for none), and what it is made of."""
ENTRY = TOKEN + 3
"""Words of a pair in the table: its name, its number, the decimals of its prices and sizes."""

_QUOTE, _COMMA, _MINUS, _DOT, _ZERO, _NINE, _COLON = 34, 44, 45, 46, 48, 57, 58
_OPEN_LIST, _BACKSLASH, _CLOSE_LIST, _OPEN, _CLOSE = 91, 92, 93, 123, 125
_LARGEST = 10**17
_MOST_MS = 9 * 10**12
_LONGEST_NUMBER = 40
_LONGEST_INT = 18


LONGEST = 2**20
"""Bytes of a message; a longer one is left to the readable path."""


def memory_of(holder: Any) -> Any:
    """Return where the contents of bytes, or of a flat array, lie; the caller keeps the holder alive. Compiled only."""
    raise NotImplementedError


def word_at(memory: Any, at: int) -> int:
    """Return eight bytes of memory as one little-endian word. Compiled only."""
    raise NotImplementedError


def intrinsics() -> dict[str, Any]:
    """Return `memory_of` and `word_at` as the compiler takes them."""
    from llvmlite import ir  # noqa: PLC0415  loaded when it is compiled
    from numba import int64, types  # noqa: PLC0415
    from numba.extending import intrinsic  # noqa: PLC0415

    pointer: Any = types.CPointer

    def address(_typing: Any, holder: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return context.make_helper(builder, signature.args[0], value=arguments[0]).data

        return pointer(holder.dtype)(holder), generate

    def word(_typing: Any, memory: Any, at: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            place = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), ir.IntType(64).as_pointer())
            return builder.load(place, align=1)

        return int64(memory, at), generate

    make: Any = intrinsic
    return {"memory_of": make(address), "word_at": make(word)}


class Kind(IntEnum):
    """What a field is; all but `SKIP`, `TEXT` and `REFUSE` leave words."""

    SKIP = 0
    """A text without escapes, a number, true, false or null: looked at, not kept."""
    PAIR = 1
    """The pair's number; prices and sizes after it are in its steps."""
    PRICE = 2
    SIZE = 3
    RAW_PRICE = 4
    """A price that is a JSON number, not a text."""
    RAW_SIZE = 5
    INT = 6
    INT_TEXT = 7
    MILLISECONDS = 8
    """Left as nanoseconds."""
    TIME = 9
    """RFC 3339 in UTC, left as nanoseconds."""
    WORD = 10
    """Which of a few words it is."""
    BOOL = 11
    OBJECT = 12
    """Its fields are fields of the message."""
    ONE = 13
    """A list of exactly one object, whose fields are fields of the message."""
    ROWS = 14
    """A list of objects: where its rows begin, and how many they are."""
    LEVELS = 15
    """A list of pairs of texts, price and size, left as `ROWS` are."""
    TEXT = 16
    """A text without escapes, not kept."""
    REFUSE = 17
    """A message with this field means something else."""


@compiled("int64(int64, int64, int64, int64)")
def place_of(first: int, second: int, third: int, size: int) -> int:
    """Return where in a table of so many entries (a power of two) a name is looked for first."""
    mixed = (first * 31 + second) * 31 + third
    mixed ^= (mixed >> 29) ^ (mixed >> 47)
    return mixed & (size - 1)


@compiled("int64(CPointer(uint8), int64, int64, CPointer(int64), int64)")
def _begins(payload: Any, at: int, n: int, frame: Any, token: int) -> bool:
    """Return whether a name of the shape stands at `at`."""
    length = frame[token]
    if at + ((length + 7) & ~7) > n:
        if at + length > n:
            return False
        for k in range(length):  # noqa: SIM110  numba has no all() of a generator
            if payload[at + k] != (frame[token + 1 + (k >> 3)] >> (8 * (k & 7))) & 255:
                return False
        return True
    word = token + 1
    while length >= 8:
        if word_at(payload, at) != frame[word]:
            return False
        at += 8
        word += 1
        length -= 8
    return bool(length == 0 or (word_at(payload, at) ^ frame[word]) & ((1 << (8 * length)) - 1) == 0)


@compiled("int64(CPointer(uint8), int64, int64)")
def _text_end(payload: Any, at: int, n: int) -> int:
    """Return where the text that begins at `at` has its closing quote; -1 when it is no plain one."""
    while at < n:
        c = payload[at]
        if c == _QUOTE:
            return at
        if c < 32 or c > 126 or c == _BACKSLASH:
            return -1
        at += 1
    return -1


@compiled("int64(CPointer(uint8), int64, int64, int64, CPointer(int64), int64)")
def _number(payload: Any, at: int, n: int, decimals: int, frame: Any, into: int) -> int:
    """Write a decimal number as an integer of 10^-`decimals`; return where it ends, -1 when it is not exactly one."""
    start = at
    value = 0
    while at < n and _ZERO <= payload[at] <= _NINE:
        if value > _LARGEST:
            return -1
        value = value * 10 + (payload[at] - _ZERO)
        at += 1
    if at == start or (payload[start] == _ZERO and at > start + 1):
        return -1
    if at < n and payload[at] == _DOT:
        at += 1
        first = at
        while at < n and _ZERO <= payload[at] <= _NINE:
            if decimals > 0:
                if value > _LARGEST:
                    return -1
                value = value * 10 + (payload[at] - _ZERO)
                decimals -= 1
            elif payload[at] != _ZERO:
                return -1
            at += 1
        if at == first or at > start + _LONGEST_NUMBER:
            return -1
    while decimals > 0:
        if value > _LARGEST:
            return -1
        value *= 10
        decimals -= 1
    frame[into] = value
    return at


@compiled("int64(CPointer(uint8), int64, int64, CPointer(int64), int64)")
def _int(payload: Any, at: int, n: int, frame: Any, into: int) -> int:
    """Write a whole number; return where it ends, -1 when it is none or too long."""
    start = at
    value = 0
    while at < n and _ZERO <= payload[at] <= _NINE:
        if at == start + _LONGEST_INT:
            return -1
        value = value * 10 + (payload[at] - _ZERO)
        at += 1
    if at == start or (payload[start] == _ZERO and at > start + 1):
        return -1
    frame[into] = value
    return at


@compiled("int64(CPointer(uint8), int64, int64)")
def _digits(payload: Any, at: int, count: int) -> int:
    """Return the number of so many digits, negative when one is none."""
    value = 0
    for k in range(at, at + count):
        c = payload[k]
        if c < _ZERO or c > _NINE:
            return -1
        value = value * 10 + (c - _ZERO)
    return value


@compiled("int64(CPointer(uint8), int64, int64, CPointer(int64), int64)")
def _time(payload: Any, at: int, n: int, frame: Any, into: int) -> int:
    """Write `YYYY-MM-DDTHH:MM:SS[.f]Z` as nanoseconds since 1970; return its end, -1 when it is no such time."""
    if at + 20 > n or payload[at + 4] != _MINUS or payload[at + 7] != _MINUS:
        return -1
    if payload[at + 10] != 84 or payload[at + 13] != _COLON or payload[at + 16] != _COLON:
        return -1
    year, month, day = _digits(payload, at, 4), _digits(payload, at + 5, 2), _digits(payload, at + 8, 2)
    hour, minute, second = _digits(payload, at + 11, 2), _digits(payload, at + 14, 2), _digits(payload, at + 17, 2)
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if year < 1970 or year > 2200 or month < 1 or month > 12 or day < 1 or day > 31:
        return -1
    if (month == 2 and day > 28 + leap) or (month in (4, 6, 9, 11) and day > 30):
        return -1
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return -1
    at += 19
    fraction, unit = 0, 1_000_000_000
    if payload[at] == _DOT:
        at += 1
        while at < n and _ZERO <= payload[at] <= _NINE:
            if unit == 1:
                return -1
            fraction = fraction * 10 + (payload[at] - _ZERO)
            unit //= 10
            at += 1
        if unit == 1_000_000_000:
            return -1
    if at >= n or payload[at] != 90:
        return -1
    # Days since 1970 by years that begin in March (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    march_year = year - (month <= 2)
    era = march_year // 400
    of_era = march_year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    days = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    frame[into] = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000_000 + fraction * unit
    return at + 1


@compiled("int64(CPointer(uint8), int64, int64)")
def _literal_end(payload: Any, at: int, n: int) -> int:
    """Return where true, false or null ends, -1 when it is none of them."""
    if at + 4 > n:
        return -1
    a, b, c, d = payload[at], payload[at + 1], payload[at + 2], payload[at + 3]
    if (a, b, c, d) == (116, 114, 117, 101) or (a, b, c, d) == (110, 117, 108, 108):
        return at + 4
    if (a, b, c, d) == (102, 97, 108, 115) and at + 5 <= n and payload[at + 4] == 101:
        return at + 5
    return -1


@compiled("int64(CPointer(uint8), int64, int64)")
def _skip(payload: Any, at: int, n: int) -> int:
    """Return where a text, a plain number or a literal ends, -1 for all else."""
    if at >= n:
        return -1
    c = payload[at]
    if c == _QUOTE:
        end = _text_end(payload, at + 1, n)
        return end + 1 if end >= 0 else -1
    if c != _MINUS and (c < _ZERO or c > _NINE):
        return _literal_end(payload, at, n)
    if c == _MINUS:
        at += 1
    start = at
    while at < n and _ZERO <= payload[at] <= _NINE:
        at += 1
    if at == start or (payload[start] == _ZERO and at > start + 1):
        return -1
    if at < n and payload[at] == _DOT:
        at += 1
        first = at
        while at < n and _ZERO <= payload[at] <= _NINE:
            at += 1
        if at == first:
            return -1
    return at


@compiled("int64(CPointer(uint8), int64, int64, CPointer(int64))")
def _pair(payload: Any, at: int, n: int, frame: Any) -> int:
    """Look a pair up, take its steps, leave its number in `NAME`; return its closing quote, -1 if not listed."""
    end = _text_end(payload, at, n)
    length = end - at
    if end < 0 or length == 0 or length > NAME_BYTES:
        return -1
    for k in range(NAME_WORDS):
        word = 0
        for j in range(max(0, min(8, length - 8 * k))):
            word |= payload[at + 8 * k + j] << (8 * j)
        frame[NAME + k] = word
    table = frame[TABLE_AT]
    size = frame[table]
    place = place_of(frame[NAME], frame[NAME + 1], frame[NAME + 2], size)
    for _ in range(size):
        entry = table + 1 + place * ENTRY
        if frame[entry] == 0:
            return -1
        if (
            frame[entry] == length
            and frame[entry + 1] == frame[NAME]
            and frame[entry + 2] == frame[NAME + 1]
            and frame[entry + 3] == frame[NAME + 2]
        ):
            frame[NAME] = frame[entry + TOKEN]
            frame[PRICE_DECIMALS] = frame[entry + TOKEN + 1]
            frame[SIZE_DECIMALS] = frame[entry + TOKEN + 2]
            return end
        place = (place + 1) & (size - 1)
    return -1


@compiled("int64(CPointer(uint8), int64, int64, CPointer(int64), int64)")
def _levels(payload: Any, at: int, n: int, frame: Any, into: int) -> int:
    """Read `[["price","size"], ...]`; return what comes after it, -1 when it is no such list."""
    if at + 1 >= n or payload[at] != _OPEN_LIST:
        return -1
    first = free = frame[FREE]
    at += 1 + (payload[at + 1] == _CLOSE_LIST)
    while payload[at - 1] != _CLOSE_LIST:
        if at + 2 > n or free + 2 > CODE or (free > first and payload[at - 1] != _COMMA):
            return -1
        if payload[at] != _OPEN_LIST or payload[at + 1] != _QUOTE:
            return -1
        at = _number(payload, at + 2, n, frame[PRICE_DECIMALS], frame, free)
        if at < 0 or at + 3 > n or payload[at] != _QUOTE:
            return -1
        if payload[at + 1] != _COMMA or payload[at + 2] != _QUOTE:
            return -1
        at = _number(payload, at + 3, n, frame[SIZE_DECIMALS], frame, free + 1)
        if at < 0 or at + 3 > n or payload[at] != _QUOTE or payload[at + 1] != _CLOSE_LIST:
            return -1
        free += 2
        at += 3
    frame[FREE] = free
    frame[into], frame[into + 1] = first - READ, (free - first) // 2
    return at


@compiled("int64(CPointer(uint8), int64, int64, int64, int64, CPointer(int64), int64)")
def _value(  # noqa: PLR0912  a branch a kind
    payload: Any, at: int, n: int, kind: int, argument: int, frame: Any, into: int
) -> int:
    """Read a plain value; return where it ends, -1 when it is not what it should be."""
    if kind == Kind.SKIP:
        return _skip(payload, at, n)
    if at >= n:
        return -1
    if kind == Kind.RAW_PRICE:
        return _number(payload, at, n, frame[PRICE_DECIMALS], frame, into)
    if kind == Kind.RAW_SIZE:
        return _number(payload, at, n, frame[SIZE_DECIMALS], frame, into)
    if kind == Kind.INT:
        return _int(payload, at, n, frame, into)
    if kind == Kind.MILLISECONDS:
        at = _int(payload, at, n, frame, into)
        if at < 0 or frame[into] > _MOST_MS:
            return -1
        frame[into] *= 1_000_000
        return at
    if kind == Kind.BOOL:
        end = _literal_end(payload, at, n)
        if end < 0 or payload[at] == 110:
            return -1
        frame[into] = payload[at] == 116
        return end
    if payload[at] != _QUOTE:
        return -1
    at += 1
    if kind == Kind.WORD:
        token = argument + 1
        for k in range(frame[argument]):
            if _begins(payload, at, n, frame, token):
                frame[into] = k
                return at + int(frame[token])
            token += TOKEN
        return -1
    if kind == Kind.PRICE:
        at = _number(payload, at, n, frame[PRICE_DECIMALS], frame, into)
    elif kind == Kind.SIZE:
        at = _number(payload, at, n, frame[SIZE_DECIMALS], frame, into)
    elif kind == Kind.INT_TEXT:
        at = _int(payload, at, n, frame, into)
    elif kind == Kind.TIME:
        at = _time(payload, at, n, frame, into)
    else:
        at = _pair(payload, at, n, frame)
        frame[into] = frame[NAME]
    if at < 0 or at >= n or payload[at] != _QUOTE:
        return -1
    return at + 1


@compiled("int64(CPointer(uint8), int64, int64, int64, CPointer(int64), int64)")
def _object(  # noqa: PLR0912, PLR0915  what it calls may not call it back
    payload: Any, at: int, n: int, shape: int, frame: Any, base: int
) -> int:
    """Read an object whose brace is behind us; return what comes after it, -1 when it is not of the shape.

    Fields come in any order; the one that is looked for first is the one after the last found.
    """
    fields, required, seen, expected = frame[shape + COUNT], frame[shape + REQUIRED], 0, 0
    if frame[shape + HAS_PAIR]:
        frame[PRICE_DECIMALS] = -1
    while True:
        if at >= n or payload[at] != _QUOTE:
            return -1
        at += 1
        kind, argument, into = 0, 0, NAME
        for _ in range(fields):
            field = shape + FIELDS + expected * FIELD
            if _begins(payload, at, n, frame, field):
                if seen & (1 << expected):
                    return -1
                seen |= 1 << expected
                kind = frame[field + KIND]
                argument = frame[SHAPE_AT] + frame[field + ARGUMENT]
                if frame[field + SLOT] >= 0:
                    into = base + frame[field + SLOT]
                at += frame[field]
                expected = expected + 1 if expected + 1 < fields else 0
                break
            expected = expected + 1 if expected + 1 < fields else 0
        else:
            end = _text_end(payload, at, n)
            if end < 0 or end + 1 >= n or payload[end + 1] != _COLON:
                return -1
            at = end + 2
        if (Kind.PRICE <= kind <= Kind.RAW_SIZE or kind == Kind.LEVELS) and frame[PRICE_DECIMALS] < 0:
            return -1
        if kind < Kind.OBJECT:
            at = _value(payload, at, n, kind, argument, frame, into)
        elif kind == Kind.OBJECT:
            if at >= n or payload[at] != _OPEN:
                return -1
            at = _object(payload, at + 1, n, argument, frame, base)
        elif kind == Kind.ONE:
            if at + 1 >= n or payload[at] != _OPEN_LIST or payload[at + 1] != _OPEN:
                return -1
            at = _object(payload, at + 2, n, argument, frame, base)
            if at < 0 or at >= n or payload[at] != _CLOSE_LIST:
                return -1
            at += 1
        elif kind == Kind.LEVELS:
            at = _levels(payload, at, n, frame, into)
        elif kind == Kind.ROWS:
            if at + 1 >= n or payload[at] != _OPEN_LIST:
                return -1
            first, rows, words = frame[FREE], 0, frame[argument + ROW_WORDS]
            at += 1 + (payload[at + 1] == _CLOSE_LIST)
            while payload[at - 1] != _CLOSE_LIST:
                row = frame[FREE]
                if row + words > CODE or at >= n or payload[at] != _OPEN or (rows and payload[at - 1] != _COMMA):
                    return -1
                frame[FREE] = row + words
                for k in range(row, row + words):
                    frame[k] = 0
                at = _object(payload, at + 1, n, argument, frame, row) + 1
                if at <= 0 or at > n:
                    return -1
                rows += 1
            frame[into], frame[into + 1] = first - READ, rows
        elif kind == Kind.TEXT and at < n and payload[at] == _QUOTE:
            at = _skip(payload, at, n)
        else:
            return -1
        if at < 0 or at >= n:
            return -1
        if payload[at] == _CLOSE:
            break
        if payload[at] != _COMMA:
            return -1
        at += 1
    if seen & required != required:
        return -1
    return at + 1


@compiled("int64(BYTES, int64[::1])")
def scan(payload: bytes, frame: Any) -> int:
    """Read a message into the frame, from `READ` on; return the number of its shape, -1 when it is of none."""
    n, text, words = len(payload), memory_of(payload), memory_of(frame)
    if n < 2 or n > LONGEST or text[0] != _OPEN:
        return -1
    for kind in range(words[CODE]):
        shape, width = words[CODE + 1 + 2 * kind], words[CODE + 2 + 2 * kind]
        for k in range(READ, READ + width):
            words[k] = 0
        words[SHAPE_AT], words[FREE], words[PRICE_DECIMALS] = shape, READ + width, -1
        if _object(text, 1, n, shape, words, READ) == n:
            return kind
    return -1

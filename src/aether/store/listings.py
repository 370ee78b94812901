"""Lists over many accounts: filters, an order, and pages that go on where the last one ended.

A page ends with the values of its last row in the list's order (keyset), so that rows which come or go meanwhile are
neither shown twice nor left out. Accounts that are read in database roles of their own are merged.
"""

import heapq
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from aether.domain.errors import InvalidValueError
from aether.store.database import Row, Scope
from aether.store.schema import fills, orders

PAGE = 1_000
Place = tuple[str | int, ...]
"""Where a page ended: the values of its last row."""


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What a list is narrowed down to; what is empty narrows nothing.

    Attributes:
        since_ns, until_ns: from when, and before when; 0 for any.
        text: is somewhere in the row's words, in small letters or capitals.
    """

    account: str = ""
    symbol: str = ""
    venue: str = ""
    side: str = ""
    state: str = ""
    strategy: str = ""
    since_ns: int = 0
    until_ns: int = 0
    text: str = ""


class Listing(msgspec.Struct, frozen=True):
    """A table as a list.

    Attributes:
        time: the column that `since_ns` and `until_ns` are about.
        sorts: what it can be in the order of, by the name that callers use.
        key: what tells rows apart, behind the column that they are in the order of.
        words: where `text` is looked for.
    """

    table: sa.Table
    time: str
    sorts: Mapping[str, str]
    key: tuple[str, ...]
    words: tuple[str, ...]

    def order(self, sort: str) -> tuple[tuple[str, ...], bool]:
        """Return the columns of an order, and whether it falls. Raises InvalidValueError."""
        name = sort.removeprefix("-")
        if name not in self.sorts:
            known = ", ".join(self.sorts)
            raise InvalidValueError(f"Nothing is in the order of {sort!r}.", remedy=f"Choose {known}, or - and one.")
        return tuple(dict.fromkeys((self.sorts[name], *self.key))), sort.startswith("-")

    def query(self, filters: Filters, sort: str, after: Place | None, limit: int) -> sa.Select[Any]:
        """Return the query of one page. Raises InvalidValueError."""
        columns, falls = self.order(sort)
        found = sa.select(self.table).where(*self._conditions(filters))
        by = [self.table.c[name] for name in columns]
        if after is not None:
            place = sa.tuple_(*(sa.literal(v, c.type) for v, c in zip(after, by, strict=True)))
            found = found.where(sa.tuple_(*by) < place if falls else sa.tuple_(*by) > place)
        return found.order_by(*(c.desc() if falls else c for c in by)).limit(limit)

    def _conditions(self, filters: Filters) -> list[sa.ColumnElement[bool]]:
        """Return what narrows the rows. Raises InvalidValueError where there is nothing that a filter is about."""
        c = self.table.c
        found = []
        for name in ("account", "side", "state", "strategy"):
            wanted = getattr(filters, name)
            if wanted and name not in c:
                raise InvalidValueError(f"{self.table.name} have no {name}.", remedy="Leave that filter out.")
            if wanted:
                found.append(c[name] == wanted)
        if filters.symbol:
            found.append(c.instrument.endswith(f":{filters.symbol}", autoescape=True))
        if filters.venue:
            found.append(c.instrument.startswith(f"{filters.venue}:", autoescape=True))
        if filters.since_ns:
            found.append(c[self.time] >= filters.since_ns)
        if filters.until_ns:
            found.append(c[self.time] < filters.until_ns)
        if filters.text:
            found.append(sa.or_(*(c[name].icontains(filters.text, autoescape=True) for name in self.words)))
        return found

    def place(self, row: Row, sort: str) -> Place:
        """Return where a list is after a row."""
        return tuple(_plain(getattr(row, name)) for name in self.order(sort)[0])

    async def page(
        self, scopes: Sequence[Scope], filters: Filters, sort: str, after: Place | None, limit: int
    ) -> list[Row]:
        """Return the next rows over all scopes, in order. Raises InvalidValueError."""
        query = self.query(filters, sort, after, limit)
        pages = [await scope.all(query) for scope in scopes]
        if len(pages) == 1:
            return list(pages[0])
        merged = heapq.merge(*pages, key=lambda row: self.place(row, sort), reverse=sort.startswith("-"))
        return list(merged)[:limit]

    async def rows(self, scopes: Sequence[Scope], filters: Filters, sort: str) -> AsyncIterator[Row]:
        """Yield every row, in order."""
        after: Place | None = None
        while True:
            page = await self.page(scopes, filters, sort, after, PAGE)
            for row in page:
                yield row
            if len(page) < PAGE:
                return
            after = self.place(page[-1], sort)


def _plain(value: Any) -> str | int:
    return value if isinstance(value, str) else int(value)


ORDERS = Listing(
    orders,
    "created_ns",
    {"time": "created_ns", "updated": "updated_ns", "instrument": "instrument", "state": "state", "account": "account"},
    ("account", "number"),
    ("id", "strategy", "reason", "venue_order_id"),
)
FILLS = Listing(
    fills,
    "ts_ns",
    {"time": "ts_ns", "instrument": "instrument", "notional": "notional", "account": "account"},
    ("account", "order_id", "trade_id"),
    ("order_id", "trade_id", "strategy"),
)

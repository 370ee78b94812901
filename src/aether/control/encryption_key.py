"""Replacing the key-encryption key: everything sealed is wrapped anew, and a key that wraps nothing any more goes.

A rotation takes each sealed value by itself: one that cannot be wrapped is told of and leaves the others to be. What is
still wrapped by an older key opens as before, and `resume` wraps it later.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from aether.control.access import PLATFORM, Caller
from aether.control.audit import append, entry_of
from aether.control.sealing import Sealer
from aether.control.secrets import context_of
from aether.domain.errors import KeyServiceError
from aether.store.control_schema import approvals, keys, secrets, users
from aether.store.database import Row, Scope

NS = 1_000_000_000
KEPT_S = 3_600
"""A replaced key stays so long at least: what was being sealed by it meanwhile has been stored by then."""


class Rewrapped(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a rotation.

    Attributes:
        key: wraps from now on.
        wrapped: how many values it wraps.
        failed: why, by each value that is wrapped as before.
    """

    key: str
    wrapped: int
    failed: dict[str, str]


class _Place(NamedTuple):
    """Where sealed values are kept, and what each is sealed for."""

    column: "sa.Column[bytes]"
    context: Callable[[Row], str]


PLACES = (
    _Place(secrets.c.sealed, lambda row: context_of(row.account, row.venue, row.version)),
    _Place(users.c.totp, lambda row: f"totp|{row.email}"),
    _Place(keys.c.sealed, lambda row: f"key|{row.name}"),
    _Place(approvals.c.sealed, lambda row: f"approval|{row.id}"),
)


class EncryptionKey:
    """The key-encryption key of a firm.

    Args:
        clock: nanoseconds since 1970.
    """

    def __init__(self, scope: Scope, sealer: Sealer, clock: Callable[[], int]) -> None:
        self._scope = scope
        self._sealer = sealer
        self._clock = clock

    async def rotate(self, caller: Caller) -> Rewrapped:
        """Make a new key and wrap everything by it. Raises KeyServiceError when no key can be made."""
        name = await self._sealer.keys.rotate()
        await self._note(caller, "keys.rotate", {"key": name})
        return await self.resume(caller)

    async def resume(self, caller: Caller) -> Rewrapped:
        """Wrap by the present key what an older one wraps. Raises KeyServiceError when the present one is unknown."""
        name = await self._sealer.keys.current()
        wrapped, failed = 0, {}
        for place in PLACES:
            for row in await self._rows(place):
                context = place.context(row)
                try:
                    wrapped += await self._rewrap(place, row, context, name)
                except KeyServiceError as error:
                    failed[context] = str(error)
        told = Rewrapped(key=name, wrapped=wrapped, failed=failed)
        await self._note(caller, "keys.rewrap", msgspec.to_builtins(told))
        return told

    async def retire(self) -> list[str]:
        """Let go of keys that were replaced a while ago and wrap nothing; return their names.

        Raises:
            KeyServiceError: when it cannot be told what wraps a value, or the key service is away.
        """
        in_use = {
            self._sealer.key_of(_sealed(place, row), place.context(row))
            for place in PLACES
            for row in await self._rows(place)
        }
        gone = await self._sealer.keys.retire(in_use, self._clock() - KEPT_S * NS)
        if gone:
            await self._note(PLATFORM, "keys.retire", {"keys": gone})
        return gone

    async def _rows(self, place: _Place) -> list[Row]:
        return list(await self._scope.all(sa.select(place.column.table).where(place.column != b"")))

    async def _rewrap(self, place: _Place, row: Row, context: str, name: str) -> int:
        """Wrap one value anew, unless it is already or was changed meanwhile; return whether the key wraps it."""
        sealed = _sealed(place, row)
        if self._sealer.is_newest(sealed, context, name):
            return 1
        fresh = await self._sealer.rewrap(sealed, context)
        table = place.column.table
        assert isinstance(table, sa.Table)
        is_this = sa.and_(*(column == row._mapping[column.name] for column in table.primary_key))
        statement = sa.update(table).where(is_this, place.column == sealed).values({place.column.name: fresh})
        async with self._scope.begin() as connection:
            return int((await connection.execute(statement)).rowcount)

    async def _note(self, caller: Caller, action: str, after: object) -> None:
        entry = entry_of(caller, action, "done", target=self._sealer.keys.name, after=after)
        async with self._scope.begin() as connection:
            await append(connection, entry, self._clock())


def _sealed(place: _Place, row: Row) -> bytes:
    return bytes(row._mapping[place.column.name])

"""The firm's keys at the venues: stored sealed, tried before they are kept, replaced without a restart.

A key is tried at its venue first: one that may withdraw, or may not trade, is refused. Of a stored key only its
fingerprint ever leaves. A rotation names the version it replaces, so that of two at once the second is refused; the
replaced key's text is destroyed, its history stays.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from aether.clock import wall_ns
from aether.control.access import Caller
from aether.control.audit import append, entry_of
from aether.control.sealing import Sealer
from aether.control.sessions import hold
from aether.domain.errors import ConflictError, InvalidValueError, UnknownNameError
from aether.store.announcements import announce
from aether.store.control_schema import secret_uses, secrets
from aether.store.database import Row, Scope
from aether.venues.protocol import Credentials

NS = 1_000_000_000
ROTATE_AFTER_S = 90 * 86_400
LOCK = 0x73656372


class KeyCheck(Protocol):
    """Tries a key at its venue."""

    async def __call__(self, venue: str, credentials: Credentials) -> dict[str, Any]:
        """Return what the key may do.

        Raises:
            WithdrawingKeyError: when it may withdraw.
            VenueError: when it is not valid, may not trade, or the venue cannot be reached.
        """
        ...


class SecretStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What may be told of a key.

    Attributes:
        in_use: which version each node trades with.
        rotate_by_ns: when it should be replaced.
    """

    account: str
    venue: str
    version: int
    state: str
    fingerprint: str
    permissions: dict[str, Any]
    created_by: str
    created_ns: int
    ended_ns: int
    rotate_by_ns: int
    in_use: dict[str, int] = {}


def fingerprint(credentials: Credentials) -> str:
    """Return a name for a key that tells nothing about it."""
    return hashlib.sha256(f"aether key\n{credentials.key}".encode()).hexdigest()[:16]


def context_of(account: str, venue: str, version: int) -> str:
    """Return what a key is sealed for."""
    return f"secret|{account}|{venue}|{version}"


class Secrets:
    """Stores and replaces keys.

    Args:
        check: tries a key at its venue.
        venues: names of venues that keys may be for.
    """

    def __init__(
        self,
        scope: Scope,
        sealer: Sealer,
        check: KeyCheck,
        venues: Sequence[str],
        clock: Callable[[], int] = wall_ns,
    ) -> None:
        self._scope = scope
        self._sealer = sealer
        self._check = check
        self._venues = tuple(venues)
        self._clock = clock

    def check_venue(self, venue: str) -> None:
        """Refuse a venue that keys cannot be for. Raises UnknownNameError."""
        if venue not in self._venues:
            raise UnknownNameError(f"There is no venue {venue!r}.", remedy=f"Choose of {', '.join(self._venues)}.")

    async def status(self, account: str) -> list[SecretStatus]:
        """Return the active keys of an account."""
        return [s for s in await self.history(account) if s.state == "active"]

    async def history(self, account: str) -> list[SecretStatus]:
        """Return all keys that an account ever had, newest first."""
        query = sa.select(secrets).where(secrets.c.account == account)
        rows = await self._scope.all(query.order_by(secrets.c.venue, secrets.c.version.desc()))
        uses: dict[str, dict[str, int]] = {}
        for use in await self._scope.all(sa.select(secret_uses).where(secret_uses.c.account == account)):
            uses.setdefault(use.venue, {})[use.node] = use.version
        return [_status(row, uses.get(row.venue, {}) if row.state == "active" else {}) for row in rows]

    async def due_count(self) -> int:
        """Return how many active keys should have been replaced by now."""
        query = sa.select(sa.func.count()).select_from(secrets)
        due = query.where(secrets.c.state == "active", secrets.c.rotate_by_ns <= self._clock())
        return int((await self._scope.all(due))[0][0])

    async def try_key(self, venue: str, credentials: Credentials) -> dict[str, Any]:
        """Return what a key may do, before it is stored. Raises as `KeyCheck` does."""
        self.check_venue(venue)
        if not (credentials.key.strip() and credentials.secret.strip()):
            raise InvalidValueError("Key or secret is empty.", remedy="Copy both from the venue.")
        return await self._check(venue, credentials)

    async def store(
        self,
        caller: Caller,
        account: str,
        venue: str,
        credentials: Credentials,
        *,
        replaces: int,
        reason: str = "",
    ) -> SecretStatus:
        """Try a key and make it the active one.

        Args:
            replaces: version that is active now; 0 for none.

        Raises:
            WithdrawingKeyError, VenueError, KeyServiceError: as their messages say; nothing is stored then.
            ConflictError: when another version is active by now.
        """
        action = "secrets.rotate" if replaces else "secrets.upload"
        permissions = await self.try_key(venue, credentials)
        now = self._clock()
        async with self._scope.begin() as connection:
            await hold(connection, caller)
            await self._lock(connection, account, venue)
            active, last = await self._versions(connection, account, venue)
            if active != replaces:
                raise ConflictError(
                    f"The active key of {account} at {venue} is version {active or 'none'}, not {replaces or 'none'}.",
                    remedy="Look at its status, then decide anew.",
                )
            version = last + 1
            sealed = await self._sealer.seal(msgspec.msgpack.encode(credentials), context_of(account, venue, version))
            await self._end(connection, account, venue, "replaced", now)
            row = {
                "account": account,
                "venue": venue,
                "version": version,
                "state": "active",
                "fingerprint": fingerprint(credentials),
                "permissions": permissions,
                "sealed": sealed,
                "created_by": caller.name,
                "created_ns": now,
                "ended_ns": 0,
                "rotate_by_ns": now + ROTATE_AFTER_S * NS,
            }
            await connection.execute(sa.insert(secrets), row)
            after = {"version": version, "fingerprint": row["fingerprint"], "permissions": permissions}
            before = {"version": replaces} if replaces else None
            entry = entry_of(
                caller, action, "done", account=account, target=venue, before=before, after=after, reason=reason
            )
            await append(connection, entry, now)
            await announce(connection)
        return next(s for s in await self.status(account) if s.venue == venue)

    async def test(self, caller: Caller, account: str, venue: str) -> dict[str, Any]:
        """Try the active key at its venue and return what it may do."""
        _, credentials = await SecretReader(self._scope, self._sealer).load(account, venue)
        try:
            permissions = await self._check(venue, credentials)
        except Exception as error:
            entry = entry_of(caller, "secrets.test", "failed", account=account, target=venue, reason=str(error))
            async with self._scope.begin() as connection:
                await append(connection, entry, self._clock())
            raise
        return permissions

    async def active(self, account: str, venue: str) -> int:
        """Return the version of the active key. Raises UnknownNameError when there is none."""
        async with self._scope.begin() as connection:
            found, _ = await self._versions(connection, account, venue)
        if not found:
            raise _no_key(account, venue)
        return found

    async def delete(self, caller: Caller, account: str, venue: str, version: int, reason: str = "") -> None:
        """Destroy the active key.

        Raises:
            UnknownNameError: when there is none.
            ConflictError: when another version is active meanwhile.
        """
        now = self._clock()
        async with self._scope.begin() as connection:
            await hold(connection, caller)
            await self._lock(connection, account, venue)
            active, _ = await self._versions(connection, account, venue)
            if not active:
                raise _no_key(account, venue)
            if active != version:
                raise ConflictError(
                    f"Version {active} of the key of {account} at {venue} is active, not {version}.",
                    remedy="Look at its status, and ask anew for the one that is to go.",
                )
            await self._end(connection, account, venue, "deleted", now)
            entry = entry_of(
                caller,
                "secrets.delete",
                "done",
                account=account,
                target=venue,
                before={"version": active},
                reason=reason,
            )
            await append(connection, entry, now)
            await announce(connection)

    async def _lock(self, connection: AsyncConnection, account: str, venue: str) -> None:
        await connection.execute(
            sa.text("SELECT pg_advisory_xact_lock(:space, hashtext(:key))"),
            {"space": LOCK, "key": f"{account} {venue}"},
        )

    async def _versions(self, connection: AsyncConnection, account: str, venue: str) -> tuple[int, int]:
        """Return the active version and the last one, 0 for none."""
        query = sa.select(secrets.c.version, secrets.c.state).where(
            secrets.c.account == account, secrets.c.venue == venue
        )
        rows = (await connection.execute(query)).all()
        active = next((r.version for r in rows if r.state == "active"), 0)
        return active, max((r.version for r in rows), default=0)

    async def _end(self, connection: AsyncConnection, account: str, venue: str, state: str, now: int) -> None:
        await connection.execute(
            sa.update(secrets)
            .where(secrets.c.account == account, secrets.c.venue == venue, secrets.c.state == "active")
            .values(state=state, sealed=b"", ended_ns=now)
        )


class SecretReader:
    """What a node needs of the keys: the text of the active one, in memory only (`aether.node.keys.KeyRing`).

    Args:
        node: what this process is called among nodes.
    """

    def __init__(self, scope: Scope, sealer: Sealer, node: str = "", clock: Callable[[], int] = wall_ns) -> None:
        self._scope = scope
        self._sealer = sealer
        self._node = node
        self._clock = clock

    async def version(self, account: str, venue: str) -> int:
        """Return the active version, 0 for none."""
        query = sa.select(secrets.c.version).where(_is_active(account, venue))
        found = await self._scope.all(query)
        return int(found[0].version) if found else 0

    async def load(self, account: str, venue: str) -> tuple[int, Credentials]:
        """Return version and text of the active key.

        Raises:
            UnknownNameError: when there is none.
            KeyServiceError: when it cannot be opened.
        """
        found = await self._scope.all(sa.select(secrets).where(_is_active(account, venue)))
        if not found:
            raise _no_key(account, venue)
        row = found[0]
        text = await self._sealer.open(bytes(row.sealed), context_of(account, venue, row.version))
        return row.version, msgspec.msgpack.decode(text, type=Credentials)

    async def note_use(self, account: str, venue: str, version: int) -> None:
        """Tell that this node trades with a version from now on."""
        connection = await self._scope.connect()
        try:
            await connection.execute(
                "INSERT INTO secret_uses (account, venue, node, version, loaded_ns) VALUES ($1, $2, $3, $4, $5) "
                "ON CONFLICT (account, venue, node) DO UPDATE SET version = excluded.version, "
                "loaded_ns = excluded.loaded_ns",
                account,
                venue,
                self._node,
                version,
                self._clock(),
            )
        finally:
            await connection.close()


def _is_active(account: str, venue: str) -> sa.ColumnElement[bool]:
    return sa.and_(secrets.c.account == account, secrets.c.venue == venue, secrets.c.state == "active")


def _no_key(account: str, venue: str) -> UnknownNameError:
    return UnknownNameError(f"{account} has no key of {venue}.", remedy="Upload one first.")


def _status(row: Row, uses: dict[str, int]) -> SecretStatus:
    return SecretStatus(
        account=row.account,
        venue=row.venue,
        version=row.version,
        state=row.state,
        fingerprint=row.fingerprint,
        permissions=row.permissions,
        created_by=row.created_by,
        created_ns=row.created_ns,
        ended_ns=row.ended_ns,
        rotate_by_ns=row.rotate_by_ns,
        in_use=uses,
    )

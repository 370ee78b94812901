"""The audit trail: who did what, when, from where, with what outcome; append-only, hash-chained, checkpointed.

An entry is appended in the transaction of what it tells about, so neither exists without the other. A row's hash is

    SHA-256(hash of the row before || "audit|seq|ts_ns|" || payload)

with 32 zero bytes before the first. The database refuses changes of rows to every role. A checkpoint names the heads of
this chain, of every account's journal and of every market log, and is signed with Ed25519; kept elsewhere, it shows a
chain that was cut or rewritten.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy.ext.asyncio import AsyncConnection

from aether.clock import wall_ns
from aether.control.access import Caller
from aether.control.sealing import Sealer
from aether.domain.errors import AuditBrokenError, KeyServiceError, MarketLogCorruptError
from aether.store.control_schema import audit, checkpoints, keys
from aether.store.database import Scope
from aether.store.history import StoredHistory
from aether.store.market_log import GENESIS
from aether.store.schema import journal, market_heads

PAGE_ROWS = 2_000
AUDIT_LOCK = 0x61756469
"""Advisory lock under which one transaction at a time appends."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry.

    Attributes:
        actor: who, as people know them; `actor_id` is stable.
        outcome: `done`, `asked`, `refused` or `failed`.
        target: what it was done to.
        before, after: what changed; never a secret.
        address, agent, session, request_id: from where.
    """

    actor: str
    action: str
    outcome: str
    actor_id: str = ""
    actor_kind: str = ""
    account: str = ""
    target: str = ""
    before: Any = None
    after: Any = None
    reason: str = ""
    address: str = ""
    agent: str = ""
    session: str = ""
    request_id: str = ""


class AuditRow(msgspec.Struct, frozen=True):
    """An entry as stored."""

    seq: int
    ts_ns: int
    entry: Entry
    hash: bytes


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The heads of all chains at a time.

    Attributes:
        audit_seq, audit_hash: of the audit trail; hex.
        journals: last sequence and hash of each account's journal.
        markets: last position and hash of each market log.
    """

    ts_ns: int
    audit_seq: int
    audit_hash: str
    journals: dict[str, tuple[int, str]] = {}
    markets: dict[str, tuple[int, str]] = {}


class SignedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint as it is kept elsewhere: the exact text that was signed, the signature and the key, in hex."""

    document: str
    signature: str
    public_key: str


def entry_of(
    caller: Caller,
    action: str,
    outcome: str,
    *,
    account: str = "",
    target: str = "",
    before: Any = None,
    after: Any = None,
    reason: str = "",
) -> Entry:
    """Return an entry about something that a caller did."""
    return Entry(
        actor=caller.name,
        actor_id=caller.id,
        actor_kind=caller.kind,
        action=action,
        outcome=outcome,
        account=account,
        target=target,
        before=before,
        after=after,
        reason=reason,
        address=caller.address,
        agent=caller.agent,
        session=caller.session,
        request_id=caller.request_id,
    )


def row_hash(previous: bytes, seq: int, ts_ns: int, payload: str) -> bytes:
    """Return the hash that a row must carry."""
    return hashlib.sha256(previous + f"audit|{seq}|{ts_ns}|{payload}".encode()).digest()


async def append(connection: AsyncConnection, entry: Entry, ts_ns: int) -> int:
    """Append an entry in the transaction of `connection`; return its sequence."""
    await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": AUDIT_LOCK})
    query = sa.select(audit.c.seq, audit.c.hash, audit.c.ts_ns).order_by(audit.c.seq.desc()).limit(1)
    last = (await connection.execute(query)).one_or_none()
    seq, previous, ts_ns = (last.seq + 1, bytes(last.hash), max(ts_ns, last.ts_ns)) if last else (1, GENESIS, ts_ns)
    payload = msgspec.json.encode(entry).decode()
    row = {
        "seq": seq,
        "ts_ns": ts_ns,
        "actor": entry.actor,
        "account": entry.account,
        "action": entry.action,
        "outcome": entry.outcome,
        "payload": payload,
        "hash": row_hash(previous, seq, ts_ns, payload),
    }
    await connection.execute(sa.insert(audit), row)
    return seq


class AuditProver:
    """Proves the trail; needs no private key.

    Args:
        public_key: that proves the checkpoints, hex.
        archive: the folder of the archived days of the market logs.
    """

    def __init__(self, scope: Scope, public_key: str, archive: Path | None = None) -> None:
        self._scope = scope
        self._history = StoredHistory(scope, archive)
        self.public_key = public_key

    async def rows(self) -> AsyncIterator[AuditRow]:
        """Yield every entry in order, each proven.

        Raises:
            AuditBrokenError: at the first row that does not verify.
        """
        seq, previous = 0, GENESIS
        while True:
            query = sa.select(audit).where(audit.c.seq > seq).order_by(audit.c.seq).limit(PAGE_ROWS)
            page = await self._scope.all(query)
            for row in page:
                if row.seq != seq + 1:
                    raise AuditBrokenError(seq + 1, "the row is missing")
                if row_hash(previous, row.seq, row.ts_ns, row.payload) != bytes(row.hash):
                    raise AuditBrokenError(row.seq, "its hash does not match its content and predecessor")
                found = _decode(row)
                told = (found.entry.actor, found.entry.account, found.entry.action, found.entry.outcome)
                if told != (row.actor, row.account, row.action, row.outcome):
                    raise AuditBrokenError(row.seq, "its columns differ from its payload")
                seq, previous = row.seq, bytes(row.hash)
                yield found
            if len(page) < PAGE_ROWS:
                return

    async def verify(self, kept: Sequence[SignedCheckpoint] = ()) -> int:
        """Prove the whole trail, against checkpoints too; return how many entries it has.

        Args:
            kept: checkpoints from elsewhere; those in the database are checked in any case.

        Raises:
            AuditBrokenError: naming the first row or checkpoint that does not verify.
        """
        marks = [self._prove(c) for c in (*await self.stored(), *kept)]
        wanted: dict[int, str] = {}
        for mark in marks:
            if wanted.setdefault(mark.audit_seq, mark.audit_hash) != mark.audit_hash:
                raise AuditBrokenError(mark.audit_seq, "two signed checkpoints name different hashes for it")
        count = 0
        async for row in self.rows():
            count = row.seq
            if wanted.pop(row.seq, row.hash.hex()) != row.hash.hex():
                raise AuditBrokenError(row.seq, "a signed checkpoint names another hash for it")
        wanted.pop(0, None)
        if wanted:
            raise AuditBrokenError(count + 1, f"a signed checkpoint was taken at entry {max(wanted)}; the end is gone")
        for mark in marks:
            await self._check_journals(mark)
        await self._check_markets(marks)
        return count

    def _prove(self, signed: SignedCheckpoint) -> Checkpoint:
        """Return what a checkpoint says, once its signature holds."""
        try:
            if signed.public_key != self.public_key:
                raise InvalidSignature
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed.public_key))
            key.verify(bytes.fromhex(signed.signature), signed.document.encode())
            return msgspec.json.decode(signed.document, type=Checkpoint)
        except (InvalidSignature, ValueError, msgspec.DecodeError) as error:
            raise AuditBrokenError(0, "a checkpoint's signature is not this platform's") from error

    async def _check_journals(self, mark: Checkpoint) -> None:
        for account, (seq, wanted) in mark.journals.items():
            query = sa.select(journal.c.hash).where(journal.c.account == account, journal.c.seq == seq)
            found = await self._scope.all(query)
            if not found or bytes(found[0].hash).hex() != wanted:
                reason = f"the journal of {account} differs at sequence {seq} from a signed checkpoint"
                raise AuditBrokenError(mark.audit_seq, reason)

    async def _check_markets(self, marks: Sequence[Checkpoint]) -> None:
        """Hold what all checkpoints say of a market log against it in one go: there are many of them."""
        told: dict[str, list[tuple[int, str, int]]] = {}
        for mark in marks:
            for log, (pos, wanted) in mark.markets.items():
                told.setdefault(log, []).append((pos, wanted, mark.audit_seq))
        for log, said in told.items():
            try:
                found = await self._history.hashes_at_ends(log, {pos for pos, _, _ in said})
            except MarketLogCorruptError as error:
                reason = f"a signed checkpoint cannot be held against it: {error}"
                raise AuditBrokenError(said[0][2], reason) from error
            for pos, wanted, audit_seq in said:
                if found.get(pos, b"").hex() != wanted:
                    reason = f"the market log {log} differs at position {pos} from a signed checkpoint"
                    raise AuditBrokenError(audit_seq, reason)

    async def stored(self) -> list[SignedCheckpoint]:
        """Return the checkpoints in the database in order."""
        rows = await self._scope.all(sa.select(checkpoints).order_by(checkpoints.c.seq))
        return [
            SignedCheckpoint(document=r.document, signature=bytes(r.signature).hex(), public_key=self.public_key)
            for r in rows
        ]


class AuditTrail(AuditProver):
    """The trail of a running platform: reading, adding to and checkpointing it.

    Args:
        key: signs checkpoints.
    """

    def __init__(self, scope: Scope, key: Ed25519PrivateKey, archive: Path | None = None) -> None:
        super().__init__(scope, key.public_key().public_bytes_raw().hex(), archive)
        self._key = key

    async def note(self, entry: Entry, ts_ns: int) -> None:
        """Append an entry that stands for itself: a refusal, or a read."""
        async with self._scope.begin() as connection:
            await append(connection, entry, ts_ns)

    async def page(
        self,
        accounts: Sequence[str] | None,
        *,
        limit: int,
        before: int | None = None,
        action: str = "",
        actor: str = "",
    ) -> list[AuditRow]:
        """Return entries, newest first.

        Args:
            accounts: only entries about these; None for all.
            before: sequence of the last one already seen.
            action: only actions that begin so.
        """
        query = sa.select(audit).order_by(audit.c.seq.desc()).limit(limit)
        if accounts is not None:
            query = query.where(audit.c.account.in_(list(accounts)))
        if before is not None:
            query = query.where(audit.c.seq < before)
        if action:
            query = query.where(audit.c.action.startswith(action, autoescape=True))
        if actor:
            query = query.where(audit.c.actor == actor)
        return [_decode(row) for row in await self._scope.all(query)]

    async def checkpoint(self, ts_ns: int) -> SignedCheckpoint:
        """Sign the present heads, store that, and return it to be kept elsewhere."""
        async with self._scope.begin() as connection:
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": AUDIT_LOCK})
            query = sa.select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
            last = (await connection.execute(query)).one_or_none()
            mark = Checkpoint(
                ts_ns=ts_ns,
                audit_seq=last.seq if last else 0,
                audit_hash=bytes(last.hash).hex() if last else GENESIS.hex(),
                journals=await _journal_heads(connection),
                markets=await _market_heads(connection),
            )
            document = msgspec.json.encode(mark).decode()
            signature = self._key.sign(document.encode())
            number = (await connection.execute(sa.select(sa.func.coalesce(sa.func.max(checkpoints.c.seq), 0)))).scalar()
            row = {"seq": int(number or 0) + 1, "ts_ns": ts_ns, "document": document, "signature": signature}
            await connection.execute(sa.insert(checkpoints), row)
        return SignedCheckpoint(document=document, signature=signature.hex(), public_key=self.public_key)


async def signing_key(scope: Scope, sealer: Sealer) -> Ed25519PrivateKey:
    """Return the key that signs checkpoints, made and sealed at the first time.

    Raises:
        KeyServiceError: when it cannot be opened.
    """
    query = sa.select(keys).where(keys.c.name == "audit")
    found = await scope.all(query)
    if not found:
        made = Ed25519PrivateKey.generate()
        row = {
            "name": "audit",
            "public": made.public_key().public_bytes_raw(),
            "sealed": await sealer.seal(made.private_bytes_raw(), "key|audit"),
            "created_ns": wall_ns(),
        }
        async with scope.begin() as connection:
            await connection.execute(sa.text("LOCK TABLE keys IN SHARE ROW EXCLUSIVE MODE"))
            if not (await connection.execute(sa.select(keys.c.name))).first():
                await connection.execute(sa.insert(keys), row)
        found = await scope.all(query)
    key = Ed25519PrivateKey.from_private_bytes(await sealer.open(bytes(found[0].sealed), "key|audit"))
    if key.public_key().public_bytes_raw() != bytes(found[0].public):
        raise KeyServiceError("The signing key does not fit its public half.", remedy="Restore the database's backup.")
    return key


async def read_public_key(scope: Scope) -> str:
    """Return the key that proves the checkpoints as the database has it, hex; empty before the first start."""
    found = await scope.all(sa.select(keys.c.public).where(keys.c.name == "audit"))
    return bytes(found[0].public).hex() if found else ""


async def _journal_heads(connection: AsyncConnection) -> dict[str, tuple[int, str]]:
    last = sa.select(journal.c.account, sa.func.max(journal.c.seq).label("seq")).group_by(journal.c.account).subquery()
    query = sa.select(journal.c.account, journal.c.seq, journal.c.hash).join(
        last, sa.and_(journal.c.account == last.c.account, journal.c.seq == last.c.seq)
    )
    return {r.account: (r.seq, bytes(r.hash).hex()) for r in await connection.execute(query)}


async def _market_heads(connection: AsyncConnection) -> dict[str, tuple[int, str]]:
    found = await connection.execute(sa.select(market_heads).order_by(market_heads.c.log))
    return {r.log: (r.pos, bytes(r.hash).hex()) for r in found}


def _decode(row: Any) -> AuditRow:
    return AuditRow(row.seq, row.ts_ns, msgspec.json.decode(row.payload, type=Entry), bytes(row.hash))

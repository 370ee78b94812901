"""An account's settings as versions: typed, compared, effective from a time on, never changed afterwards.

A version holds all settings. Going back makes a new version with an old one's content. What a version loosens is found
by `loosened`: it decides whether a second person is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from aether.clock import wall_ns
from aether.control.access import Caller
from aether.control.audit import append, entry_of
from aether.control.sessions import hold
from aether.domain.accounts import (
    LEAST_DEAD_MAN_S,
    AccountConfig,
    Exits,
    Limits,
    Parameters,
    Reconciliation,
    Review,
    Sizing,
)
from aether.domain.errors import ConflictError, InvalidValueError, UnknownNameError
from aether.domain.events import AccountConfigured
from aether.domain.identifiers import AccountId, StrategyName
from aether.engine.strategy import Catalogue, find_strategy, parse_params
from aether.store.announcements import announce
from aether.store.control_schema import configurations
from aether.store.database import Scope
from aether.store.requests import insert_requests
from aether.store.schema import accounts

NS = 1_000_000_000
AHEAD_S = 30 * 86_400
LOCK = 0x636F6E66


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What people may set of a running account.

    Attributes:
        strategies: the parameters of its strategies, all of them, by strategy; with others it begins anew.
    """

    limits: Limits = Limits()
    sizing: Sizing = Sizing()
    exits: Exits = Exits()
    review: Review = Review()
    reconciliation: Reconciliation = Reconciliation()
    strategies: dict[StrategyName, Parameters] = {}


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version; `number` 0 is what the account was opened with."""

    number: int
    document: Document
    author: str
    reason: str
    created_ns: int
    effective_ns: int
    applied_ns: int


SUPERSEDED = -1
"""In place of the time at which a version was applied: a later one takes effect before it, so it never does."""


def in_force(versions: Sequence[Version], at_ns: int) -> Version:
    """Return the version that is in force at a time, of all, newest first."""
    return next(v for v in versions if v.applied_ns != SUPERSEDED and v.effective_ns <= at_ns)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One field that differs from what is in force, or from a version to come that would never take effect."""

    field: str
    before: Any
    after: Any
    loosens: bool


TIGHTER_WHEN_HIGHER = frozenset(
    (
        "limits.duplicate_window_ms",
        "limits.repeated_order_window_s",
        "exits.cool_down_s",
        "sizing.volatility_halflife_bars",
    )
)
"""Numbers that protect more the higher they are; all other limits and sizes protect more the lower they are."""

ORDERED = (
    ("limits", "max_position_bps", "max_gross_exposure_bps"),
    ("limits", "max_orders_per_second", "max_orders_per_minute"),
    ("limits", "max_daily_loss_bps", "max_drawdown_bps"),
    ("exits", "min_stop_bps", "max_stop_bps"),
)
"""Settings of which the first would mean nothing above the second."""
EITHER_WAY = ("exits.", "review.", "reconciliation.", "strategies.")
"""Fields in which any change counts as loosening: there is no safe direction."""


def document_of(config: AccountConfig, catalogue: Catalogue) -> Document:
    """Return the settings that an account has now."""
    return Document(
        limits=config.limits,
        sizing=config.sizing,
        exits=config.exits,
        review=config.review,
        reconciliation=config.reconciliation,
        strategies={s.strategy: _all_params(s.strategy, s.params, catalogue) for s in config.strategies},
    )


def _known_params(strategy: StrategyName, params: Parameters, catalogue: Catalogue) -> Parameters | None:
    """Return a strategy's parameters with those that are left out; None where its code does not take them any more."""
    try:
        found: Parameters = msgspec.to_builtins(parse_params(find_strategy(catalogue, strategy), params))
    except (InvalidValueError, UnknownNameError):
        return None
    return found


def _all_params(strategy: StrategyName, params: Parameters, catalogue: Catalogue) -> Parameters:
    """The same, as they are where its code does not take them any more."""
    return _known_params(strategy, params, catalogue) or params


def diff(before: Document, after: Document) -> list[Change]:
    """Return the fields that differ, and which of them loosen."""
    old, new = _flat(before), _flat(after)
    return [
        Change(field=f, before=old.get(f), after=new.get(f), loosens=_loosens(f, old.get(f), new.get(f)))
        for f in old | new
        if old.get(f) != new.get(f)
    ]


def loosened(changes: list[Change]) -> list[str]:
    """Return the fields that a change loosens."""
    return [c.field for c in changes if c.loosens]


def _flat(document: Document) -> dict[str, Any]:
    parts = msgspec.to_builtins(document)
    strategies = parts.pop("strategies")
    parts |= {f"strategies.{strategy}": params for strategy, params in strategies.items()}
    return {f"{part}.{name}": value for part, fields in parts.items() for name, value in fields.items()}


def _loosens(field: str, before: Any, after: Any) -> bool:
    if field in TIGHTER_WHEN_HIGHER:
        return bool(after < before)
    return field.startswith(EITHER_WAY) or bool(after > before)


def parse_document(base: Document, changes: Mapping[str, Any], catalogue: Catalogue) -> Document:
    """Return `base` with some fields replaced.

    Args:
        changes: by part, then by field: `{"limits": {"max_daily_loss_bps": 200}}`; parameters by strategy before that:
            `{"strategies": {"ema_cross": {"fast": 20}}}`.

    Raises:
        InvalidValueError: on an unknown field, a value out of bounds, or two that contradict each other.
        UnknownNameError: when the account's strategy is not there any more.
    """
    merged = msgspec.to_builtins(base)
    strategies: dict[StrategyName, Parameters] = merged.pop("strategies")
    changes = dict(changes)
    for name, params in changes.pop("strategies", {}).items():
        if name not in strategies or not isinstance(params, Mapping):
            told = f"Its strategies: {', '.join(strategies)}." if strategies else "It has none: it is traded by hand."
            raise InvalidValueError(f"The account has no strategy {name!r} with parameters by name.", remedy=told)
        found = parse_params(find_strategy(catalogue, name), {**strategies[name], **params})
        strategies[name] = msgspec.to_builtins(found)
    for part, fields in changes.items():
        if part not in merged or not isinstance(fields, Mapping):
            told = f"Parts are {', '.join(merged)}, strategies."
            raise InvalidValueError(f"There is no part {part!r}.", remedy=told)
        unknown = sorted(set(fields) - set(merged[part]))
        if unknown:
            raise InvalidValueError(
                f"There is no setting {part}.{unknown[0]}.", remedy=f"Settings are {', '.join(merged[part])}."
            )
        merged[part].update(fields)
    try:
        document = msgspec.convert(merged | {"strategies": strategies}, Document)
    except msgspec.ValidationError as error:
        raise InvalidValueError(f"A setting is out of bounds: {error}.", remedy="Correct the value.") from error
    for part, lower, upper in ORDERED:
        low, high = merged[part][lower], merged[part][upper]
        if low > high:
            raise InvalidValueError(
                f"{part}.{lower} would be {low}, above {part}.{upper}, {high}: they contradict each other.",
                remedy=f"Change both at once, {lower} to {high} or less.",
            )
    silence_s = document.reconciliation.dead_man_s
    if 0 < silence_s < LEAST_DEAD_MAN_S:
        raise InvalidValueError(
            f"reconciliation.dead_man_s would be {silence_s}: a fault of the network that passes cancels everything.",
            remedy=f"Choose 0 for never, or {LEAST_DEAD_MAN_S} seconds or more.",
        )
    if silence_s and document.exits.at_venue:
        raise InvalidValueError(
            f"exits.at_venue and reconciliation.dead_man_s ({silence_s}) contradict each other: after that silence the "
            "venue would cancel the stops that are there for it.",
            remedy="Choose one: stops that stay at the venue, or a venue that cancels everything.",
        )
    return document


class Configurations:
    """The versions of all accounts' settings."""

    def __init__(self, scope: Scope, catalogue: Catalogue, clock: Callable[[], int] = wall_ns) -> None:
        self._scope = scope
        self._catalogue = catalogue
        self._clock = clock

    async def history(self, account: str) -> list[Version]:
        """Return all versions, newest first. Raises UnknownNameError."""
        async with self._scope.begin() as connection:
            return await self._history(connection, account)

    async def _history(self, connection: AsyncConnection, account: str) -> list[Version]:
        found = (await connection.execute(sa.select(accounts).where(accounts.c.account == account))).one_or_none()
        if found is None:
            raise UnknownNameError(f"There is no account {account!r}.", remedy="Look at the list of accounts.")
        query = sa.select(configurations).where(configurations.c.account == account)
        rows = (await connection.execute(query.order_by(configurations.c.version.desc()))).all()
        versions = [
            Version(
                number=r.version,
                document=self._stored(r.document),
                author=r.author,
                reason=r.reason,
                created_ns=r.created_ns,
                effective_ns=r.effective_ns,
                applied_ns=r.applied_ns,
            )
            for r in rows
        ]
        if not versions:
            config = msgspec.convert(found.config, AccountConfig)
            opened = Version(
                number=0,
                document=document_of(config, self._catalogue),
                author="platform",
                reason="as opened",
                created_ns=found.opened_ns,
                effective_ns=found.opened_ns,
                applied_ns=found.opened_ns,
            )
            versions = [opened]
        return versions

    def _stored(self, stored: Mapping[str, Any]) -> Document:
        """Return a stored document; parameters that its strategies have got since then have their defaults."""
        document = msgspec.convert(stored, Document)
        strategies = {s: _all_params(s, params, self._catalogue) for s, params in document.strategies.items()}
        return msgspec.structs.replace(document, strategies=strategies)

    async def version(self, account: str, number: int) -> Version:
        """Return one version. Raises UnknownNameError."""
        for found in await self.history(account):
            if found.number == number:
                return found
        raise UnknownNameError(f"{account} has no version {number}.", remedy="Look at its history.")

    async def propose(
        self, account: str, changes: Mapping[str, Any], base: int, effective_ns: int = 0
    ) -> tuple[Document, list[Change]]:
        """Return what the settings would be, and what differs from those in force then.

        A version to come that would be superseded counts too: what it would have brought is not brought.

        Args:
            base: the newest version that the caller has seen.
            effective_ns: when they are to take effect, 0 for now.

        Raises:
            ConflictError: when `base` is not the newest version any more.
        """
        versions = await self.history(account)
        self._check_base(account, versions[0].number, base)
        from_ns = max(effective_ns, self._clock())
        before = in_force(versions, from_ns).document
        document = parse_document(before, changes, self._catalogue)
        found = diff(before, document)
        for version in versions:
            if version.applied_ns == 0 and version.effective_ns > from_ns:
                named = f", as version {version.number} would bring it"
                found += [msgspec.structs.replace(c, field=c.field + named) for c in diff(version.document, document)]
        return document, found

    def to_come(self, effective_ns: int) -> int:
        """Return a time to come as it is, 0 for one that is past by now."""
        return effective_ns if effective_ns > self._clock() else 0

    def _check_base(self, account: str, newest: int, base: int) -> None:
        if newest != base:
            raise ConflictError(
                f"The newest version of {account} is {newest}, not {base}.", remedy="Look at it, then decide anew."
            )

    async def save(
        self, caller: Caller, account: str, document: Document, base: int, reason: str, effective_ns: int = 0
    ) -> Version:
        """Write the next version; it is applied at its time by `apply_due`.

        Versions that were to take effect after it never do: they were made, and approved, on top of other settings.

        Raises:
            ConflictError: when `base` is not the newest version any more.
            InvalidValueError: when the time is past or too far away, or nothing differs.
        """
        now = self._clock()
        effective_ns = effective_ns or now
        if not now - 300 * NS <= effective_ns <= now + AHEAD_S * NS:
            raise InvalidValueError(
                "The effective time is past or over 30 days away.", remedy="Give a time within 30 days, or none."
            )
        async with self._scope.begin() as connection:
            await hold(connection, caller)
            await connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(:space, hashtext(:key))"), {"space": LOCK, "key": account}
            )
            versions = await self._history(connection, account)
            newest = versions[0]
            self._check_base(account, newest.number, base)
            if newest.number == 0:
                await self._keep_opening(connection, account, newest)
            changes = diff(in_force(versions, max(effective_ns, now)).document, document)
            superseded = await self._supersede(connection, account, max(effective_ns, now))
            if not (changes or superseded):
                raise InvalidValueError("Nothing differs from the settings in force.", remedy="Change something.")
            row = {
                "account": account,
                "version": newest.number + 1,
                "document": msgspec.to_builtins(document),
                "author": caller.name,
                "reason": reason,
                "created_ns": now,
                "effective_ns": effective_ns,
                "applied_ns": 0,
            }
            await connection.execute(sa.insert(configurations), row)
            entry = entry_of(
                caller,
                "accounts.configure",
                "done",
                account=account,
                target=f"version {newest.number + 1}",
                before={c.field: c.before for c in changes},
                after={c.field: c.after for c in changes} | ({"superseded": superseded} if superseded else {}),
                reason=reason,
            )
            await append(connection, entry, now)
            await self._apply_due(connection, now)
            await announce(connection)
        return (await self.history(account))[0]

    async def _supersede(self, connection: AsyncConnection, account: str, after_ns: int) -> list[int]:
        """Let the versions that wait for a later time never take effect; return their numbers."""
        query = (
            sa.update(configurations)
            .where(
                configurations.c.account == account,
                configurations.c.applied_ns == 0,
                configurations.c.effective_ns > after_ns,
            )
            .values(applied_ns=SUPERSEDED)
            .returning(configurations.c.version)
        )
        return sorted((await connection.execute(query)).scalars())

    async def _keep_opening(self, connection: AsyncConnection, account: str, opened: Version) -> None:
        """Write down what the account was opened with, before the first change."""
        row = {
            "account": account,
            "version": 0,
            "document": msgspec.to_builtins(opened.document),
            "author": opened.author,
            "reason": opened.reason,
            "created_ns": opened.created_ns,
            "effective_ns": opened.effective_ns,
            "applied_ns": opened.applied_ns,
        }
        await connection.execute(insert(configurations).values(row).on_conflict_do_nothing())

    async def apply_due(self) -> int:
        """Hand versions whose time has come to their accounts; return how many."""
        async with self._scope.begin() as connection:
            return await self._apply_due(connection, self._clock())

    async def _apply_due(self, connection: AsyncConnection, now: int) -> int:
        query = (
            sa.select(configurations)
            .where(configurations.c.applied_ns == 0, configurations.c.effective_ns <= now)
            .order_by(configurations.c.account, configurations.c.version)
            .with_for_update(skip_locked=True)
        )
        rows = (await connection.execute(query)).all()
        for row in rows:
            document = self._stored(row.document)
            event = AccountConfigured(
                ts_ns=0,
                version=row.version,
                limits=document.limits,
                sizing=document.sizing,
                exits=document.exits,
                review=document.review,
                reconciliation=document.reconciliation,
                strategies={
                    s: params
                    for s, params in document.strategies.items()
                    if _known_params(s, params, self._catalogue) is not None  # else the limits would be refused with it
                },
                actor=row.author,
            )
            await insert_requests(connection, [AccountId(row.account)], event)
            await connection.execute(
                sa.update(configurations)
                .where(configurations.c.account == row.account, configurations.c.version == row.version)
                .values(applied_ns=now)
            )
        return len(rows)

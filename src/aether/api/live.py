"""What a page follows: a state for each topic, as its caller may see it, and how one state becomes the next.

A topic's state is a JSON object without nulls. A page that subscribes is sent the whole state (`snapshot`) and then
what changed (`delta`), a JSON Merge Patch (RFC 7386): objects are merged, anything else replaces what was there, null
takes it away. What a page is sent is the difference to what it was sent before: a slow page gets fewer and larger
deltas, never the past.

| topic | state |
| --- | --- |
| `desk` | `accounts` by id, `totals` by currency, `system` |
| `fills:{account}` | `fills` by order and trade, the newest ones |
| `bars:{instrument}` | `bars` by their end: the last minutes |
| `approvals` | `waiting`: the requests that wait for a second person |
| `alerts` | `alerts`: what the accounts warned of last |
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import msgspec

from aether.api.accounts import fill_of
from aether.api.guard import account_scope
from aether.api.market import bars_of
from aether.api.ports import Context
from aether.api.system import system_of
from aether.bus.local import LocalBus
from aether.clock import monotonic_s
from aether.control.access import ACTIONS, Caller
from aether.control.desk import PlanReader
from aether.domain.errors import UnknownNameError
from aether.domain.identifiers import AccountId, InstrumentId
from aether.domain.scaled import format_amount, parse_amount
from aether.node.summary import WORTH
from aether.store import queries

READS, APPROVES, SEES_PLATFORM = (ACTIONS[a] for a in ("accounts.read", "approvals.read", "platform.read"))
FILLS_SHOWN = 50
BARS_SHOWN = 5
APPROVALS_SHOWN = 100
ALERTS_SHOWN = 50
CLOSED_EVERY_S = 2.0
DESK, FILLS, BARS, APPROVALS, ALERTS = "desk", "fills", "bars", "approvals", "alerts"

State = Mapping[str, Any]
Version = tuple[object, ...]


def difference(before: State, after: State) -> dict[str, Any]:
    """Return the merge patch that makes `after` of `before`; empty when nothing has changed."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        known = before.get(key)
        if known is value:
            continue
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            if changed := difference(known, value):
                patch[key] = changed
        elif known != value or key not in before:
            patch[key] = value
    return patch


def desk_of(context: Context, caller: Caller, system: State, closed: Collection[str]) -> State:
    """Return the accounts that a caller may see, what they are worth together, and how the platform is.

    Args:
        closed: accounts that are archived; they are told of until nothing of them works at a venue any more.
    """
    told = {
        account["id"]: account
        for account in context.bus.latest("account.").values()
        if caller.may(READS, account["id"]) and not (account["id"] in closed and _is_empty(account))
    }
    return {"accounts": told, "totals": totals(told.values()), "system": system}


def _is_empty(account: State) -> bool:
    """Return whether nothing of an account works at a venue any more."""
    return account["status"] == "killed" and not account["open_orders"] and not account["unconfirmed"]


def totals(accounts: Any) -> dict[str, dict[str, Any]]:
    """Return sums over accounts, by currency: what is in different currencies is not added up, a shadow is no money."""
    sums: dict[str, dict[str, int]] = {}
    count: dict[str, int] = {}
    for account in accounts:
        if account["shadow_of"]:
            continue
        one = sums.setdefault(account["currency"], dict.fromkeys(WORTH, 0))
        count[account["currency"]] = count.get(account["currency"], 0) + 1
        for name in WORTH:
            one[name] += parse_amount(account[name])
    return {
        currency: {name: format_amount(amount) for name, amount in sum_.items()} | {"accounts": count[currency]}
        for currency, sum_ in sorted(sums.items())
    }


def ages_ms(bus: LocalBus, caller: Caller) -> dict[str, int]:
    """Return for each account that a caller may see how long ago it last told anything, milliseconds."""
    names = [topic.partition(".")[2] for topic in bus.latest("account.")]
    return {a: int(bus.age_s(f"account.{a}") * 1000) for a in names if caller.may(READS, a)}


class Stored:
    """Topics whose state is in the database, read once for all who follow them and only when there is news."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[str, tuple[Version, State]] = {}

    async def state(self, topic: str, caller: Caller) -> State | None:
        """Return a topic's state, None when the caller may not see it or there is no such topic.

        Raises:
            UnknownNameError: when it is of an account that does not exist.
            Whatever keeps the database from answering.
        """
        kind, _, name = topic.partition(":")
        if kind == FILLS and caller.may(READS, name):
            return await self._fresh(topic, self._version(f"changed.{name}"), lambda: self._fills(name))
        if kind == BARS and caller.may(SEES_PLATFORM) and self._is_offered(name):
            return await self._fresh(topic, self._version(f"bar.{name}"), lambda: self._bars(name))
        if kind == APPROVALS and not name:
            return await self._approvals(caller)
        if kind == ALERTS and not name:
            return await self._alerts(caller)
        return None

    async def closed(self) -> Collection[str]:
        """Return the accounts that are archived. Raises whatever keeps the database from answering."""

        async def read() -> State:
            return dict.fromkeys(await PlanReader(self._context.database.control).archived(), True)

        return await self._fresh("closed", (int(monotonic_s() / CLOSED_EVERY_S),), read)

    def _version(self, news: str) -> Version:
        return tuple(self._context.bus.latest(news).get(news, {}).values())

    def _is_offered(self, instrument: str) -> bool:
        return bool(self._context.feed) and instrument in {i.id for i in self._context.offer().instruments}

    async def _fresh(self, topic: str, version: Version, read: Callable[[], Awaitable[State]]) -> State:
        known = self._known.get(topic)
        if known is not None and known[0] == version:
            return known[1]
        state = await read()
        self._known[topic] = (version, state)
        return state

    async def _fills(self, account: str) -> State:
        """Return an account's newest fills. Raises UnknownNameError."""
        scope = await account_scope(self._context, account) if account.isprintable() else None
        if scope is None:
            raise UnknownNameError(f"There is no account {account!r}.", remedy="Look at the list of accounts.")
        stored = await queries.get_account(scope, account)
        rows = await queries.list_fills(scope, AccountId(account), limit=FILLS_SHOWN)
        fills = [fill_of(row, stored.instruments[InstrumentId(row.instrument)]) for row in rows]
        return {"fills": {f"{f.order_id} {f.trade_id}": f.model_dump(mode="json") for f in fills}}

    async def _bars(self, instrument: str) -> State:
        bars = await bars_of(self._context, instrument, BARS_SHOWN)
        return {"bars": {str(bar.ts_ns): bar.model_dump(mode="json") for bar in bars}}

    async def _approvals(self, caller: Caller) -> State:
        allowed = None if caller.may(APPROVES) else sorted(a for a in caller.roles if caller.may(APPROVES, a))
        if allowed == []:
            return {"waiting": {}}

        async def read() -> State:
            page = self._context.control.approvals.page
            found = await page(allowed, only_waiting=True, limit=APPROVALS_SHOWN, before_ns=None)
            return {"waiting": {a.id: {"summary": a.summary, "requested_by": a.requested_by} for a in found}}

        return await self._fresh(f"{APPROVALS} {allowed}", (int(monotonic_s()),), read)

    async def _alerts(self, caller: Caller) -> State:
        accounts = sorted(a["id"] for a in self._context.bus.latest("account.").values() if caller.may(READS, a["id"]))

        async def read() -> State:
            rows = await queries.newest_alerts(self._context.database.desk, accounts, limit=ALERTS_SHOWN)
            return {
                "alerts": {
                    f"{r.account} {r.seq} {r.part}": {
                        "account": r.account,
                        "ts_ns": int(r.ts_ns),
                        "severity": r.severity,
                        "code": r.code,
                        "message": r.message,
                    }
                    for r in rows
                }
            }

        news = tuple(self._version(f"changed.{account}") for account in accounts)
        return await self._fresh(f"{ALERTS} {accounts}", news, read)


def encode(message: Mapping[str, Any]) -> str:
    """Return a message as text."""
    return msgspec.json.encode(message).decode()


def system_state(context: Context, caller: Caller) -> State:
    """Return how the platform is, as a caller may know it; nothing to who may not."""
    if not caller.may(SEES_PLATFORM):
        return {}
    return system_of(context, caller).model_dump(mode="json")

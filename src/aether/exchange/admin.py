"""The local exchange's admin interface, for tests and drills: what is there, keys, faults, states, the next move."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from aiohttp import web

from aether.domain.scaled import format_amount
from aether.exchange.faults import FAULTS

if TYPE_CHECKING:
    from aether.exchange.server import Exchange, LocalExchange

T = TypeVar("T")


class _Asked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What every request is strict about: a field that nobody knows is a typing error."""


class _Account(_Asked):
    exchange: str
    account: str
    balances: dict[str, str] = {}
    can_trade: bool = True
    can_withdraw: bool = False
    public_key: str = ""
    once: bool = False


class _Faults(_Asked):
    exchange: str = ""
    rates: dict[str, float] = {}
    next: dict[str, int] = {}
    slow_s: float = 1.0
    skew_ms: int = 0


class _Venue(_Asked):
    exchange: str
    state: Literal["", "online", "post_only", "cancel_only", "maintenance", "delisted"] = ""
    symbol: str = ""
    disconnect: bool = False


def build_admin(app: web.Application, local: "LocalExchange") -> None:
    """Add the admin interface to an application."""

    def exchange_of(name: str) -> "Exchange":
        if name not in local.exchanges:
            raise _refused(f"there is no exchange {name!r}; there are {', '.join(local.exchanges)}")
        return local.exchanges[name]

    async def state(_request: web.Request) -> web.Response:
        return _answer({name: _state(e) for name, e in local.exchanges.items()})

    async def accounts(request: web.Request) -> web.Response:
        f = await _asked(request, _Account)
        is_known = f.account in exchange_of(f.exchange).venue.accounts
        key, secret = local.open_account(
            f.exchange,
            f.account,
            {} if is_known and f.once else f.balances,
            can_trade=f.can_trade,
            can_withdraw=f.can_withdraw,
            public_key=f.public_key,
        )
        return _answer({"key": key, "secret": secret})

    async def faults(request: web.Request) -> web.Response:
        f = await _asked(request, _Faults)
        if unknown := ({*f.rates, *f.next}) - set(FAULTS):
            raise _refused(f"unknown faults {sorted(unknown)}; known are {list(FAULTS)}")
        for exchange in [exchange_of(f.exchange)] if f.exchange else list(local.exchanges.values()):
            chosen = exchange.faults
            chosen.rates, chosen.pending = dict(f.rates), dict(f.next)
            chosen.skew_ms, chosen.slow_s = f.skew_ms, f.slow_s
        return _answer({"ok": True})

    async def venue(request: web.Request) -> web.Response:
        f = await _asked(request, _Venue)
        exchange = exchange_of(f.exchange)
        if f.symbol and f.symbol not in exchange.venue.markets:
            raise _refused(f"{f.exchange} has no pair {f.symbol!r}; it has {', '.join(exchange.venue.markets)}")
        if f.state == "delisted" and not f.symbol:
            raise _refused("only a pair is delisted: name it as `symbol`")
        if f.state and f.symbol:
            exchange.venue.set_market(f.symbol, f.state)
        elif f.state:
            exchange.venue.state = f.state
        if f.disconnect:
            exchange.face.disconnect_all()
        return _answer({"ok": True})

    async def step(request: web.Request) -> web.Response:
        for _ in range(int(request.query.get("steps", 1))):
            local.step()
        return _answer({"ok": True})

    async def ledger(request: web.Request) -> web.Response:
        account = request.query["account"]
        return _answer({name: _ledger(e, account) for name, e in local.exchanges.items()})

    gets: dict[str, Callable[[web.Request], Awaitable[web.Response]]] = {"/state": state, "/ledger": ledger}
    posts = {"/accounts": accounts, "/faults": faults, "/venue": venue, "/step": step}
    app.router.add_routes([web.get(path, work) for path, work in gets.items()])
    app.router.add_routes([web.post(path, work) for path, work in posts.items()])


async def _asked(request: web.Request, kind: type[T]) -> T:
    """Return a request's body. Raises what becomes a 400 that says what is wrong with it."""
    try:
        return msgspec.json.decode(await request.read(), type=kind, strict=False)
    except msgspec.DecodeError as error:
        raise _refused(str(error)) from error


def _refused(why: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=msgspec.json.encode({"error": why}).decode(), content_type="application/json")


def _state(exchange: "Exchange") -> dict[str, Any]:
    own = {n: a for n, a in exchange.venue.accounts.items() if not n.startswith("background")}
    return {
        "url": exchange.url,
        "ws_url": exchange.ws_url,
        "limits": exchange.face.enforce_limits,
        "state": exchange.venue.state,
        "pairs": {m: exchange.venue.states[m] for m in exchange.venue.markets if m in exchange.venue.states},
        "faults": exchange.faults.happened,
        "rates": exchange.faults.rates,
        "accounts": {
            name: {
                "balances": {asset: format_amount(v) for asset, v in account.total.items()},
                "held": {asset: format_amount(v) for asset, v in account.held.items()},
                "open_orders": len(account.open),
                "orders": len(account.orders),
                "trades": len(account.trades),
            }
            for name, account in own.items()
        },
    }


def _ledger(exchange: "Exchange", name: str) -> list[dict[str, Any]]:
    """Return every execution of an account, for drills to hold the books against."""
    return [
        {
            "client_id": order.request.client_id,
            "order": order.number,
            "trade": trade.number,
            "side": order.request.side.value,
            "symbol": order.market.symbol,
            "size": trade.size,
            "price": trade.price,
        }
        for order, trade in exchange.venue.account(name).trades
    ]


def _answer(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")

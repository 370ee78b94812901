"""What goes over the wire. Money, prices and sizes are exact decimal text, times nanoseconds since 1970 UTC."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Base: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Problem(Model):
    """An error as RFC 9457 describes it; `remedy` says what to do."""

    title: str
    status: int
    detail: str
    remedy: str = ""


class SessionRequest(Model):
    """A one-time token."""

    token: str = Field(min_length=1, max_length=200)


class LinkRequest(Model):
    """The secret from the data directory."""

    secret: str = Field(min_length=1, max_length=200)


class Link(Model):
    """A token for one session."""

    token: str


class StrategyUse(Model):
    """A strategy at work in an account."""

    strategy: str
    instruments: list[str]
    bar_s: int
    params: dict[str, float | int | str | bool]


class ParentOrder(Model):
    """An amount traded over venues or time, and how far it is. `ended_ns` is 0 while it is at work."""

    id: str
    symbol: str
    side: str
    algorithm: str
    amount: str
    filled: str
    average_price: str
    notional: str
    fees: str
    children: int
    state: str
    reason: str
    started_ns: int
    ended_ns: int


class AccountSummary(Model):
    """An account as the overview shows it."""

    id: str
    name: str
    kind: str
    mode: str
    currency: str
    strategies: list[StrategyUse]
    status: str
    reason: str
    nav: str
    cash: str
    exposure: str
    realized: str
    unrealized: str
    fees: str
    capital: str
    day_start_nav: str
    open_orders: int
    parents: list[ParentOrder]
    ts_ns: int
    seq: int


class Position(Model):
    """A holding at average cost, valued at the mark."""

    instrument: str
    symbol: str
    quantity: str
    average_price: str
    mark: str
    value: str
    cost: str
    unrealized: str
    realized: str
    fees: str


class Balance(Model):
    """An asset at a venue."""

    key: str
    free: str
    locked: str


class Order(Model):
    """An order."""

    id: str
    number: int
    instrument: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    purpose: str
    strategy: str
    state: str
    size: str
    filled: str
    limit_price: str
    average_price: str
    fees: str
    reason: str
    created_ns: int
    updated_ns: int


class Fill(Model):
    """An execution."""

    order_id: str
    trade_id: str
    seq: int
    ts_ns: int
    instrument: str
    symbol: str
    side: str
    price: str
    size: str
    notional: str
    fee: str
    realized: str
    liquidity: str
    purpose: str
    strategy: str


class EquityPoint(Model):
    """An account's worth at a moment."""

    ts_ns: int
    nav: str
    cash: str
    exposure: str


class Breach(Model):
    """A check that failed."""

    check: str
    value: str
    limit: str


class Verdict(Model):
    """What the risk gate said about an order."""

    order_id: str
    ts_ns: int
    instrument: str
    approved: bool
    breaches: list[Breach]


class Alert(Model):
    """Something a person should know."""

    ts_ns: int
    severity: str
    code: str
    message: str


class Instrument(Model):
    """A pair at a venue."""

    id: str
    symbol: str
    venue: str
    base: str
    quote: str
    price_decimals: int
    size_decimals: int
    tick: str
    lot: str
    min_notional: str


class Bar(Model):
    """Open, high, low, close and volume of a minute that ends at `ts_ns`."""

    ts_ns: int
    open: str
    high: str
    low: str
    close: str
    volume: str


class KillRequest(Model):
    """Engage or release the kill switch; without an account, of all accounts."""

    reason: str = Field(min_length=3, max_length=500)
    account: str | None = None
    flatten: bool = False


class ResumeRequest(Model):
    """Let trading go on."""

    reason: str = Field(min_length=3, max_length=500)


class KillState(Model):
    """The kill switch of an account."""

    account: str
    engaged: bool
    reason: str


class KillResult(Model):
    """What came of a kill switch request: `applied` is False while the node has not confirmed it yet."""

    applied: bool
    accounts: list[KillState]


class StrategyParameter(Model):
    """A parameter with its bounds, as JSON Schema has them."""

    name: str
    default: float | int | str | bool
    description: str
    bounds: dict[str, Any]


class Strategy(Model):
    """A strategy that accounts may run."""

    name: str
    summary: str
    parameters: list[StrategyParameter]


class Check(Model):
    """One thing that the service depends on."""

    name: str
    ok: bool
    detail: str


class System(Model):
    """The service as a whole."""

    version: str
    market: str
    ready: bool
    checks: list[Check]

"""A small desk for tests: an account with an engine, told about by short words."""

from collections.abc import Callable
from typing import Any

import msgspec

from aether.domain.accounts import (
    AccountConfig,
    AccountKind,
    Exits,
    Limits,
    Mode,
    Review,
    Sizing,
    StrategyAssignment,
)
from aether.domain.commands import CancelAll, CancelOrder, Command, RaiseAlert, SubmitOrder
from aether.domain.events import (
    AccountConfigured,
    Bar,
    Event,
    OrderAccepted,
    OrderFilled,
    Quote,
    opening_events,
)
from aether.domain.identifiers import (
    AccountId,
    AssetCode,
    ClientOrderId,
    FeedId,
    Owner,
    StrategyName,
    TradeId,
    VenueId,
    VenueOrderId,
    strategy_owner,
)
from aether.domain.instruments import Instrument, make_instrument
from aether.domain.orders import Liquidity, Order, OrderRequest
from aether.domain.scaled import AMOUNT_SCALE, fee_of
from aether.engine.changes import Changes
from aether.engine.core import Engine
from aether.engine.exits import ExitPlan
from aether.engine.stops import Stop, reason_of
from aether.engine.strategy import AccountView, BarValues, Catalogue, Intent, StrategyDefinition
from aether.engine.valuation import mark
from aether.strategies import catalogue

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
BTC = make_instrument(VenueId("paper"), "BTC/USD", price_decimals=2, size_decimals=8)
ETH = make_instrument(VenueId("paper"), "ETH/USD", price_decimals=2, size_decimals=8)

SCRIPTED = strategy_owner(StrategyName("scripted"))

Script = Callable[[BarValues, AccountView], list[Intent]]


class NoParams(msgspec.Struct, frozen=True):
    """A scripted strategy has none."""


class NoState(msgspec.Struct):
    """A scripted strategy keeps none."""


def scripted(script: Script) -> Catalogue:
    """Return a catalogue with one strategy, `scripted`, that does what `script` says at each bar."""

    def on_bar(_params: NoParams, _state: NoState, bar: BarValues, account: AccountView) -> list[Intent]:
        return script(bar, account)

    definition = StrategyDefinition(
        name="scripted", summary="For tests.", params=NoParams, state=NoState, on_bar=on_bar
    )
    return {StrategyName("scripted"): definition, **catalogue()}


def account(strategy: str = "scripted", **overrides: Any) -> AccountConfig:
    """Return an account that trades BTC and ETH on one-minute bars."""
    values: dict[str, Any] = {
        "id": AccountId("desk"),
        "name": "Desk",
        "kind": AccountKind.COMPANY,
        "mode": Mode.PAPER,
        "feed": FeedId("test"),
        "currency": AssetCode("USD"),
        "strategies": (StrategyAssignment(strategy=StrategyName(strategy), instruments=(BTC.id, ETH.id), bar_s=60),),
        "limits": Limits(),
        "sizing": Sizing(),
        "exits": Exits(),
    }
    return AccountConfig(**{**values, **overrides})


class Desk:
    """An engine with an open account and 100,000 USD, and the words of a trader's log."""

    def __init__(
        self,
        script: Script | None = None,
        config: AccountConfig | None = None,
        instruments: tuple[Instrument, ...] = (BTC, ETH),
        cash: int = 100_000,
    ) -> None:
        self.now = START
        self.intents: list[Intent] = []
        self.events: list[Event] = []
        self.commands: list[Command] = []
        self.catalogue = scripted(script or (lambda _bar, _view: self._take_intents()))
        self.engine = Engine(self.catalogue)
        for event in opening_events(config or account(), list(instruments), cash * AMOUNT_SCALE, self.now):
            self.tell(event)
        self._trades = 0

    def _take_intents(self) -> list[Intent]:
        taken, self.intents = self.intents, []
        return taken

    def tell(self, event: Event) -> list[Command]:
        """Apply one event; return the commands."""
        self.events.append(event)
        commands = self.engine.apply(event)
        self.commands += commands
        return commands

    def quote(self, bid: str, ask: str, instrument: Instrument = BTC, *, after_s: float = 1) -> list[Command]:
        """Quote `instrument` some seconds later."""
        self.now += round(after_s * SECOND)
        scale = 10**instrument.price_decimals
        return self.tell(
            Quote(
                ts_ns=self.now,
                instrument=instrument.id,
                bid=round(float(bid) * scale),
                ask=round(float(ask) * scale),
                bid_size=10**9,
                ask_size=10**9,
            )
        )

    def bar(self, close: float, instrument: Instrument = BTC, *, interval_s: int = 60) -> list[Command]:
        """End a bar now."""
        price = round(close * 10**instrument.price_decimals)
        return self.tell(
            Bar(
                ts_ns=self.now,
                instrument=instrument.id,
                interval_s=interval_s,
                open=price,
                high=price,
                low=price,
                close=price,
                volume=10**8,
            )
        )

    def want(self, *intents: Intent, price: float = 50_000) -> list[Command]:
        """Let the strategy ask for `intents` at a fresh quote around `price`; return the commands."""
        self.quote(str(price - 0.01), str(price + 0.01))
        self.intents = list(intents)
        return self.bar(price)

    def accept(self, request: OrderRequest) -> None:
        """Let the venue acknowledge an order."""
        self.tell(OrderAccepted(ts_ns=self.now, order_id=request.id, venue_order_id=VenueOrderId(f"V{request.id}")))

    def fill(self, request: OrderRequest, size: int | None = None, price: int | None = None, **kw: Any) -> OrderFilled:
        """Let the venue fill an order, wholly at its price or the mark unless told otherwise, at 0.25 % fee."""
        instrument = self.engine.state.instruments[request.instrument]
        at = price or request.limit_price or mark(self.engine.state, request.instrument).price
        size = request.size if size is None else size
        self._trades += 1
        event = OrderFilled(
            ts_ns=self.now,
            order_id=request.id,
            venue_order_id=VenueOrderId(f"V{request.id}"),
            trade_id=TradeId(kw.get("trade_id", f"T{self._trades}")),
            price=at,
            size=size,
            fee=kw.get("fee", fee_of(instrument.notional(at, size), 2_500)),
            fee_asset=AssetCode(kw.get("fee_asset", instrument.quote)),
            liquidity=Liquidity.TAKER,
        )
        self.tell(event)
        return event

    def order(self, order_id: str) -> Order:
        """Return an order's record."""
        state = self.engine.state
        name = ClientOrderId(order_id)
        found = state.open_orders.get(name) or state.closed_orders.get(name) or state.denied_orders.get(name)
        assert found is not None, f"no order {order_id}"
        return found

    def usd(self) -> tuple[float, float]:
        """Return free and locked dollars."""
        balance = self.engine.state.ledger.balance(BTC.quote_key)
        return balance.free / AMOUNT_SCALE, balance.locked / AMOUNT_SCALE

    def held(self, instrument: Instrument = BTC) -> float:
        """Return how much of the base asset is held."""
        total: int = self.engine.state.ledger.balance(instrument.base_key).total
        return total / AMOUNT_SCALE

    def changes(self) -> Changes:
        """Return what changed since the last look."""
        return self.engine.take_changes()

    @property
    def halted(self) -> str:
        """Why the account halted itself."""
        return reason_of(self.engine.state.stops, Stop.HALT)

    @property
    def faulted(self) -> str:
        """Which error of the engine stopped the account."""
        return reason_of(self.engine.state.stops, Stop.FAULT)

    def plan(self, instrument: Instrument = BTC, owner: Owner = SCRIPTED) -> ExitPlan:
        """Return the protection of a holding."""
        return self.engine.state.exits[instrument.id][owner]

    def breaks(self) -> list[str]:
        """Return the names of the breaks that are open."""
        return list(self.engine.state.breaks)

    def restart(self) -> None:
        """Go on from a snapshot, as after a restart."""
        self.engine = Engine(self.catalogue, self.engine.snapshot())


def configured(desk: Desk, **settings: Any) -> AccountConfigured:
    """Return the event that gives an account settings, plain ones where none are named."""
    plain = AccountConfigured(
        ts_ns=desk.now, version=1, limits=Limits(), sizing=Sizing(), exits=Exits(), review=Review(), actor="ada"
    )
    return msgspec.structs.replace(plain, **settings)


def submitted(commands: list[Command]) -> list[OrderRequest]:
    """Return the orders that commands send."""
    return [c.order.request for c in commands if isinstance(c, SubmitOrder)]


def canceled(commands: list[Command]) -> list[str]:
    """Return the ids of the orders that commands cancel, "all" for all."""
    found: list[str] = []
    for command in commands:
        if isinstance(command, CancelOrder):
            found.append(command.order_id)
        elif isinstance(command, CancelAll):
            found.append("all")
    return found


def alerts(commands: list[Command]) -> list[str]:
    """Return the codes of the alerts that commands raise."""
    return [c.code for c in commands if isinstance(c, RaiseAlert)]

"""One exchange: markets, accounts with balances, orders of every type, fees by tier. Exact, and without I/O.

Amounts of assets are integers of 10^-8. Time comes in with each call. What happens is told to listeners, which the
faces are.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum

from aether.domain.orders import OrderType, Side, TimeInForce
from aether.domain.scaled import PPM, amount_of_size, fee_of, format_scaled, notional_of, size_for_notional
from aether.matching.orderbook import BookOrder, LimitOrderBook
from aether.matching.pricing import is_triggered, trailing_trigger

NS_PER_DAY = 86_400 * 1_000_000_000
FEE_DAYS = 30
SELF_TRADE = "self trade"
REJECTED = "rejected when it was to begin"
PAIR = "the other order of its pair began"


class Refusal(StrEnum):
    """Why an order or request was refused; each face has its venue's own text for it."""

    UNKNOWN_MARKET = "unknown_market"
    MARKET_CLOSED = "market_closed"
    BAD_PRICE = "bad_price"
    BAD_SIZE = "bad_size"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    NOTIONAL = "notional"
    FUNDS = "funds"
    POST_ONLY = "post_only"
    TRIGGER = "trigger"
    FOK = "fok"
    DUPLICATE = "duplicate"
    UNKNOWN_ORDER = "unknown_order"
    TOO_MANY = "too_many"
    BAD_FIELDS = "bad_fields"
    INJECTED = "injected"
    AMEND = "amend"


class Refused(Exception):  # noqa: N818  the venue's word for it
    """The exchange will not do this."""

    def __init__(self, reason: Refusal, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Status(StrEnum):
    """Where an order is."""

    SCHEDULED = "scheduled"
    NEW = "new"
    WAITING = "waiting"
    """For another order to be filled whole; nothing is set aside for it yet."""
    TRIGGER_PENDING = "trigger_pending"
    PARTIAL = "partial"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_open(self) -> bool:
        """Whether it may still trade."""
        return self in (Status.SCHEDULED, Status.NEW, Status.WAITING, Status.TRIGGER_PENDING, Status.PARTIAL)


@dataclass(frozen=True)
class Market:
    """What can be traded. Prices are integers of 10^-`price_decimals`, sizes of 10^-`size_decimals`."""

    base: str
    quote: str
    price_decimals: int
    size_decimals: int = 8
    min_size: int = 1
    max_size: int = 10**17
    min_notional: int = 0
    """In 10^-8 of the quote asset."""

    @property
    def symbol(self) -> str:
        """Base and quote, such as BTC/USD."""
        return f"{self.base}/{self.quote}"

    def price_text(self, price: int) -> str:
        """Return a price as decimal text."""
        return format_scaled(price, self.price_decimals)

    def size_text(self, size: int) -> str:
        """Return a size as decimal text."""
        return format_scaled(size, self.size_decimals)

    def notional(self, price: int, size: int) -> int:
        """Return price times size in 10^-8 of the quote asset."""
        return notional_of(price, size, self.price_decimals, self.size_decimals)


@dataclass(frozen=True)
class Offset:
    """A distance from a reference price: in price units, or in parts per million of the reference."""

    amount: int
    is_ppm: bool = False

    def from_price(self, reference: int) -> int:
        """Return the distance, with its sign, rounded half up to a price unit."""
        return (2 * reference * self.amount + PPM) // (2 * PPM) if self.is_ppm else self.amount


@dataclass
class NewOrder:
    """An order as asked for.

    Attributes:
        trail_ppm: how far an order follows the best price, in parts per million of it: a trailing stop instead of by
            `trail`, a stop or take-profit order from when `trigger` is reached, or at once where there is none.
        price_offset, trigger_offset: from the last price, instead of a price, and settled when the order arrives; of a
            trailing stop the limit price's distance from the trigger, which makes it one with a limit.
        cost: what a market order is to spend, in 10^-8 of the quote asset, instead of a size.
        fee_in_base: charge its fees in the base asset; a seller who has none of it left pays in the quote asset.
        self_trade: this order's mode instead of the exchange's; see `Rules`.
        start_ns: when it enters the market; 0 for at once.
        close: what each of its executions places on the other side, in the executed size.
        parent: the order whose execution placed this one.
        stop, stop_limit: the other end of a bracket: a limit order at `price` that goes on at `stop_limit` once the
            last price has reached `stop`.
        paid_in: what is paid instead of the market's quote asset, where two of them share a book.
        notes: what a face wants to read of it again.
    """

    market: str
    side: Side
    type: OrderType
    size: int
    price: int = 0
    trigger: int = 0
    trail: int = 0
    display: int = 0
    tif: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    expire_ns: int = 0
    client_id: str = ""
    trail_ppm: int = 0
    price_offset: Offset | None = None
    trigger_offset: Offset | None = None
    cost: int = 0
    fee_in_base: bool = False
    self_trade: str = ""
    start_ns: int = 0
    close: "NewOrder | None" = None
    parent: int = 0
    notes: dict[str, str] = field(default_factory=dict)
    stop: int = 0
    stop_limit: int = 0
    paid_in: str = ""

    @property
    def trails(self) -> bool:
        """Whether its trigger follows the price."""
        return self.type is OrderType.TRAILING_STOP

    @property
    def has_limit(self) -> bool:
        """Whether it trades at a limit price once it is in the book."""
        return self.type.has_limit or (self.trails and self.price_offset is not None)


@dataclass
class Order:
    """An order and what has become of it; `cost` and `fee` in 10^-8 of the quote asset.

    Attributes:
        prevented: size that was taken off it so that it did not trade with its own account.
        working_ns: when it began to work, 0 when it has not.
        tracking: where a stop or take-profit order that trails fires, 0 before it follows.
        group: the list that it belongs to.
    """

    number: int
    account: str
    market: Market
    request: NewOrder
    status: Status
    created_ns: int
    updated_ns: int
    size: int
    price: int
    trigger: int
    filled: int = 0
    cost: int = 0
    fee: int = 0
    held: int = 0
    reason: str = ""
    trades: list["Trade"] = field(default_factory=list)
    prevented: int = 0
    working_ns: int = 0
    tracking: int = 0
    group: "OrderList | None" = field(default=None, repr=False, compare=False)

    @property
    def left(self) -> int:
        """Size that may still be executed."""
        return self.size - self.filled - self.prevented

    @property
    def is_buy(self) -> bool:
        """Whether it buys."""
        return self.request.side is Side.BUY

    @property
    def quote(self) -> str:
        """The asset that is paid or received for the base asset."""
        return self.request.paid_in or self.market.quote

    @property
    def held_asset(self) -> str:
        """The asset that it takes its funds from."""
        return self.quote if self.is_buy else self.market.base

    @property
    def triggered_ns(self) -> int:
        """When its trigger was reached, 0 when it has not been."""
        return self.working_ns if self.request.type.has_trigger else 0


@dataclass(frozen=True)
class Trade:
    """One execution. `maker_fee` and `taker_fee` are in 10^-8 of their assets."""

    number: int
    ts_ns: int
    market: Market
    price: int
    size: int
    taker_side: Side
    maker: Order
    taker: Order
    maker_fee: int
    taker_fee: int
    maker_fee_asset: str
    taker_fee_asset: str

    def of(self, order: Order) -> tuple[int, str, bool]:
        """Return fee, fee asset and whether `order` was the maker."""
        if order is self.maker:
            return self.maker_fee, self.maker_fee_asset, True
        return self.taker_fee, self.taker_fee_asset, False


@dataclass(frozen=True)
class Posting:
    """One change of one balance: by a trade, or (`trade` is 0) by a deposit. Amounts are in 10^-8 of the asset.

    Attributes:
        amount: without the fee.
        balance: what it left.
    """

    number: int
    ts_ns: int
    asset: str
    amount: int
    fee: int
    balance: int
    trade: int = 0


@dataclass(frozen=True)
class Prevented:
    """A trade of an account with itself that did not happen.

    Attributes:
        mode: of the taker; see `Rules`.
        size: that would have been traded.
        maker_size, taker_size: what was taken off each, 0 where nothing was.
    """

    number: int
    ts_ns: int
    mode: str
    price: int
    size: int
    maker: Order
    taker: Order
    maker_size: int
    taker_size: int


@dataclass
class OrderList:
    """Orders of which what becomes of one decides over the others.

    Attributes:
        kind: `oco`, of two the one that begins ends the other; `oto`, the second begins when the first is filled whole;
            `otoco`, a pair begins then.
        chosen: the order of the pair that began, 0 for none yet.
    """

    number: int
    account: str
    market: Market
    kind: str
    client_id: str
    created_ns: int
    orders: list[Order] = field(default_factory=list)
    chosen: int = 0
    is_done: bool = False

    @property
    def working(self) -> Order | None:
        """The order for which the others wait."""
        return None if self.kind == "oco" else self.orders[0]

    @property
    def pair(self) -> list[Order]:
        """The two of which only one may execute."""
        return [] if self.kind == "oto" else self.orders[-2:]


@dataclass
class Account:
    """Who trades: total and held amounts by asset, traded notional by day.

    Attributes:
        fee_coin: pays its fees, while it has enough of it, at `fee_coin_price` (10^-8 of the quote asset for one coin)
            where it is not traded, and only `fee_coin_share_ppm` of them.
    """

    name: str
    total: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    day_volume: dict[int, int] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    open: dict[int, Order] = field(default_factory=dict)
    by_client: dict[str, Order] = field(default_factory=dict)
    trades: list[tuple[Order, Trade]] = field(default_factory=list)
    postings: list[Posting] = field(default_factory=list)
    dead_man_ns: int = 0
    fee_coin: str = ""
    fee_coin_price: int = 0
    fee_coin_share_ppm: int = 1_000_000
    lists: dict[int, OrderList] = field(default_factory=dict)

    def free(self, asset: str) -> int:
        """Return what may be spent."""
        return self.total.get(asset, 0) - self.held.get(asset, 0)


@dataclass(frozen=True)
class FeeTier:
    """Rates in parts per million from a 30-day volume (whole quote units) on."""

    volume: int
    maker_ppm: int
    taker_ppm: int


@dataclass(frozen=True)
class Rules:
    """How this exchange differs from others.

    Attributes:
        fee_in_received: charge a buyer in the base asset (Binance) instead of the quote asset.
        self_trade: `cancel_newest`, `cancel_oldest`, `cancel_both`, `decrement` (both lose the
            smaller size) or `allow`.
        client_ids: `open` refuses a client id that an open order has; `forever` gives the first order back.
        max_open: open orders of one account in one market.
        unfilled: how an order ends that could not be filled at once.
        refuses_reached_triggers: refuse a stop or take-profit order whose trigger the last price (before any trade, the
            other side of the book) has reached already; otherwise it fires at once.
        kept_decimals: to how many decimals balances of an asset are kept; what is finer is rounded in its books, though
            not in its reports.
    """

    fee_tiers: tuple[FeeTier, ...]
    fee_in_received: bool = False
    self_trade: str = "cancel_newest"
    client_ids: str = "open"
    max_open: int = 10_000
    unfilled: Status = Status.CANCELED
    refuses_reached_triggers: bool = False
    kept_decimals: Mapping[str, int] = field(default_factory=dict)

    def kept(self, asset: str, amount: int) -> int:
        """Return an amount as the books of the exchange keep it."""
        unit: int = 10 ** (8 - min(8, self.kept_decimals.get(asset, 8)))
        return (amount + unit // 2) // unit * unit


class Listener:
    """Told of everything that happens; the defaults ignore it."""

    def on_order(self, order: Order, what: str) -> None:
        """An order changed: scheduled, new, triggered, trade, amended, canceled, expired, refill, prevented."""

    def on_list(self, orders: OrderList, what: str) -> None:
        """A list of orders changed: new, done."""

    def on_trade(self, trade: Trade) -> None:
        """An execution."""

    def on_book(self, market: Market) -> None:
        """The shown book changed."""

    def on_retick(self, market: Market, factor: int) -> None:
        """A market is about to get prices `factor` times finer: what waits to be told is told in those of before."""

    def on_listed(self) -> None:
        """What is listed changed: a market has finer prices, another state, or is gone."""

    def on_balance(self, account: Account, asset: str) -> None:
        """A balance changed."""


class Venue:
    """The exchange.

    Args:
        clock: returns nanoseconds since 1970.
    """

    def __init__(self, name: str, markets: list[Market], rules: Rules, clock: Callable[[], int]) -> None:
        self.name = name
        self.markets = {market.symbol: market for market in markets}
        self.rules = rules
        self.clock = clock
        self.accounts: dict[str, Account] = {}
        self.books = {symbol: LimitOrderBook() for symbol in self.markets}
        self.last: dict[str, int] = dict.fromkeys(self.markets, 0)
        self.trades: dict[str, list[Trade]] = {symbol: [] for symbol in self.markets}
        self.steps: dict[str, int] = dict.fromkeys(self.markets, 1)
        """What sizes of new orders are multiples of; what rests from before is not touched by a change."""
        self.orders: dict[int, Order] = {}
        self.prevented: list[Prevented] = []
        self.state = "online"
        self.states: dict[str, str] = {}
        """Of single markets that are not online, see `set_market`."""
        self.listener: Listener = Listener()
        self._armed: dict[str, dict[int, Order]] = {symbol: {} for symbol in self.markets}
        self._triggering = False
        self._closes: list[NewOrder] = []
        self._closing = False
        self._released: list[OrderList] = []
        self._next_order = 1
        self._next_list = 0
        self._next_trade = 1
        self._next_posting = 1
        self._next_prevented = 0

    # Accounts.

    def account(self, name: str) -> Account:
        """Return an account, opened when it is new."""
        found = self.accounts.get(name)
        if found is None:
            found = self.accounts[name] = Account(name)
        return found

    def deposit(self, name: str, asset: str, amount: int) -> None:
        """Credit (or, negative, debit) an account, to as many decimals as are kept."""
        account, amount = self.account(name), self.rules.kept(asset, amount)
        account.total[asset] = account.total.get(asset, 0) + amount
        self._post(account, asset, amount, 0)
        self.listener.on_balance(account, asset)

    def set_fee_coin(self, name: str, coin: str, price: int, share_ppm: int) -> None:
        """Let an account pay its fees in a coin, or, with an empty one, as usual; see `Account`."""
        account = self.account(name)
        account.fee_coin, account.fee_coin_price, account.fee_coin_share_ppm = coin, price, share_ppm

    def _post(self, account: Account, asset: str, amount: int, fee: int, trade: int = 0) -> None:
        """Write a change of a balance down, after it."""
        balance = account.total.get(asset, 0)
        account.postings.append(Posting(self._next_posting, self.clock(), asset, amount, fee, balance, trade))
        self._next_posting += 1

    def traded(self, account: Account) -> int:
        """Return what an account has traded in the last 30 days, in 10^-8 of the quote asset."""
        today = self.clock() // NS_PER_DAY
        return sum(v for day, v in account.day_volume.items() if day > today - FEE_DAYS)

    def tier(self, account: Account) -> FeeTier:
        """Return the account's fee tier by its volume of the last 30 days."""
        volume = self.traded(account) // 10**8
        reached = self.rules.fee_tiers[0]
        for tier in self.rules.fee_tiers:
            if volume >= tier.volume:
                reached = tier
        return reached

    # Markets.

    def retick(self, symbol: str, price_decimals: int) -> None:
        """Let a market have finer prices from now on; what rests and what was traded stays what it is.

        Args:
            price_decimals: more than it has.
        """
        old = self.markets[symbol]
        factor = 10 ** (price_decimals - old.price_decimals)
        self.listener.on_retick(old, factor)
        finer, book = replace(old, price_decimals=price_decimals), LimitOrderBook()
        for is_buy in (True, False):
            for resting in self.books[symbol].resting(is_buy=is_buy):
                resting.price *= factor
                book.add(resting)
        names = ("price", "trigger", "trail", "stop", "stop_limit")
        for order in [o for o in self.orders.values() if o.market is old]:
            order.market, order.price, order.trigger = finer, order.price * factor, order.trigger * factor
            order.tracking *= factor
            order.request = replace(order.request, **{n: getattr(order.request, n) * factor for n in names})
        self.trades[symbol] = [replace(t, market=finer, price=t.price * factor) for t in self.trades[symbol]]
        self.last[symbol] *= factor
        self.markets[symbol], self.books[symbol] = finer, book
        self.listener.on_listed()

    def set_market(self, symbol: str, state: str) -> None:
        """Let a market have a state of its own: online, post_only, cancel_only, or delisted, where nothing rests on."""
        self.states[symbol] = state
        if state == "delisted":
            for name in self.accounts:
                self.cancel_all(name, symbol, "delisted")
        self.listener.on_listed()

    def state_of(self, market: Market) -> str:
        """Return in which state a market is: the exchange's, unless that is online."""
        return self.state if self.state != "online" else self.states.get(market.symbol, "online")

    def takes_orders(self, market: Market) -> bool:
        """Return whether a market takes orders, if only such that rest."""
        return self.state_of(market) in ("online", "post_only")

    def listed(self) -> list[Market]:
        """Return the markets that are there, in whatever state."""
        return [m for m in self.markets.values() if self.states.get(m.symbol) != "delisted"]

    # Orders.

    def place(self, account_name: str, request: NewOrder) -> Order:
        """Take an order and let it trade.

        Raises:
            Refused: when it breaks a rule; nothing has changed then.
        """
        account, market, request = self.account(account_name), self._market(request), self._settled(request)
        if request.client_id and self.rules.client_ids == "forever" and request.client_id in account.by_client:
            return account.by_client[request.client_id]
        self._check(account, market, request)
        self._check_now(market, request)
        order = self._draft(account_name, market, request)
        self._hold(account, order)
        self._enter(account, order)
        self._begin(order)
        self._finish(market)
        return order

    def _draft(self, account_name: str, market: Market, request: NewOrder) -> Order:
        """Return an order of which the exchange's books do not know yet."""
        now = self.clock()
        return Order(
            number=0,
            account=account_name,
            market=market,
            request=request,
            status=Status.NEW,
            created_ns=now,
            updated_ns=now,
            size=request.size or self._size_for(market, request.cost),
            price=0 if request.trails else request.price,
            trigger=request.trigger,
        )

    def _enter(self, account: Account, order: Order) -> None:
        """Take an order into the books of the exchange, under the next number."""
        order.number = self._next_order
        self._next_order += 1
        self.orders[order.number] = account.orders[order.number] = account.open[order.number] = order
        if order.request.client_id:
            account.by_client[order.request.client_id] = order

    def _begin(self, order: Order) -> None:
        """Let an order wait for its time or its trigger, or work."""
        request = order.request
        if request.start_ns > self.clock():
            order.status = Status.SCHEDULED
            self.listener.on_order(order, "scheduled")
            return
        if request.type.has_trigger:
            order.status = Status.TRIGGER_PENDING
            self.listener.on_order(order, "new")
        else:
            order.status, order.working_ns = Status.NEW, self.clock()
            self.listener.on_order(order, "new")
            self._work(order)
        if order.status.is_open and (request.type.has_trigger or request.stop):
            self._armed[order.market.symbol][order.number] = order

    def _finish(self, market: Market) -> None:
        """Let happen what comes of a change in a market, and tell of its book."""
        self._run_triggers(market)
        self._flush(market)
        self._place_closes()

    def _start(self, order: Order) -> None:
        """Let a scheduled order begin, or end where the market does not allow it any more."""
        if order.request.cost:
            order.size = self._size_for(order.market, order.request.cost)
        try:
            self._check_now(order.market, order.request)
        except Refused as refused:
            self._end(order, Status.CANCELED, refused.reason.replace("_", " "))
            return
        self._begin(order)
        self._finish(order.market)

    def _place_closes(self) -> None:
        """Place what executions were to place, once the work that they came of is done."""
        if self._triggering or self._closing:
            return
        self._closing = True
        try:
            while self._closes:
                request = self._closes.pop(0)
                with suppress(Refused):
                    self.place(self.orders[request.parent].account, request)
        finally:
            self._closing = False

    def _market(self, request: NewOrder) -> Market:
        market = self.markets.get(request.market)
        if market is None:
            raise Refused(Refusal.UNKNOWN_MARKET, request.market)
        return market

    def _settled(self, request: NewOrder) -> NewOrder:
        """Return an order whose prices are none from the last price any more."""
        is_relative = request.price_offset is not None and not request.trails
        if request.trigger_offset is None and not is_relative:
            return request
        last = self.last[request.market]
        if not last:
            raise Refused(Refusal.BAD_PRICE, "no last price")
        price, trigger = request.price, request.trigger
        if request.price_offset is not None and not request.trails:
            price = last + request.price_offset.from_price(last)
        if request.trigger_offset is not None:
            trigger = last + request.trigger_offset.from_price(last)
        return replace(request, price=price, trigger=trigger)

    # Checks.

    def check(
        self, account_name: str, request: NewOrder, *, funds: bool = True, instead_of: Order | None = None
    ) -> None:
        """Check an order without placing it.

        Args:
            funds: whether the account must be able to pay for it.
            instead_of: an open order whose funds are free for it.

        Raises:
            Refused: as `place` would.
        """
        account, market, request = self.account(account_name), self._market(request), self._settled(request)
        self._check(account, market, request)
        self._check_now(market, request)
        if funds:
            self._needs(account, self._draft(account_name, market, request), instead_of=instead_of)

    def _check(self, account: Account, market: Market, request: NewOrder) -> None:
        state = self.state_of(market)
        if not self.takes_orders(market) or (state == "post_only" and not request.post_only):
            raise Refused(Refusal.MARKET_CLOSED, state)
        size = request.size or self._size_for(market, request.cost)
        if size < market.min_size and not request.parent:
            raise Refused(Refusal.TOO_SMALL, market.size_text(size))
        if request.size > market.max_size:
            raise Refused(Refusal.TOO_LARGE, market.size_text(request.size))
        if request.type.has_limit and request.price <= 0:
            raise Refused(Refusal.BAD_PRICE, market.price_text(request.price))
        if request.size % self.steps[market.symbol]:
            raise Refused(Refusal.BAD_SIZE, market.size_text(request.size))
        distance = request.trail or request.trail_ppm
        if request.type.has_trigger and (distance if request.trails else request.trigger or distance) <= 0:
            raise Refused(Refusal.TRIGGER)
        if request.display and not (request.type.has_limit and 0 < request.display < request.size):
            raise Refused(Refusal.BAD_FIELDS, "display size")
        if request.tif is TimeInForce.GTD and request.expire_ns <= self.clock():
            raise Refused(Refusal.BAD_FIELDS, "expiry")
        self._check_id(account, request.client_id)
        if sum(1 for o in account.open.values() if o.market is market) >= self.rules.max_open:
            raise Refused(Refusal.TOO_MANY)

    def _check_now(self, market: Market, request: NewOrder) -> None:
        """Refuse what the book and the last price do not allow at this moment."""
        is_buy = request.side is Side.BUY
        seen = self.last[market.symbol] or self.books[market.symbol].best(is_buy=not is_buy)
        if self._worth(market, request) < market.min_notional and not request.parent:
            raise Refused(Refusal.NOTIONAL, market.size_text(request.size))
        if request.post_only and request.type is OrderType.LIMIT and self.would_take(request):
            raise Refused(Refusal.POST_ONLY)
        trigger = request.stop or request.trigger
        matters = self.rules.refuses_reached_triggers and seen and trigger and not request.trails
        if matters and is_triggered(seen, trigger, not request.type.takes_profit, is_buy):
            raise Refused(Refusal.TRIGGER, "reached")

    @staticmethod
    def _check_id(account: Account, client_id: str) -> None:
        earlier = account.by_client.get(client_id)
        if earlier is not None and earlier.status.is_open and earlier.request.client_id == client_id:
            raise Refused(Refusal.DUPLICATE, client_id)

    def _worth(self, market: Market, request: NewOrder) -> int:
        """Return about what an order is worth, in 10^-8 of the quote asset."""
        if request.cost:
            return request.cost
        best = self.books[market.symbol].best(is_buy=request.side is Side.SELL)
        return market.notional(request.price or request.trigger or best or self.last[market.symbol], request.size)

    def would_take(self, request: NewOrder) -> bool:
        """Whether an order's limit price reaches the other side of the book."""
        opposite = self.books[request.market].best(is_buy=request.side is Side.SELL)
        return bool(opposite) and (request.price >= opposite if request.side is Side.BUY else request.price <= opposite)

    # Lists of orders.

    def place_list(self, account_name: str, kind: str, requests: list[NewOrder], client_id: str = "") -> OrderList:
        """Take orders that depend on each other; see `OrderList`. For a pair, funds are set aside once.

        Raises:
            Refused: when one of them breaks a rule; nothing has changed then.
        """
        account, market = self.account(account_name), self._market(requests[0])
        requests = [self._settled(request) for request in requests]
        if client_id and any(g.client_id == client_id and not g.is_done for g in account.lists.values()):
            raise Refused(Refusal.DUPLICATE, client_id)
        waiting = [] if kind == "oco" else requests[1:]
        ids = [request.client_id for request in requests if request.client_id]
        if len(set(ids)) < len(ids):
            raise Refused(Refusal.DUPLICATE, ids[0])
        for request in requests:
            self._check(account, market, request)
        for request in requests[: len(requests) - len(waiting)]:
            self._check_now(market, request)
        group = OrderList(self._next_list, account_name, market, kind, client_id, self.clock())
        group.orders = [self._draft(account_name, market, request) for request in requests]
        begin = group.orders[: len(requests) - len(waiting)]
        self._hold(account, *begin)
        self._next_list += 1
        account.lists[group.number] = group
        for order in group.orders:
            order.group = group
            self._enter(account, order)
        self.listener.on_list(group, "new")
        for order in group.orders[len(begin) :]:
            order.status = Status.WAITING
            self.listener.on_order(order, "new")
        for order in begin:
            if order.status is Status.NEW and not order.working_ns:
                self._begin(order)
        self._finish(market)
        return group

    def cancel_list(self, account_name: str, group: OrderList | None) -> OrderList:
        """Cancel what is open of a list.

        Raises:
            Refused: when nothing of it is, or it is another account's.
        """
        if group is None or group.account != account_name or group.is_done:
            raise Refused(Refusal.UNKNOWN_ORDER)
        self.cancel(account_name, next(order for order in group.orders if order.status.is_open))
        return group

    def _part(self, order: Order) -> None:
        """End the other order of a pair of which one begins; what was set aside passes to the one that does."""
        group = order.group
        if group is None or group.chosen or not any(order is one for one in group.pair):
            return
        group.chosen = order.number
        for other in group.pair:
            if other is not order and other.status.is_open:
                order.held, other.held = order.held + other.held, 0
                self._end(other, Status.EXPIRED, PAIR)

    def _follow(self, order: Order) -> None:
        """Let an order that ended take with it what depends on it."""
        group = order.group
        if group is None:
            return
        whole = order.status is Status.FILLED
        if whole and order is group.working:
            self._released.append(group)
        for other in group.orders:
            if not whole and other.status.is_open and other.number != group.chosen:
                self._end(other, order.status, order.reason)
        if not group.is_done and not any(one.status.is_open for one in group.orders):
            group.is_done = True
            self.listener.on_list(group, "done")

    def _release_waiting(self, group: OrderList) -> None:
        """Let begin what waited; what cannot expires."""
        account = self.accounts[group.account]
        waiting = [order for order in group.orders if order.status is Status.WAITING]
        try:
            for order in waiting:
                self._check_now(order.market, order.request)
            if waiting:
                self._hold(account, *waiting)
        except Refused:
            for order in waiting:
                if order.status.is_open:
                    self._end(order, Status.EXPIRED, REJECTED)
            return
        for order in waiting:
            if order.status is Status.WAITING:
                self._begin(order)

    # Funds.

    def _needs(self, account: Account, *orders: Order, instead_of: Order | None = None) -> tuple[str, int]:
        """Return the asset that an order takes its funds from, and how much of it: the base asset of sells, price (or
        an estimate of it) and fee of buys.

        Args:
            orders: of which only one will execute, as a rule a pair: what the dearest needs counts.
            instead_of: an open order whose funds are free for it.

        Raises:
            Refused: when the account does not have it.
        """
        asset = orders[0].held_asset
        needed = max(
            self._cost_of_buying(account, one.market, one.request, one.left)
            if one.is_buy
            else amount_of_size(one.left, one.market.size_decimals)
            for one in orders
        )
        freed = instead_of.held if instead_of is not None and instead_of.held_asset == asset else 0
        if account.free(asset) + freed < needed:
            raise Refused(Refusal.FUNDS, asset)
        return asset, needed

    def _hold(self, account: Account, *orders: Order) -> None:
        """Set funds aside, once for all of a pair; see `_needs`."""
        asset, needed = self._needs(account, *orders)
        for one in orders:
            one.held = needed if one is orders[0] else 0
        account.held[asset] = account.held.get(asset, 0) + needed

    def _cost_of_buying(self, account: Account, market: Market, request: NewOrder, size: int) -> int:
        price = request.price
        if request.cost:
            notional = request.cost
        elif price:
            notional = market.notional(price, size)
        elif request.type is OrderType.MARKET:
            notional = self._market_cost(market, size)
        else:
            notional = market.notional(request.trigger or self._trailed(market, request, 0), size)
        return self._with_fee(account, notional)

    def _with_fee(self, account: Account, notional: int) -> int:
        """Return what a buyer pays with the fee of a taker, where that is charged in the quote asset."""
        return notional if self.rules.fee_in_received else notional + fee_of(notional, self.tier(account).taker_ppm)

    def _trailed(self, market: Market, request: NewOrder, trigger: int) -> int:
        """Return where a trailing stop triggers after the last trade."""
        last = self.last[market.symbol]
        trail = request.trail or Offset(request.trail_ppm, is_ppm=True).from_price(last)
        return trailing_trigger(last, trail, trigger, request.side is Side.BUY)

    def _size_for(self, market: Market, cost: int) -> int:
        """Return how much a market order buys for `cost` now; what the book lacks is counted at its last price."""
        size, price = 0, self.last[market.symbol]
        for resting in self.books[market.symbol].resting(is_buy=False):
            price = resting.price
            take = min(resting.left, size_for_notional(cost, price, market.price_decimals, market.size_decimals))
            size += take
            cost -= market.notional(price, take)
            if take < resting.left:
                return size
        return size + (size_for_notional(cost, price, market.price_decimals, market.size_decimals) if price else 0)

    def _market_cost(self, market: Market, size: int) -> int:
        """Return what a market order for `size` would cost now."""
        cost = 0
        for resting in self.books[market.symbol].resting(is_buy=False):
            take = min(size, resting.left)
            cost += market.notional(resting.price, take)
            size -= take
            if size == 0:
                break
        return cost

    def _release(self, account: Account, order: Order) -> None:
        if order.held:
            account.held[order.held_asset] -= order.held
            order.held = 0

    def _work(self, order: Order) -> None:
        """Let an order take what it can, then rest or end by its time in force."""
        account = self.accounts[order.account]
        request, market = order.request, order.market
        book = self.books[market.symbol]
        limit = order.price if request.has_limit else 0
        if request.tif is TimeInForce.FOK and not book.fillable(limit, order.left, is_buy=order.is_buy):
            self._end(order, Status.EXPIRED, "could not be filled whole")
            return
        while order.left:
            maker = book.first(limit, is_buy=order.is_buy)
            if maker is None:
                break
            if maker.owner == order.account and self._prevent_self_trade(order, maker):
                if not order.status.is_open:
                    return
                continue
            size = min(order.left, maker.shown)
            if order.is_buy and not self._can_pay(account, order, maker.price, size):
                self._end(order, Status.CANCELED, "insufficient funds for the rest")
                return
            self._execute(order, maker, size)
        if not order.left:
            return
        if not limit:
            self._end(order, self.rules.unfilled, "no more depth")
        elif request.tif in (TimeInForce.IOC, TimeInForce.FOK):
            self._end(order, self.rules.unfilled, "immediate or cancel")
        else:
            book.add(
                BookOrder(
                    order.number, order.account, order.price, order.left, is_buy=order.is_buy, display=request.display
                )
            )

    def _can_pay(self, account: Account, order: Order, price: int, size: int) -> bool:
        """Whether a buyer can pay for this execution out of what it set aside and what is free."""
        cost = self._with_fee(account, order.market.notional(price, size))
        return account.free(order.quote) + order.held >= cost

    def _prevent_self_trade(self, taker: Order, resting: BookOrder) -> bool:
        """Deal with two orders of one account that meet; return whether they are kept from trading."""
        mode = taker.request.self_trade or self.rules.self_trade
        if mode == "allow":
            return False
        maker = self.orders[resting.number]
        smaller = min(taker.left, maker.left)
        sizes = {
            "cancel_newest": (0, taker.left),
            "cancel_oldest": (maker.left, 0),
            "cancel_both": (maker.left, taker.left),
            "decrement": (smaller, smaller),
        }[mode]
        number, price = self._next_prevented, resting.price
        self._next_prevented += 1
        self.prevented.append(Prevented(number, self.clock(), mode, price, smaller, maker, taker, *sizes))
        for order, size in zip((maker, taker), sizes, strict=True):
            if not size:
                continue
            order.prevented += size
            if not order.left:
                self._end(order, Status.CANCELED, SELF_TRADE)
                continue
            account = self.accounts[order.account]
            before, order.held = order.held, min(order.held, self._still_needed(account, order))
            account.held[order.held_asset] -= before - order.held
            if order is maker:
                self.books[order.market.symbol].reduce(order.number, order.left)
            self.listener.on_order(order, "prevented")
        return True

    def _execute(self, taker: Order, resting: BookOrder, size: int) -> None:
        market = taker.market
        maker = self.orders[resting.number]
        self._part(maker)
        self._part(taker)
        match = self.books[market.symbol].execute(resting, size)
        price, size = match.price, match.size
        notional = market.notional(price, size)
        now = self.clock()
        fees = [
            self._book_fill(maker, size, notional, is_maker=True),
            self._book_fill(taker, size, notional, is_maker=False),
        ]
        trade = Trade(
            number=self._next_trade,
            ts_ns=now,
            market=market,
            price=price,
            size=size,
            taker_side=taker.request.side,
            maker=maker,
            taker=taker,
            maker_fee=fees[0][0],
            taker_fee=fees[1][0],
            maker_fee_asset=fees[0][1],
            taker_fee_asset=fees[1][1],
        )
        self._next_trade += 1
        history = self.trades[market.symbol]
        history.append(trade)
        if len(history) > 20_000:
            del history[:10_000]
        self.last[market.symbol] = price
        for order in (maker, taker):
            order.trades.append(trade)
            order.updated_ns = now
            order.status = Status.PARTIAL if order.left else Status.FILLED
            account = self.accounts[order.account]
            account.trades.append((order, trade))
            if order.request.close is not None:
                self._closes.append(replace(order.request.close, size=size, parent=order.number))
            if not order.left:
                self._release(account, order)
                account.open.pop(order.number, None)
                self._armed[market.symbol].pop(order.number, None)
        self.listener.on_trade(trade)
        for order in (maker, taker):
            self.listener.on_order(order, "trade")
            account = self.accounts[order.account]
            for asset in dict.fromkeys((market.base, order.quote, trade.of(order)[1])):
                self.listener.on_balance(account, asset)
        for order in (maker, taker):
            if not order.left:
                self._follow(order)

    def _book_fill(self, order: Order, size: int, notional: int, *, is_maker: bool) -> tuple[int, str]:
        """Move the money of one side of a trade; return fee and fee asset."""
        market, account = order.market, self.accounts[order.account]
        tier = self.tier(account)
        rate = tier.maker_ppm if is_maker else tier.taker_ppm
        quantity = amount_of_size(size, market.size_decimals)
        in_base = order.is_buy and (self.rules.fee_in_received or order.request.fee_in_base)
        if order.request.fee_in_base and not order.is_buy:
            in_base = account.free(market.base) >= fee_of(quantity, rate)
        fee = fee_of(quantity if in_base else notional, rate)
        asset = market.base if in_base else order.quote
        if account.fee_coin:
            in_coin = self._in_coin(account, market, fee_of(notional, rate))
            if account.free(account.fee_coin) >= in_coin:
                fee, asset = in_coin, account.fee_coin
        before = order.held
        order.filled += size
        order.cost += notional
        order.fee += fee
        sign = 1 if order.is_buy else -1
        account.total[market.base] = account.total.get(market.base, 0) + sign * quantity
        kept = self.rules.kept
        paid = kept(order.quote, notional)
        account.total[order.quote] = account.total.get(order.quote, 0) - sign * paid
        account.total[asset] -= kept(asset, fee)
        for moved, amount in ((market.base, sign * quantity), (order.quote, -sign * paid)):
            self._post(account, moved, amount, kept(asset, fee) if moved == asset else 0, self._next_trade)
        if asset not in (market.base, order.quote):
            self._post(account, asset, 0, kept(asset, fee), self._next_trade)
        needed = self._still_needed(account, order)
        order.held = min(before, needed)
        account.held[order.held_asset] -= before - order.held
        day = self.clock() // NS_PER_DAY
        account.day_volume[day] = account.day_volume.get(day, 0) + notional
        return fee, asset

    def _in_coin(self, account: Account, market: Market, fee: int) -> int:
        """Return a fee in the coin that the account pays its fees in, at the last price where that is traded."""
        traded = self.markets.get(f"{account.fee_coin}/{market.quote}")
        last = self.last[traded.symbol] if traded else 0
        price = traded.notional(last, 10**traded.size_decimals) if traded and last else account.fee_coin_price
        return fee * 10**8 * account.fee_coin_share_ppm // (price * 1_000_000)

    def _still_needed(self, account: Account, order: Order) -> int:
        if not order.is_buy:
            return amount_of_size(order.left, order.market.size_decimals)
        if not order.price or order.request.cost:
            return order.held if order.left else 0
        return self._with_fee(account, order.market.notional(order.price, order.left))

    def _end(self, order: Order, status: Status, reason: str) -> None:
        account = self.accounts[order.account]
        self.books[order.market.symbol].remove(order.number)
        self._armed[order.market.symbol].pop(order.number, None)
        self._release(account, order)
        account.open.pop(order.number, None)
        order.status, order.reason, order.updated_ns = status, reason, self.clock()
        self.listener.on_order(order, "expired" if status is Status.EXPIRED else "canceled")
        self.listener.on_balance(account, order.held_asset)
        self._follow(order)

    def cancel(self, account_name: str, order: Order | None, reason: str = "User requested") -> Order:
        """Cancel an open order.

        Raises:
            Refused: when it is not open, or another account's.
        """
        if order is None or order.account != account_name or not order.status.is_open:
            raise Refused(Refusal.UNKNOWN_ORDER)
        self._end(order, Status.CANCELED, reason)
        self._flush(order.market)
        return order

    def forget_ended(self, account_name: str) -> None:
        """Forget what an account has no interest in any more: its ended orders, what they executed and what not."""
        account = self.account(account_name)
        for number in [number for number in account.orders if number not in account.open]:
            del account.orders[number], self.orders[number]
        account.trades.clear()
        account.postings.clear()
        self.prevented = [one for one in self.prevented if one.taker.account != account_name]

    def cancel_all(self, account_name: str, symbol: str = "", reason: str = "User requested") -> list[Order]:
        """Cancel every open order of an account, of one market or of all."""
        account = self.account(account_name)
        chosen = [o for o in account.open.values() if not symbol or o.market.symbol == symbol]
        for order in chosen:
            if order.status.is_open:
                self.cancel(account_name, order, reason)
        return chosen

    def amend(
        self,
        account_name: str,
        order: Order | None,
        *,
        size: int = 0,
        price: int = 0,
        client_id: str = "",
        request: NewOrder | None = None,
    ) -> Order:
        """Change an open order; a smaller size keeps its place, anything else goes to the end of its queue.

        Args:
            client_id: that it has from now on; it keeps its own where this is empty.
            request: the order as it is to be, instead of size and price, where more changes than they.

        Raises:
            Refused: when it cannot be.
        """
        if order is None or order.account != account_name or not order.status.is_open:
            raise Refused(Refusal.UNKNOWN_ORDER)
        market, account = order.market, self.accounts[account_name]
        wanted = request or replace(order.request, price=price or order.price, size=size or order.size)
        if client_id:
            wanted = replace(wanted, client_id=client_id)
        if wanted.client_id != order.request.client_id:
            self._check_id(account, wanted.client_id)
        book, old = self.books[market.symbol], order.request
        reshaped = self._reshape(account, order, wanted)
        if wanted.client_id:
            account.by_client[wanted.client_id] = order
        order.updated_ns = self.clock()
        if wanted.trails and (wanted.trail, wanted.trail_ppm) != (old.trail, old.trail_ppm):
            order.trigger = 0
        elif wanted.trigger:
            order.trigger = wanted.trigger
        moved = [one for one, keeps_place in reshaped if one.number in book and not keeps_place]
        for one, keeps_place in reshaped:
            if one.number in book and keeps_place:
                book.reduce(one.number, one.left)
        for one in moved:
            book.remove(one.number)
        self.listener.on_order(order, "amended")
        for one in moved:
            if one.status.is_open:
                self._work(one)
        self._finish(market)
        return order

    def _reshape(self, account: Account, order: Order, wanted: NewOrder) -> list[tuple[Order, bool]]:
        """Give an order new terms, and the other of its pair the same size; return which of them keep their places.

        Raises:
            Refused: when the size or the funds do not allow it; nothing has changed then.
        """
        pair = order.group.pair if order.group and any(order is one for one in order.group.pair) else []
        together = [order, *(one for one in pair if one is not order and one.status.is_open)]
        if wanted.size < order.market.min_size or any(wanted.size <= o.filled + o.prevented for o in together):
            raise Refused(Refusal.AMEND, "size")
        before = [(one, one.size, one.price, one.held, one.request) for one in together]
        for one in together:
            account.held[one.held_asset] = account.held.get(one.held_asset, 0) - one.held
            one.request = wanted if one is order else replace(one.request, size=wanted.size)
            one.price = wanted.price or one.price if one is order else one.price
            one.size, one.held = wanted.size, 0
        try:
            if order.status is not Status.WAITING:
                self._hold(account, *together)
        except Refused:
            for one, size, price, held, request in before:
                one.size, one.price, one.held, one.request = size, price, held, request
                account.held[one.held_asset] += one.held
            raise
        return [
            (one, (price, old.display) == (one.price, one.request.display) and one.size <= size)
            for one, size, price, _, old in before
        ]

    # Time.

    def tick(self) -> None:
        """Let what is due happen: expiries, dead-man switches and the starts of scheduled orders."""
        now = self.clock()
        for account in self.accounts.values():
            if 0 < account.dead_man_ns <= now:
                account.dead_man_ns = 0
                self.cancel_all(account.name, reason="cancel all after")
            for order in [o for o in account.open.values() if 0 < o.request.expire_ns <= now]:
                if not order.status.is_open:
                    continue
                self._end(order, Status.EXPIRED, "expired")
                self._flush(order.market)
            for order in [o for o in account.open.values() if self.is_due(o, now)]:
                self._start(order)

    @staticmethod
    def is_due(order: Order, now_ns: int) -> bool:
        """Whether a scheduled order is to enter the market."""
        return order.status is Status.SCHEDULED and order.request.start_ns <= now_ns

    def _run_triggers(self, market: Market) -> None:
        """Release stop and take-profit orders that the last price has reached; those may trade and move it on."""
        if self._triggering:
            return
        self._triggering = True
        try:
            while True:
                if self._released:
                    self._release_waiting(self._released.pop(0))
                    continue
                fired = self._next_fired(market)
                if fired is None:
                    break
                del self._armed[market.symbol][fired.number]
                self._part(fired)
                fired.working_ns = self.clock()
                fired.status = Status.PARTIAL if fired.filled else Status.NEW
                if fired.request.stop:
                    self.books[market.symbol].remove(fired.number)
                    fired.price = fired.request.stop_limit
                if fired.request.trails and fired.request.price_offset is not None:
                    fired.price = max(1, fired.trigger + fired.request.price_offset.from_price(fired.trigger))
                self.listener.on_order(fired, "triggered")
                self._work(fired)
        finally:
            self._triggering = False

    def _next_fired(self, market: Market) -> Order | None:
        last = self.last[market.symbol]
        if not last:
            return None
        for order in self._armed[market.symbol].values():
            if self._is_reached(order, last):
                return order
        return None

    def _is_reached(self, order: Order, last: int) -> bool:
        """Let an order's trigger follow the last price, where it trails; return whether that has reached it."""
        request = order.request
        if request.trails:
            order.trigger = self._trailed(order.market, request, order.trigger)
        is_there = is_triggered(last, request.stop or order.trigger, not request.type.takes_profit, order.is_buy)
        if request.trails or not request.trail_ppm:
            return is_there
        if not order.tracking and order.trigger and not is_there:
            return False
        order.tracking = self._trailed(order.market, request, order.tracking)
        return is_triggered(last, order.tracking, is_stop=True, is_buy=order.is_buy)

    def _flush(self, market: Market) -> None:
        if self.books[market.symbol].changed:
            self.listener.on_book(market)

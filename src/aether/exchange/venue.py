"""One exchange: markets, accounts with balances, orders of every type, fees by tier. Exact, and without I/O.

Amounts of assets are integers of 10^-8. Time comes in with each call. What happens is told to listeners, which the
faces are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from aether.domain.orders import OrderType, Side, TimeInForce
from aether.domain.scaled import amount_of_size, fee_of, format_scaled, notional_of
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
        return self in (Status.NEW, Status.WAITING, Status.TRIGGER_PENDING, Status.PARTIAL)


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


@dataclass
class NewOrder:
    """An order as asked for.

    Attributes:
        trail_bps: of a stop or take-profit order that follows the best price at this share of it (basis points), from
            when `trigger` is reached, or at once where there is none.
        self_trade: this order's mode instead of the exchange's; see `Rules`.
        labels: what the face wants to read of it later.
    """

    market: str
    side: Side
    type: OrderType
    size: int
    price: int = 0
    trigger: int = 0
    trail: int = 0
    trail_bps: int = 0
    display: int = 0
    tif: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    self_trade: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    expire_ns: int = 0
    client_id: str = ""


@dataclass
class Order:
    """An order and what has become of it; `cost` and `fee` in 10^-8 of the quote asset.

    Attributes:
        prevented: size that was taken off it so that it did not trade with its own account.
        working_ns: when it began to work, 0 when it has not.
        tracking: the best price since a trailing order began to follow, 0 before.
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
    held_asset: str = ""
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
        """An order changed: new, triggered, trade, amended, canceled, expired, refill, prevented."""

    def on_list(self, orders: OrderList, what: str) -> None:
        """A list of orders changed: new, done."""

    def on_trade(self, trade: Trade) -> None:
        """An execution."""

    def on_book(self, market: Market) -> None:
        """The shown book changed."""

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
        self.listener: Listener = Listener()
        self._armed: dict[str, dict[int, Order]] = {symbol: {} for symbol in self.markets}
        self._triggering = False
        self._released: list[OrderList] = []
        self._next_order = 1
        self._next_list = 0
        self._next_trade = 1

    # Accounts.

    def account(self, name: str) -> Account:
        """Return an account, opened when it is new."""
        found = self.accounts.get(name)
        if found is None:
            found = self.accounts[name] = Account(name)
        return found

    def deposit(self, name: str, asset: str, amount: int) -> None:
        """Credit (or, negative, debit) an account."""
        account = self.account(name)
        account.total[asset] = account.total.get(asset, 0) + amount
        self.listener.on_balance(account, asset)

    def set_fee_coin(self, name: str, coin: str, price: int, share_ppm: int) -> None:
        """Let an account pay its fees in a coin, or, with an empty one, as usual; see `Account`."""
        account = self.account(name)
        account.fee_coin, account.fee_coin_price, account.fee_coin_share_ppm = coin, price, share_ppm

    def tier(self, account: Account) -> FeeTier:
        """Return the account's fee tier by its volume of the last 30 days."""
        today = self.clock() // NS_PER_DAY
        volume = sum(v for day, v in account.day_volume.items() if day > today - FEE_DAYS) // 10**8
        reached = self.rules.fee_tiers[0]
        for tier in self.rules.fee_tiers:
            if volume >= tier.volume:
                reached = tier
        return reached

    # Orders.

    def place(self, account_name: str, request: NewOrder) -> Order:
        """Take an order and let it trade.

        Raises:
            Refused: when it breaks a rule; nothing has changed then.
        """
        account = self.account(account_name)
        market = self.markets.get(request.market)
        if market is None:
            raise Refused(Refusal.UNKNOWN_MARKET, request.market)
        if request.client_id:
            earlier = account.by_client.get(request.client_id)
            if earlier is not None and self.rules.client_ids == "forever":
                return earlier
            self._check_id(account, request.client_id)
        self._check(account, market, request)
        self._check_now(market, request)
        order = self._draft(account_name, market, request)
        self._hold(account, order)
        self._enter(account, order)
        self._begin(order)
        self._run_triggers(market)
        self._flush(market)
        return order

    def _draft(self, account_name: str, market: Market, request: NewOrder) -> Order:
        now = self.clock()
        return Order(
            number=self._next_order,
            account=account_name,
            market=market,
            request=request,
            status=Status.NEW,
            created_ns=now,
            updated_ns=now,
            size=request.size,
            price=request.price,
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
        """Let an order wait for its trigger, or work."""
        if order.request.type.has_trigger:
            order.status = Status.TRIGGER_PENDING
            self._armed[order.market.symbol][order.number] = order
            self.listener.on_order(order, "new")
        else:
            order.working_ns = self.clock()
            self.listener.on_order(order, "new")
            self._work(order)

    def _check(self, account: Account, market: Market, request: NewOrder) -> None:
        if self.state not in ("online", "post_only") or (self.state == "post_only" and not request.post_only):
            raise Refused(Refusal.MARKET_CLOSED, self.state)
        if request.size < market.min_size:
            raise Refused(Refusal.TOO_SMALL, market.size_text(request.size))
        if request.size > market.max_size:
            raise Refused(Refusal.TOO_LARGE, market.size_text(request.size))
        if request.type.has_limit and request.price <= 0:
            raise Refused(Refusal.BAD_PRICE, market.price_text(request.price))
        if request.size % self.steps[market.symbol]:
            raise Refused(Refusal.BAD_SIZE, market.size_text(request.size))
        trails = request.type is OrderType.TRAILING_STOP
        if request.type.has_trigger and (request.trail if trails else request.trigger or request.trail_bps) <= 0:
            raise Refused(Refusal.TRIGGER)
        if request.display and not (request.type.has_limit and 0 < request.display < request.size):
            raise Refused(Refusal.BAD_FIELDS, "display size")
        if request.tif is TimeInForce.GTD and request.expire_ns <= self.clock():
            raise Refused(Refusal.BAD_FIELDS, "expiry")
        if sum(1 for o in account.open.values() if o.market is market) >= self.rules.max_open:
            raise Refused(Refusal.TOO_MANY)

    def _check_now(self, market: Market, request: NewOrder) -> None:
        """Refuse what the book and the last price do not allow at this moment."""
        book = self.books[market.symbol]
        is_buy = request.side is Side.BUY
        opposite = book.best(is_buy=not is_buy)
        last = self.last[market.symbol]
        reference = request.price or request.trigger or opposite or last
        if market.notional(reference, request.size) < market.min_notional:
            raise Refused(Refusal.NOTIONAL, market.size_text(request.size))
        crosses = opposite and (request.price >= opposite if is_buy else request.price <= opposite)
        if request.post_only and request.type is OrderType.LIMIT and crosses:
            raise Refused(Refusal.POST_ONLY)
        seen = last or opposite
        matters = self.rules.refuses_reached_triggers and seen and request.trigger and not request.trail
        if matters and is_triggered(seen, request.trigger, _is_stop(request), is_buy):
            raise Refused(Refusal.TRIGGER, "reached")

    @staticmethod
    def _check_id(account: Account, client_id: str) -> None:
        earlier = account.by_client.get(client_id)
        if earlier is not None and earlier.status.is_open and earlier.request.client_id == client_id:
            raise Refused(Refusal.DUPLICATE, client_id)

    # Lists of orders.

    def place_list(self, account_name: str, kind: str, requests: list[NewOrder], client_id: str = "") -> OrderList:
        """Take orders that depend on each other; see `OrderList`. For a pair, funds are set aside once.

        Raises:
            Refused: when one of them breaks a rule; nothing has changed then.
        """
        account = self.account(account_name)
        market = self.markets.get(requests[0].market)
        if market is None:
            raise Refused(Refusal.UNKNOWN_MARKET, requests[0].market)
        if client_id and any(g.client_id == client_id and not g.is_done for g in account.lists.values()):
            raise Refused(Refusal.DUPLICATE, client_id)
        waiting = [] if kind == "oco" else requests[1:]
        ids = [request.client_id for request in requests if request.client_id]
        if len(set(ids)) < len(ids):
            raise Refused(Refusal.DUPLICATE, ids[0])
        for request in requests:
            self._check_id(account, request.client_id)
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
            order.held_asset = market.quote if order.is_buy else market.base
            self.listener.on_order(order, "new")
        for order in begin:
            if order.status is Status.NEW and not order.working_ns:
                self._begin(order)
        self._run_triggers(market)
        self._flush(market)
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
                order.status = Status.NEW
                self._begin(order)

    def _hold(self, account: Account, order: Order, *others: Order) -> None:
        """Set funds aside: the base asset of sells, price (or an estimate of it) and fee of buys.

        Args:
            others: of which only one will execute, as a rule the other one of a pair: what the dearest needs is held.
        """
        market, together = order.market, (order, *others)
        asset = market.quote if order.is_buy else market.base
        needed = max(
            self._cost_of_buying(account, market, one.request, one.left)
            if one.is_buy
            else amount_of_size(one.left, market.size_decimals)
            for one in together
        )
        if account.free(asset) < needed:
            raise Refused(Refusal.FUNDS, asset)
        for one in together:
            one.held_asset, one.held = asset, 0
        order.held = needed
        account.held[asset] = account.held.get(asset, 0) + needed

    def _cost_of_buying(self, account: Account, market: Market, request: NewOrder, size: int) -> int:
        price = request.price
        if price:
            notional = market.notional(price, size)
        elif request.type is OrderType.MARKET:
            notional = self._market_cost(market, size)
        else:
            last = self.last[market.symbol]
            trail = request.trail or last * request.trail_bps // 10_000
            notional = market.notional(request.trigger or last + trail, size)
        return notional if self.rules.fee_in_received else notional + fee_of(notional, self.tier(account).taker_ppm)

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
        limit = order.price if request.type.has_limit else 0
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
        notional = order.market.notional(price, size)
        fee = 0 if self.rules.fee_in_received else fee_of(notional, self.tier(account).taker_ppm)
        return account.free(order.market.quote) + order.held >= notional + fee

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
        number, price = len(self.prevented), resting.price
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
            if not order.left:
                self._release(account, order)
                account.open.pop(order.number, None)
        self.listener.on_trade(trade)
        for order in (maker, taker):
            self.listener.on_order(order, "trade")
            account = self.accounts[order.account]
            for asset in dict.fromkeys((market.base, market.quote, trade.of(order)[1])):
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
        in_base = self.rules.fee_in_received and order.is_buy
        fee = fee_of(quantity if in_base else notional, rate)
        asset = market.base if in_base else market.quote
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
        paid = kept(market.quote, notional)
        account.total[market.quote] = account.total.get(market.quote, 0) - sign * paid
        account.total[asset] -= kept(asset, fee)
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
        if not order.price:
            return order.held if order.left else 0
        notional = order.market.notional(order.price, order.left)
        return notional if self.rules.fee_in_received else notional + fee_of(notional, self.tier(account).taker_ppm)

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
        """Forget what an account has no interest in any more: its ended orders, and what they executed."""
        account = self.account(account_name)
        for number in [number for number in account.orders if number not in account.open]:
            del account.orders[number], self.orders[number]
        account.trades.clear()

    def cancel_all(self, account_name: str, symbol: str = "", reason: str = "User requested") -> list[Order]:
        """Cancel every open order of an account, of one market or of all."""
        account = self.account(account_name)
        chosen = [o for o in account.open.values() if not symbol or o.market.symbol == symbol]
        for order in chosen:
            if order.status.is_open:
                self.cancel(account_name, order, reason)
        return chosen

    def amend(
        self, account_name: str, order: Order | None, *, size: int = 0, price: int = 0, client_id: str = ""
    ) -> Order:
        """Change an open order; a smaller size keeps its place, anything else goes to the end of its queue.

        Args:
            client_id: that it has from now on; it keeps its own where this is empty.

        Raises:
            Refused: when it cannot be.
        """
        if order is None or order.account != account_name or not order.status.is_open:
            raise Refused(Refusal.UNKNOWN_ORDER)
        market, account = order.market, self.accounts[account_name]
        new_size, new_price = size or order.size, price or order.price
        if client_id and client_id != order.request.client_id:
            self._check_id(account, client_id)
        pair = order.group.pair if order.group and any(order is one for one in order.group.pair) else []
        together = [order, *(one for one in pair if one is not order and one.status.is_open)]
        if new_size < market.min_size or any(new_size <= one.filled + one.prevented for one in together):
            raise Refused(Refusal.AMEND, "size")
        book = self.books[market.symbol]
        keeps_place = new_price == order.price and new_size <= order.size
        before = [(one, one.size, one.price, one.held, one.request) for one in together]
        for one in together:
            account.held[one.held_asset] = account.held.get(one.held_asset, 0) - one.held
            one.price = new_price if one is order else one.price
            one.size, one.held = new_size, 0
            one.request = replace(one.request, size=new_size, price=one.price)
        try:
            if order.status is not Status.WAITING:
                self._hold(account, *together)
        except Refused:
            for one, old_size, old_price, held, request in before:
                one.size, one.price, one.held, one.request = old_size, old_price, held, request
                account.held[one.held_asset] += one.held
            raise
        if client_id:
            order.request = replace(order.request, client_id=client_id)
            account.by_client[client_id] = order
        order.updated_ns = self.clock()
        resting = order.number in book
        for one in together:
            if one.number in book and (one is not order or keeps_place):
                book.reduce(one.number, one.left)
        if resting and not keeps_place:
            book.remove(order.number)
        self.listener.on_order(order, "amended")
        if resting and not keeps_place:
            self._work(order)
            self._run_triggers(market)
        self._flush(market)
        return order

    # Time.

    def tick(self) -> None:
        """Let what is due happen: expiries and dead-man switches."""
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
                fired.status, fired.working_ns = Status.NEW, self.clock()
                self.listener.on_order(fired, "triggered")
                self._work(fired)
        finally:
            self._triggering = False

    def _next_fired(self, market: Market) -> Order | None:
        last = self.last[market.symbol]
        if not last:
            return None
        for order in self._armed[market.symbol].values():
            request = order.request
            if request.trail_bps:
                if self._trails_back(order, last):
                    return order
                continue
            if request.type is OrderType.TRAILING_STOP:
                order.trigger = trailing_trigger(last, request.trail, order.trigger, order.is_buy)
            if is_triggered(last, order.trigger, _is_stop(request), order.is_buy):
                return order
        return None

    @staticmethod
    def _trails_back(order: Order, last: int) -> bool:
        """Follow the best price since a trailing order was activated; return whether the last is far enough back."""
        request = order.request
        if not order.tracking:
            if request.trigger and not is_triggered(last, request.trigger, _is_stop(request), order.is_buy):
                return False
            order.tracking = last
        order.tracking = min(order.tracking, last) if order.is_buy else max(order.tracking, last)
        if order.is_buy:
            return last * 10_000 >= order.tracking * (10_000 + request.trail_bps)
        return last * 10_000 <= order.tracking * (10_000 - request.trail_bps)

    def _flush(self, market: Market) -> None:
        if self.books[market.symbol].changed:
            self.listener.on_book(market)


def _is_stop(request: NewOrder) -> bool:
    return request.type not in (OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT)

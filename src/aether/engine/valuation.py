"""What the account is worth, and at which marks: every figure of money that is not booked but estimated.

A mark says where it comes from. The book's mid counts while the book is fresh (the account's own limit on the age of
market data); after that the newest of book, last trade and bar. What a venue holds of assets that are no position of
the account is valued by a pair that the account knows, at any venue; without one it counts as nothing.
"""

from typing import NamedTuple

from aether.domain.identifiers import AssetCode, BalanceKey, InstrumentId, Owner
from aether.domain.instruments import FeeTier, Instrument, fee_tier_at
from aether.domain.orders import Liquidity
from aether.domain.records import EquityPoint
from aether.domain.scaled import AMOUNT_DECIMALS, average_price, fee_of, price_e8, round_down, size_of_amount, value_of
from aether.engine.ledger import Charge, Holding
from aether.engine.state import NS_PER_DAY, NS_PER_MS, AccountState, MarketState
from aether.kernel.marks import BAR, BOOK, NO_MARK, TRADE, choose_mark
from aether.kernel.positions import rounding_tolerance

FEE_WINDOW_DAYS = 30


class Mark(NamedTuple):
    """A price with its source (`BOOK`, `TRADE`, `BAR`, `NO_MARK`) and the time from which it is known."""

    price: int
    source: int
    ts_ns: int


NOTHING = Mark(0, NO_MARK, 0)


def market_of(state: AccountState, instrument: InstrumentId) -> MarketState:
    """Return what is known of a market; nothing where it was never told."""
    return state.market.get(instrument) or MarketState()


def fresh_from(state: AccountState) -> int:
    """Return the time before which market data are old."""
    return state.now_ns - state.own.limits.market_data_max_age_ms * NS_PER_MS


def has_fresh_mark(state: AccountState, instrument: InstrumentId) -> bool:
    """Return whether what an instrument is valued at was told lately."""
    return mark(state, instrument).ts_ns >= fresh_from(state)


def has_fresh_book(state: AccountState, market: MarketState) -> bool:
    """Return whether a book can be traded on: told lately, both sides, not crossed."""
    return market.book_ns >= fresh_from(state) and bool(market.bid and market.ask) and not market.is_crossed


def mark(state: AccountState, instrument: InstrumentId) -> Mark:
    """Return the price that a position is valued at."""
    m = state.market.get(instrument)
    if m is None:
        return NOTHING
    mid = m.mid
    source = choose_mark(mid, m.book_ns, m.last, m.trade_ns, m.close, m.bar_ns, fresh_from(state))
    if source == BOOK:
        return Mark(mid, BOOK, m.book_ns)
    if source == TRADE:
        return Mark(m.last, TRADE, m.trade_ns)
    return Mark(m.close, BAR, m.bar_ns) if source == BAR else NOTHING


def mark_price(m: MarketState, fresh_ns: int) -> int:
    """Return the price that a position is valued at, 0 when nothing is known; what `mark` says, and faster.

    Args:
        fresh_ns: what `fresh_from` gives.
    """
    if m.bid and m.ask and m.book_ns >= fresh_ns:
        return (m.bid + m.ask) // 2
    source = choose_mark(m.mid, m.book_ns, m.last, m.trade_ns, m.close, m.bar_ns, fresh_ns)
    return (0, m.mid, m.last, m.close)[source]


def sellable_price(market: MarketState, fresh_ns: int) -> int:
    """Return the price at which a small amount could be sold now, 0 when nothing fresh says; no crossed book does."""
    if market.bid and market.book_ns >= fresh_ns:
        return 0 if market.ask and market.bid >= market.ask else market.bid
    return market.last if market.trade_ns >= fresh_ns else 0


def mid_e8(state: AccountState, instruments: list[Instrument]) -> int:
    """Return the middle between the best bid and ask of several venues, in 10^-8 of the quote asset; 0 when unknown."""
    bids, asks = [], []
    for i in instruments:
        market = market_of(state, i.id)
        if has_fresh_book(state, market):
            bids.append(price_e8(market.bid, i.price_decimals))
            asks.append(price_e8(market.ask, i.price_decimals))
    return (max(bids) + min(asks)) // 2 if bids else 0


def holding_value(state: AccountState, instrument: Instrument, holding: Holding) -> int:
    """Return the worth of a holding at the mark, at cost where there is no mark yet."""
    if not holding.quantity:
        return 0
    price = mark(state, instrument.id).price
    return signed_value(holding.quantity, price, instrument.price_decimals) if price else holding.cost


def position_value(state: AccountState, instrument: Instrument) -> int:
    """Return the worth of one position at the mark, at cost where there is no mark yet."""
    position = state.ledger.positions.get(instrument.id)
    return holding_value(state, instrument, Holding(position.quantity, position.cost)) if position else 0


def signed_value(amount: int, price: int, price_decimals: int) -> int:
    """Return the worth of an amount that may be below zero."""
    return value_of(amount, price, price_decimals) if amount >= 0 else -value_of(-amount, price, price_decimals)


def gross_exposure(state: AccountState) -> int:
    """Return the worth of all positions at the mark: the sum of `position_value`, which is asked at falling marks."""
    fresh_ns = fresh_from(state)
    total = 0
    for key, position in state.ledger.positions.items():
        quantity = position.quantity
        if quantity:
            m = state.market.get(key)
            price = mark_price(m, fresh_ns) if m else 0
            total += signed_value(quantity, price, state.instruments[key].price_decimals) if price else position.cost
    return total


def cash(state: AccountState) -> int:
    """Return what is held of the account's currency, at all venues."""
    suffix = f":{state.own.currency}"
    return sum(b.free + b.locked for key, b in state.ledger.balances.items() if key.endswith(suffix))


def net_asset_value(state: AccountState) -> int:
    """Return cash, positions and other assets at the mark, a ledger amount of the account's currency."""
    return gross_exposure(state) + cash_and_others(state)


def cash_and_others(state: AccountState) -> int:
    """Return what of NAV is no position: cash, and the worth of assets that nothing trades, such as coins for fees."""
    currency = state.own.currency
    suffix = f":{currency}"
    total = 0
    for key, b in state.ledger.balances.items():
        if key.endswith(suffix):
            total += b.free + b.locked
        elif f"{key}/{currency}" not in state.instruments:
            total += worth_of(state, AssetCode(key.partition(":")[2]), b.free + b.locked) or 0
    return total


def worth_of(state: AccountState, asset: AssetCode, amount: int) -> int | None:
    """Return the worth of an amount of any asset in the account's currency; None when no pair tells."""
    if asset == state.own.currency:
        return amount
    for i in state.instruments.values():
        if i.base == asset and i.quote == state.own.currency:
            price = mark(state, i.id).price
            if price:
                return signed_value(amount, price, i.price_decimals)
    return None


def instrument_of(state: AccountState, key: BalanceKey) -> Instrument | None:
    """Return the instrument whose position a balance is, None for cash and for assets that nothing trades."""
    return state.instruments.get(InstrumentId(f"{key}/{state.own.currency}"))


def equity_point(state: AccountState) -> EquityPoint:
    """Return the account's worth now."""
    suffix = f":{state.own.currency}"
    own = [b for key, b in state.ledger.balances.items() if key.endswith(suffix)]
    held = cash(state)
    nav = net_asset_value(state)
    return EquityPoint(
        ts_ns=state.now_ns,
        nav=nav,
        cash=held,
        exposure=nav - held,
        realized=-sum(b.realized + b.adjusted + b.rounding for b in own),
        fees=sum(p.fees for p in state.ledger.positions.values()),
        capital=state.risk.capital,
    )


def thirty_day_volume(state: AccountState) -> int:
    """Return the notional traded in the last 30 days, today's included, which decides the fee tier."""
    first = state.now_ns // NS_PER_DAY - FEE_WINDOW_DAYS + 1
    return sum(v for day, v in state.risk.day_volume.items() if day >= first)


def fee_tier(state: AccountState, instrument: Instrument) -> FeeTier:
    """Return the fees that the account pays at an instrument now."""
    return fee_tier_at(instrument.fee_tiers, thirty_day_volume(state))


def charge_of(
    state: AccountState,
    instrument: Instrument,
    fee: int,
    fee_key: BalanceKey,
    price: int,
    notional: int,
    liquidity: Liquidity,
) -> Charge:
    """Return where a fee is booked and what it is worth in the quote asset.

    A fee in a third asset is worth its mark; where nothing marks it, what the account's tier would have charged.
    """
    if fee_key == instrument.quote_key:
        return Charge(fee, fee, fee_key)
    if fee_key == instrument.base_key:
        return Charge(fee, signed_value(fee, price, instrument.price_decimals), fee_key, instrument)
    worth = worth_of(state, AssetCode(fee_key.partition(":")[2]), fee)
    if worth is None:
        tier = fee_tier(state, instrument)
        usual = fee_of(notional, tier.maker_ppm if liquidity is Liquidity.MAKER else tier.taker_ppm)
        worth = usual if fee > 0 else -usual if fee < 0 else 0
    held_as = instrument_of(state, fee_key)
    return Charge(fee, worth, fee_key, held_as)


def tolerance(state: AccountState, key: BalanceKey) -> int:
    """Return by how much a venue's figure of a balance may differ from ours by rounding alone, a ledger amount."""
    held_as, decimals = instrument_of(state, key), AMOUNT_DECIMALS
    if held_as is not None:
        decimals = held_as.base_decimals
    else:
        decimals = next((i.quote_decimals for i in state.instruments.values() if i.quote_key == key), decimals)
    balance = state.ledger.balances.get(key)
    return rounding_tolerance(balance.postings if balance else 0, decimals)


def sellable_size(state: AccountState, instrument: Instrument, owner: Owner | None = None) -> int:
    """Return what could be sold of an owner's holding, or of the whole position: of at least the smallest order.

    What is below the venue's least size or worth is dust: it counts as nothing. Never more than the books hold at all;
    no more than the venue last said either, as long as that can be sold: a wrong figure must not keep anything from
    being left.
    """
    balance = state.ledger.balances.get(instrument.base_key)
    if balance is None:
        return 0
    held = balance.total
    if owner is not None:
        held = min(held, state.ledger.holding(instrument.id, owner).quantity)
    size = round_down(size_of_amount(held, instrument.size_decimals), instrument.lot)
    told = state.breaks.get(f"balance|{instrument.base_key}")
    if told is not None and told.amount < 0:
        there = min(held, balance.total + told.amount)
        smaller = round_down(size_of_amount(max(0, there), instrument.size_decimals), instrument.lot)
        size = smaller if is_sellable(state, instrument, smaller) else size
    return size if is_sellable(state, instrument, size) else 0


def free_size(state: AccountState, instrument: Instrument) -> int:
    """Return how much of an instrument no open order locks, below zero where more was spent than the books held."""
    return size_of_amount(state.ledger.balance(instrument.base_key).free, instrument.size_decimals)


def is_sellable(state: AccountState, instrument: Instrument, size: int) -> bool:
    """Return whether a venue would take an order to sell `size` at the mark."""
    if size <= 0 or size < instrument.min_size:
        return False
    price = mark(state, instrument.id).price
    return price == 0 or instrument.notional(price, size) >= instrument.min_notional


def average_entry(holding: Holding, instrument: Instrument) -> int:
    """Return the average price of a holding above zero, 0 for any other."""
    return average_price(holding.cost, holding.quantity, instrument.price_decimals) if holding.quantity > 0 else 0

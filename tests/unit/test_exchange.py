"""The local exchange's own rules: matching, money, triggers, expiries."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether.domain.orders import OrderType, Side, TimeInForce
from aether.exchange.venue import FeeTier, Market, NewOrder, Order, Refusal, Refused, Rules, Status, Venue

MARKET = Market("BTC", "USD", 1, 8, min_size=1_000, min_notional=10**8)
ONE = 10**8
NOW = [1_700_000_000_000_000_000]


def venue(**rules: object) -> Venue:
    made = Venue("test", [MARKET], Rules((FeeTier(0, 1000, 2000),), **rules), lambda: NOW[0])  # type: ignore[arg-type]
    for account in ("ann", "bob"):
        made.deposit(account, "USD", 10**6 * ONE)
        made.deposit(account, "BTC", 100 * ONE)
    return made


def limit(side: str, size: float, price: float, **fields: object) -> NewOrder:
    return NewOrder("BTC/USD", Side(side), OrderType.LIMIT, round(size * ONE), price=round(price * 10), **fields)  # type: ignore[arg-type]


def test_price_then_time() -> None:
    v = venue()
    late_better = [v.place("ann", limit("sell", 1, price)) for price in (101, 100, 100)]
    v.place("bob", limit("buy", 1.5, 101))
    assert [o.filled for o in late_better] == [0, ONE, ONE // 2]


def test_money_moves_exactly_and_fees_by_role() -> None:
    v = venue()
    v.place("ann", limit("sell", 2, 100))
    v.place("bob", limit("buy", 2, 100))
    ann, bob = v.account("ann"), v.account("bob")
    assert ann.total == {"USD": 10**6 * ONE + 200 * ONE - 20_000_000, "BTC": 98 * ONE}
    assert bob.total == {"USD": 10**6 * ONE - 200 * ONE - 40_000_000, "BTC": 102 * ONE}
    assert not any(ann.held.values())
    assert not any(bob.held.values())


def test_a_fee_in_the_received_asset() -> None:
    v = venue(fee_in_received=True)
    v.place("ann", limit("sell", 2, 100))
    v.place("bob", limit("buy", 2, 100))
    assert v.account("bob").total["BTC"] == 102 * ONE - 400_000
    assert v.account("bob").total["USD"] == 10**6 * ONE - 200 * ONE


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (limit("buy", 0.000001, 100), Refusal.TOO_SMALL),
        (limit("buy", 0.001, 100), Refusal.NOTIONAL),
        (limit("buy", 1e6, 100), Refusal.FUNDS),
        (limit("sell", 101, 100), Refusal.FUNDS),
        (limit("buy", 1, 0), Refusal.BAD_PRICE),
        (limit("buy", 1, 100, display=ONE), Refusal.BAD_FIELDS),
        (limit("buy", 1, 100, tif=TimeInForce.GTD, expire_ns=1), Refusal.BAD_FIELDS),
        (NewOrder("BTC/USD", Side.SELL, OrderType.STOP_LOSS, ONE), Refusal.TRIGGER),
        (NewOrder("DOGE/USD", Side.SELL, OrderType.MARKET, ONE), Refusal.UNKNOWN_MARKET),
    ],
)
def test_what_breaks_a_rule_is_refused_and_changes_nothing(order: NewOrder, reason: Refusal) -> None:
    v = venue()
    with pytest.raises(Refused) as caught:
        v.place("ann", order)
    assert caught.value.reason is reason
    assert not any(v.account("ann").held.values())
    assert not v.account("ann").orders


def test_client_ids_are_refused_while_open_or_given_back_for_ever() -> None:
    v = venue()
    first = v.place("ann", limit("buy", 1, 100, client_id="a"))
    with pytest.raises(Refused, match="duplicate"):
        v.place("ann", limit("buy", 1, 100, client_id="a"))
    v.cancel("ann", first)
    assert v.place("ann", limit("buy", 1, 100, client_id="a")) is not first
    forever = venue(client_ids="forever")
    kept = forever.place("ann", limit("buy", 1, 100, client_id="a"))
    assert forever.place("ann", limit("sell", 1, 100, client_id="a")) is kept


@pytest.mark.parametrize(
    ("mode", "resting", "coming"),
    [
        ("cancel_newest", "new", "canceled"),
        ("cancel_oldest", "canceled", "new"),
        ("cancel_both", "canceled", "canceled"),
    ],
)
def test_self_trade_prevention(mode: str, resting: str, coming: str) -> None:
    v = venue(self_trade=mode)
    first = v.place("ann", limit("sell", 1, 100))
    second = v.place("ann", limit("buy", 1, 100))
    assert (first.status, second.status) == (Status(resting), Status(coming))
    assert not v.trades["BTC/USD"]


def test_an_amended_price_can_trade_at_once_and_a_smaller_size_keeps_its_place() -> None:
    v = venue()
    first, second = v.place("ann", limit("sell", 1, 100)), v.place("bob", limit("sell", 1, 100))
    v.amend("ann", first, size=ONE // 2)
    v.deposit("cid", "USD", 10**6 * ONE)
    v.place("cid", limit("buy", 0.5, 100))
    assert (first.filled, second.filled) == (ONE // 2, 0)
    bid = v.place("cid", limit("buy", 1, 90))
    v.amend("cid", bid, price=1_000)
    assert bid.status is Status.FILLED
    with pytest.raises(Refused):
        v.amend("cid", bid, price=1_100)


def test_dead_man_and_expiry_happen_by_the_clock() -> None:
    v = venue()
    v.place("ann", limit("buy", 1, 100))
    v.account("ann").dead_man_ns = NOW[0] + 5
    later = v.place("bob", limit("buy", 1, 100, tif=TimeInForce.GTD, expire_ns=NOW[0] + 10))
    NOW[0] += 6
    v.tick()
    assert not v.account("ann").open
    assert str(later.status) == "new"
    NOW[0] += 6
    v.tick()
    assert str(later.status) == "expired"


def test_one_trigger_can_set_off_the_next() -> None:
    v = venue()
    for price in (99, 97):
        v.place("bob", limit("buy", 1, price))
    stops: list[Order] = [
        v.place("ann", NewOrder("BTC/USD", Side.SELL, OrderType.STOP_LOSS, ONE, trigger=t)) for t in (1_000, 990)
    ]
    v.place("ann", limit("sell", 1, 100))
    v.place("bob", limit("buy", 1, 100, tif=TimeInForce.IOC))
    assert [s.status for s in stops] == [Status.FILLED, Status.FILLED]


orders = st.tuples(
    st.sampled_from(["ann", "bob", "cid"]),
    st.sampled_from(list(Side)),
    st.sampled_from([OrderType.LIMIT, OrderType.MARKET, OrderType.STOP_LOSS, OrderType.TAKE_PROFIT_LIMIT]),
    st.integers(1_000, 3 * ONE),
    st.integers(900, 1_100),
    st.sampled_from([TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK]),
    st.integers(0, 10),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(orders, max_size=60), st.booleans())
def test_nothing_is_made_and_nothing_lost(
    found: list[tuple[str, Side, OrderType, int, int, TimeInForce, int]], in_base: bool
) -> None:
    v = venue(fee_in_received=in_base)
    v.deposit("cid", "USD", 10**6 * ONE)
    v.deposit("cid", "BTC", 100 * ONE)
    before = {asset: sum(a.total.get(asset, 0) for a in v.accounts.values()) for asset in ("USD", "BTC")}
    for account, side, kind, size, price, tif, then in found:
        fields = {"trigger": price} if kind.has_trigger else {}
        request = NewOrder(
            "BTC/USD",
            side,
            kind,
            size,
            price=price if kind.has_limit else 0,
            tif=tif if kind.has_limit else TimeInForce.IOC,
            **fields,  # type: ignore[arg-type]
        )
        try:
            order = v.place(account, request)
        except Refused:
            continue
        if then > 7 and order.status.is_open:
            v.cancel(account, order)
    fees: dict[str, int] = {"USD": 0, "BTC": 0}
    for trade in v.trades["BTC/USD"]:
        fees[trade.maker_fee_asset] += trade.maker_fee
        fees[trade.taker_fee_asset] += trade.taker_fee
    for asset, total in before.items():
        assert sum(a.total.get(asset, 0) for a in v.accounts.values()) == total - fees[asset]
    for held in v.accounts.values():
        assert all(held.total.get(asset, 0) >= amount >= 0 for asset, amount in held.held.items())
        assert all(o.held >= 0 for o in held.open.values())
        for asset in ("USD", "BTC"):
            assert held.held.get(asset, 0) == sum(o.held for o in held.open.values() if o.held_asset == asset)
    book = v.books["BTC/USD"]
    bid, ask = book.best(is_buy=True), book.best(is_buy=False)
    assert not (bid and ask and bid >= ask)


def test_a_deposit_is_kept_to_as_many_decimals_as_everything_else() -> None:
    """What the face tells, four decimals of a dollar at Kraken, is what there is: 333,333.33333333 is never held."""
    v = venue(kept_decimals={"USD": 4})
    before = v.account("ann").total["USD"]
    v.deposit("ann", "USD", 33_333_333_333_333)
    assert v.account("ann").total["USD"] - before == 33_333_333_330_000

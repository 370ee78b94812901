"""Double entry: every posting balances, facts are booked whole whatever they do to the books (T1, O8)."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.domain.errors import LedgerError
from aether.domain.identifiers import OPERATOR, AssetCode, InstrumentId, Owner, VenueId, balance_key
from aether.domain.instruments import make_instrument
from aether.domain.scaled import AMOUNT_SCALE, value_of
from aether.engine.ledger import Charge, Ledger, Position
from aether.kernel.positions import rounding_tolerance, traded
from tests.desk import BTC

USD = AMOUNT_SCALE
COIN = 10**8
FIFTY_THOUSAND = 50_000 * 100
ONE, OTHER = Owner("strategy:one"), Owner("strategy:other")
BNB = make_instrument(VenueId("paper"), "BNB/USD", price_decimals=2, size_decimals=8)


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.move_cash(BTC.quote_key, 100_000 * USD, "capital")
    return made


def in_quote(fee: int) -> Charge:
    return Charge(fee, fee, BTC.quote_key)


def in_base(fee: int, price: int) -> Charge:
    worth = value_of(abs(fee), price, 2)
    return Charge(fee, worth if fee > 0 else -worth, BTC.base_key, BTC)


def buy(ledger: Ledger, size: int, price: int, charge: Charge | None = None, owner: Owner = ONE) -> int:
    return ledger.book_buy(BTC, owner, size, BTC.notional(price, size), charge or in_quote(0))


def sell(ledger: Ledger, size: int, price: int, charge: Charge | None = None, owner: Owner = ONE) -> int:
    return ledger.book_sale(BTC, owner, size, BTC.notional(price, size), charge or in_quote(0))


def test_buying_moves_cash_into_cost_and_fees(ledger: Ledger) -> None:
    buy(ledger, COIN, FIFTY_THOUSAND, in_quote(125 * USD))
    usd, position = ledger.balance(BTC.quote_key), ledger.position(BTC.id)
    assert (usd.free, usd.cost, usd.fees) == (49_875 * USD, 50_000 * USD, 125 * USD)
    assert (position.quantity, position.cost, position.fees) == (COIN, 50_000 * USD, 125 * USD)
    ledger.assert_balanced()


def test_selling_realizes_against_average_cost(ledger: Ledger) -> None:
    buy(ledger, COIN // 2, 40_000 * 100)
    buy(ledger, COIN // 2, 60_000 * 100)
    assert sell(ledger, COIN // 4, 70_000 * 100) == (17_500 - 12_500) * USD
    assert ledger.position(BTC.id).cost == 37_500 * USD
    ledger.assert_balanced()


def test_selling_everything_leaves_no_cost_behind(ledger: Ledger) -> None:
    for size, price in ((33_333_333, 4_999_999), (11_111_111, 5_000_001), (7, 4_812_345)):
        buy(ledger, size, price)
    for size in (1, 20_000_000, 24_444_450):
        sell(ledger, size, 5_123_457)
        ledger.assert_balanced()
    position = ledger.position(BTC.id)
    assert (position.quantity, position.cost, position.holdings) == (0, 0, {})


def test_a_fee_in_base_is_a_sale_that_pays_it(ledger: Ledger) -> None:
    buy(ledger, COIN, FIFTY_THOUSAND, in_base(COIN // 1_000, FIFTY_THOUSAND))
    assert ledger.position(BTC.id).quantity == COIN - COIN // 1_000
    assert ledger.position(BTC.id).fees == 50 * USD
    assert ledger.balance(BTC.quote_key).free == 50_000 * USD
    ledger.assert_balanced()


def test_a_rebate_in_base_on_a_full_sale_is_a_purchase(ledger: Ledger) -> None:
    buy(ledger, COIN, FIFTY_THOUSAND)
    sell(ledger, COIN, FIFTY_THOUSAND, in_base(-1_000, FIFTY_THOUSAND))
    assert ledger.position(BTC.id).quantity == 1_000
    assert ledger.position(BTC.id).fees == -value_of(1_000, FIFTY_THOUSAND, 2)
    ledger.assert_balanced()


def test_a_fee_in_base_beyond_what_is_held_is_booked_below_zero(ledger: Ledger) -> None:
    buy(ledger, 1_000, FIFTY_THOUSAND, in_base(5_000, FIFTY_THOUSAND))
    assert ledger.balance(BTC.base_key).free == -4_000
    assert ledger.position(BTC.id).quantity == -4_000
    ledger.assert_balanced()


def test_a_fee_in_an_asset_that_is_a_position_sells_it_once(ledger: Ledger) -> None:
    ledger.book_buy(BNB, OPERATOR, 10 * COIN, 2_000 * USD, Charge(0, 0, BNB.quote_key))
    buy(ledger, COIN // 10, FIFTY_THOUSAND, Charge(COIN // 100, 3 * USD, BNB.base_key, BNB))
    bnb = ledger.position(BNB.id)
    assert bnb.quantity == 10 * COIN - COIN // 100
    assert bnb.realized == 1 * USD, "bought at 200, spent at 300"
    assert ledger.position(BTC.id).fees == 3 * USD
    assert ledger.balance(BTC.quote_key).free == (100_000 - 2_000 - 5_000) * USD, "no dollar was paid for it"
    assert ledger.balance(BTC.quote_key).fees == 3 * USD
    ledger.assert_balanced()


def test_a_fee_in_an_asset_without_books_opens_them_below_zero(ledger: Ledger) -> None:
    key = balance_key(VenueId("paper"), AssetCode("BNB"))
    buy(ledger, COIN // 10, FIFTY_THOUSAND, Charge(12_345, 5 * USD, key))
    assert (ledger.balance(key).free, ledger.balance(key).fees) == (-12_345, 12_345)
    assert ledger.position(BTC.id).fees == 5 * USD
    ledger.assert_balanced()


def test_equity_is_capital_plus_realized_less_fees_plus_unrealized(ledger: Ledger) -> None:
    buy(ledger, COIN, FIFTY_THOUSAND, in_quote(100 * USD))
    sell(ledger, COIN // 3, 55_000 * 100, in_quote(40 * USD))
    usd, position = ledger.balance(BTC.quote_key), ledger.position(BTC.id)
    worth = Decimal(position.quantity) * 55_000
    unrealized = worth - position.cost
    assert usd.total + worth == -usd.capital - usd.realized - usd.fees + unrealized


def test_more_than_there_is_goes_below_zero_and_comes_back(ledger: Ledger) -> None:
    buy(ledger, 3 * COIN, FIFTY_THOUSAND)
    assert ledger.balance(BTC.quote_key).free == -50_000 * USD
    sell(ledger, 4 * COIN, FIFTY_THOUSAND)
    position = ledger.position(BTC.id)
    assert (position.quantity, position.cost) == (-COIN, -50_000 * USD)
    ledger.assert_balanced()
    assert buy(ledger, 2 * COIN, 40_000 * 100) == 10_000 * USD, "what was owed came back cheaper"
    assert (position.quantity, position.cost) == (COIN, 40_000 * USD)
    ledger.assert_balanced()


def test_a_sale_takes_its_owners_coins_first_then_the_operators_then_others(ledger: Ledger) -> None:
    buy(ledger, COIN, 10_000 * 100, owner=ONE)
    buy(ledger, COIN, 20_000 * 100, owner=OTHER)
    buy(ledger, COIN, 30_000 * 100, owner=OPERATOR)
    assert sell(ledger, COIN, 40_000 * 100, owner=ONE) == 30_000 * USD
    assert sell(ledger, COIN // 2, 40_000 * 100, owner=ONE) == 5_000 * USD, "the operators' coins, at their cost"
    holdings = ledger.position(BTC.id).holdings
    assert {o: holding.quantity for o, holding in holdings.items()} == {OTHER: COIN, OPERATOR: COIN // 2}
    sell(ledger, 2 * COIN, 40_000 * 100, owner=ONE)
    assert {o: holding.quantity for o, holding in ledger.position(BTC.id).holdings.items()} == {ONE: -COIN // 2}
    ledger.assert_balanced()


def test_a_lot_passes_to_another_owner_at_its_cost(ledger: Ledger) -> None:
    buy(ledger, COIN, 10_000 * 100, owner=ONE)
    buy(ledger, COIN, 20_000 * 100, owner=OPERATOR)
    ledger.hand_over(BTC.id, ONE, OPERATOR)
    holding = ledger.holding(BTC.id, OPERATOR)
    assert (holding.quantity, holding.cost) == (2 * COIN, 30_000 * USD)
    ledger.assert_balanced()


@pytest.mark.parametrize(("amount", "message"), [(100_001, "to lock"), (-1, "to lock")])
def test_locking_more_than_is_free_is_a_fault_of_ours(ledger: Ledger, amount: int, message: str) -> None:
    before = str(ledger.balances[BTC.quote_key])
    with pytest.raises(LedgerError, match=message):
        ledger.reserve(BTC.quote_key, amount * USD)
    with pytest.raises(LedgerError, match="to unlock"):
        ledger.release(BTC.quote_key, 1)
    assert str(ledger.balances[BTC.quote_key]) == before
    ledger.assert_balanced()


def test_an_unbalanced_book_is_found(ledger: Ledger) -> None:
    ledger.balance(BTC.quote_key).free += 1
    with pytest.raises(LedgerError, match="do not balance"):
        ledger.assert_balanced()


def test_a_lot_that_does_not_add_up_is_found(ledger: Ledger) -> None:
    buy(ledger, COIN, FIFTY_THOUSAND)
    ledger.positions[InstrumentId(BTC.id)] = Position(quantity=COIN, cost=50_000 * USD)
    with pytest.raises(LedgerError, match="holdings"):
        ledger.assert_balanced()


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.integers(1, 10**22),
            st.integers(1, 10**9),
            st.sampled_from(["none", "quote", "base", "third", "rebate"]),
            st.sampled_from([ONE, OTHER, OPERATOR]),
        ),
        max_size=12,
    )
)
def test_whatever_is_traded_the_books_balance(trades: list[tuple[bool, int, int, str, Owner]]) -> None:
    ledger = Ledger()
    third = balance_key(VenueId("paper"), AssetCode("BNB"))
    held = cash = 0
    for is_buy, size, price, kind, owner in trades:
        notional = BTC.notional(price, size)
        fee = size // 400 + 1
        charge = {
            "none": in_quote(0),
            "quote": in_quote(notional // 250),
            "base": in_base(fee, price),
            "third": Charge(7, 11, third),
            "rebate": in_base(-fee, price),
        }[kind]
        book = ledger.book_buy if is_buy else ledger.book_sale
        book(BTC, owner, size, notional, charge)
        ledger.assert_balanced()
        held += (size if is_buy else -size) - (charge.amount if charge.held_as else 0)
        cash += (-notional if is_buy else notional) - (charge.amount if kind == "quote" else 0)
    assert ledger.position(BTC.id).quantity == ledger.balance(BTC.base_key).total == held
    assert ledger.balance(BTC.quote_key).total == cash


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12), st.integers(0, 10**15))
def test_a_holding_and_what_it_cost_end_together(quantity: int, change: int, value: int) -> None:
    held, cost, realized = traded(quantity, 7 * quantity, change, value)
    assert held == quantity + change
    assert (held == 0) <= (cost == 0)
    assert (cost > 0) <= (held > 0)
    paid = value if change > 0 else -value if change < 0 else 0
    assert cost - 7 * quantity == paid + realized, "what was paid is in the cost or in the profit"


def test_rounding_is_tolerated_by_last_units_and_postings() -> None:
    assert rounding_tolerance(0, 8) == 1
    assert rounding_tolerance(3, 8) == 4
    assert rounding_tolerance(3, 4) == 4 * 10**4
    assert rounding_tolerance(10**9, 8) == 1_001, "a difference as large as that is no rounding"
    assert rounding_tolerance(0, 18) == 1

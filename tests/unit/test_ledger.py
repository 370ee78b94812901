"""Double entry: every posting balances, nothing is overdrawn, nothing goes short (T1)."""

from decimal import Decimal

import pytest

from aether.domain.errors import LedgerError
from aether.domain.scaled import AMOUNT_SCALE
from aether.engine.ledger import Ledger
from tests.desk import BTC

USD = AMOUNT_SCALE
COIN = 10**8
FIFTY_THOUSAND = 50_000 * 100


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.move_capital(BTC.quote_key, 100_000 * USD)
    return made


def buy(ledger: Ledger, size: int, price: int, fee: int = 0, *, in_base: bool = False) -> int:
    return ledger.buy(BTC, size, BTC.notional(price, size), fee, fee_in_base=in_base, price=price)


def sell(ledger: Ledger, size: int, price: int, fee: int = 0, *, in_base: bool = False) -> tuple[int, int]:
    return ledger.sell(BTC, size, BTC.notional(price, size), fee, fee_in_base=in_base, price=price)


def test_buying_moves_cash_into_cost_and_fees(ledger: Ledger) -> None:
    buy(ledger, COIN, FIFTY_THOUSAND, fee=125 * USD)
    usd, position = ledger.balance(BTC.quote_key), ledger.position(BTC.id)
    assert (usd.free, usd.cost, usd.fees) == (49_875 * USD, 50_000 * USD, 125 * USD)
    assert (position.quantity, position.cost) == (COIN, 50_000 * USD)
    ledger.assert_balanced()


def test_selling_realizes_against_average_cost(ledger: Ledger) -> None:
    buy(ledger, COIN // 2, 40_000 * 100)
    buy(ledger, COIN // 2, 60_000 * 100)
    realized, _ = sell(ledger, COIN // 4, 70_000 * 100)
    assert realized == (17_500 - 12_500) * USD
    assert ledger.position(BTC.id).cost == 37_500 * USD
    ledger.assert_balanced()


def test_selling_everything_leaves_no_cost_behind(ledger: Ledger) -> None:
    for size, price in ((33_333_333, 4_999_999), (11_111_111, 5_000_001), (7, 4_812_345)):
        buy(ledger, size, price)
    for size in (1, 20_000_000, 24_444_450):
        sell(ledger, size, 5_123_457)
        ledger.assert_balanced()
    assert (ledger.position(BTC.id).quantity, ledger.position(BTC.id).cost) == (0, 0)


def test_a_fee_in_base_is_a_sale_that_pays_it(ledger: Ledger) -> None:
    paid = buy(ledger, COIN, FIFTY_THOUSAND, fee=COIN // 1_000, in_base=True)
    assert paid == 50 * USD
    assert ledger.position(BTC.id).quantity == COIN - COIN // 1_000
    assert ledger.balance(BTC.quote_key).free == 50_000 * USD
    ledger.assert_balanced()


def test_equity_is_capital_plus_realized_less_fees_plus_unrealized(ledger: Ledger) -> None:
    buy(ledger, COIN, FIFTY_THOUSAND, fee=100 * USD)
    sell(ledger, COIN // 3, 55_000 * 100, fee=40 * USD)
    usd, position = ledger.balance(BTC.quote_key), ledger.position(BTC.id)
    worth = Decimal(position.quantity) * 55_000
    unrealized = worth - position.cost
    assert usd.total + worth == -usd.capital - usd.realized - usd.fees + unrealized


@pytest.mark.parametrize(
    ("posting", "message"),
    [
        (lambda book: buy(book, 3 * COIN, FIFTY_THOUSAND), "bought"),
        (lambda book: sell(book, 1, FIFTY_THOUSAND), "sold"),
        (lambda book: book.reserve(BTC.quote_key, 100_001 * USD), "to lock"),
        (lambda book: book.release(BTC.quote_key, 1), "to unlock"),
        (lambda book: book.move_capital(BTC.quote_key, -100_001 * USD), "taken out"),
    ],
)
def test_overdrawing_is_refused_and_changes_nothing(ledger: Ledger, posting: object, message: str) -> None:
    before = str(ledger.balances[BTC.quote_key])
    with pytest.raises(LedgerError, match=message):
        posting(ledger)  # type: ignore[operator]
    assert str(ledger.balances[BTC.quote_key]) == before
    ledger.assert_balanced()


def test_an_unbalanced_book_is_found(ledger: Ledger) -> None:
    ledger.balance(BTC.quote_key).free += 1
    with pytest.raises(LedgerError, match="do not balance"):
        ledger.assert_balanced()

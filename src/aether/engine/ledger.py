"""The account's books: double entry, exact, balanced after every event.

Each asset at each venue has seven accounts, and their sum is always zero; credits are negative:

* `free`, `locked`: what the venue holds for us, the latter reserved for open orders;
* `capital`: money paid in (credit) and taken out;
* `inventory`: the counter-account of a base asset that was bought (credit);
* `cost`: in the quote asset, what the positions cost (average cost);
* `realized`: profit (credit) or loss of closed trades, before fees;
* `fees`: fees paid.

A fee taken in the base asset is booked as a sale of that base at the fill's price whose proceeds pay the fee, so that
quantity, cost and profit stay exact. A posting that would overdraw an asset or sell more than is held raises
`LedgerError` before anything is changed.
"""

import msgspec

from aether.domain.errors import LedgerError
from aether.domain.identifiers import BalanceKey, InstrumentId
from aether.domain.instruments import Instrument
from aether.domain.scaled import amount_of_size, format_amount, mul_div, value_of


class Balance(msgspec.Struct):
    """The accounts of one asset at one venue, all ledger amounts; see the module's opening."""

    free: int = 0
    locked: int = 0
    capital: int = 0
    inventory: int = 0
    cost: int = 0
    realized: int = 0
    fees: int = 0

    @property
    def total(self) -> int:
        """What the venue holds for us."""
        return self.free + self.locked


class Position(msgspec.Struct):
    """Holdings of an instrument's base asset at average cost.

    Attributes:
        quantity: ledger amount of the base asset.
        cost: what it cost, ledger amount of the quote asset, before fees.
        realized: profit and loss of what was sold so far, before fees.
        fees: fees paid so far, in the quote asset.
    """

    quantity: int = 0
    cost: int = 0
    realized: int = 0
    fees: int = 0


def cost_share(cost: int, sold: int, quantity: int) -> int:
    """Return the part of `cost` that leaves with `sold` of `quantity`; selling all takes all of it."""
    return mul_div(cost, sold, quantity)


class Ledger(msgspec.Struct):
    """All balances and positions of one account."""

    balances: dict[BalanceKey, Balance] = msgspec.field(default_factory=dict)
    positions: dict[InstrumentId, Position] = msgspec.field(default_factory=dict)

    def balance(self, key: BalanceKey) -> Balance:
        """Return the balance under `key`, opening it at zero."""
        found = self.balances.get(key)
        if found is None:
            found = self.balances[key] = Balance()
        return found

    def position(self, instrument: InstrumentId) -> Position:
        """Return the position in `instrument`, opening it at zero."""
        found = self.positions.get(instrument)
        if found is None:
            found = self.positions[instrument] = Position()
        return found

    def move_capital(self, key: BalanceKey, amount: int) -> None:
        """Book money in (positive) or out. Raises LedgerError when more is taken out than is free."""
        balance = self.balance(key)
        if balance.free + amount < 0:
            raise LedgerError(f"{format_amount(-amount)} of {key} taken out, {format_amount(balance.free)} free")
        balance.free += amount
        balance.capital -= amount

    def reserve(self, key: BalanceKey, amount: int) -> None:
        """Lock `amount` for an order. Raises LedgerError when less is free."""
        balance = self.balance(key)
        if not 0 <= amount <= balance.free:
            raise LedgerError(f"{format_amount(amount)} of {key} to lock, {format_amount(balance.free)} free")
        balance.free -= amount
        balance.locked += amount

    def release(self, key: BalanceKey, amount: int) -> None:
        """Unlock `amount`. Raises LedgerError when less is locked."""
        balance = self.balance(key)
        if not 0 <= amount <= balance.locked:
            raise LedgerError(f"{format_amount(amount)} of {key} to unlock, {format_amount(balance.locked)} locked")
        balance.locked -= amount
        balance.free += amount

    def buy(self, instrument: Instrument, size: int, notional: int, fee: int, *, fee_in_base: bool, price: int) -> int:
        """Book a buy fill; return the fee in the quote asset.

        Args:
            size: in size units.
            notional: price x size, ledger amount of the quote asset.
            fee: ledger amount of the quote asset, or of the base asset with `fee_in_base`.
            price: of the fill, in price units.

        Raises:
            LedgerError: when the quote asset would be overdrawn.
        """
        quantity = amount_of_size(size, instrument.size_decimals)
        quote = self.balance(instrument.quote_key)
        spent = notional if fee_in_base else notional + fee
        if quote.free < spent:
            raise LedgerError(
                f"bought {instrument.size_text(size)} {instrument.base} for {format_amount(spent)} {instrument.quote} "
                f"with {format_amount(quote.free)} free"
            )
        base = self.balance(instrument.base_key)
        position = self.position(instrument.id)
        base.free += quantity
        base.inventory -= quantity
        quote.free -= notional
        quote.cost += notional
        position.quantity += quantity
        position.cost += notional
        return self._pay_fee(instrument, fee, fee_in_base, price)

    def sell(
        self, instrument: Instrument, size: int, notional: int, fee: int, *, fee_in_base: bool, price: int
    ) -> tuple[int, int]:
        """Book a sell fill; return the realized profit before fees and the fee, both in the quote asset.

        Raises:
            LedgerError: when more is sold than is held free: spot never goes short.
        """
        quantity = amount_of_size(size, instrument.size_decimals)
        base = self.balance(instrument.base_key)
        position = self.position(instrument.id)
        needed = quantity + (fee if fee_in_base else 0)
        if needed > min(base.free, position.quantity):
            raise LedgerError(
                f"sold {instrument.size_text(size)} {instrument.base} with {format_amount(base.free)} free and "
                f"{format_amount(position.quantity)} held"
            )
        realized = self._dispose(instrument, quantity, notional)
        self.balance(instrument.quote_key).free += notional
        return realized, self._pay_fee(instrument, fee, fee_in_base, price)

    def _dispose(self, instrument: Instrument, quantity: int, proceeds: int) -> int:
        """Take `quantity` of base out at `proceeds`, which the caller books; return the realized profit."""
        base = self.balance(instrument.base_key)
        quote = self.balance(instrument.quote_key)
        position = self.position(instrument.id)
        share = cost_share(position.cost, quantity, position.quantity)
        realized = proceeds - share
        base.free -= quantity
        base.inventory += quantity
        quote.cost -= share
        quote.realized -= realized
        position.quantity -= quantity
        position.cost -= share
        position.realized += realized
        return realized

    def _pay_fee(self, instrument: Instrument, fee: int, fee_in_base: bool, price: int) -> int:
        quote = self.balance(instrument.quote_key)
        if fee_in_base and fee:
            worth = value_of(fee, price, instrument.price_decimals)
            self._dispose(instrument, fee, worth)
            fee = worth
        else:
            quote.free -= fee
        quote.fees += fee
        self.position(instrument.id).fees += fee
        return fee

    def assert_balanced(self) -> None:
        """Assert that every asset's accounts sum to zero, nothing is overdrawn and positions agree with balances."""
        for key, b in self.balances.items():
            total = b.free + b.locked + b.capital + b.inventory + b.cost + b.realized + b.fees
            if total or b.free < 0 or b.locked < 0:
                raise LedgerError(f"the books of {key} do not balance: {b}")
        cost = sum(p.cost for p in self.positions.values())
        if cost != sum(b.cost for b in self.balances.values()):
            raise LedgerError("the positions' costs and the ledger's cost accounts differ")

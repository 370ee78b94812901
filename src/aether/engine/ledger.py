"""The account's books: double entry, exact, balanced after every event, and never a fact refused.

Each asset at each venue has accounts whose sum is always zero; credits are negative:

* `free`, `locked`: what the venue holds for us, the latter reserved for open orders;
* `capital`: money and coins paid in (credit) and taken out;
* `inventory`: the counter-account of a base asset that was bought (credit);
* `cost`: in the quote asset, what the holdings cost (average cost);
* `realized`: profit (credit) or loss of closed trades, before fees;
* `fees`: fees paid, rebates are credits;
* `adjusted`: what operators booked: interest (credit), corrections;
* `rounding`: what venues rounded where our books are exact.

A position is the sum of its owners' holdings: each strategy's, each parent order's, the operators'. Each has its own
average cost. A sale takes from its owner's holding first, from the operators' and the deposits next, then from the
others', and what
nobody has makes the owner's negative: a venue's fact is booked whole, whatever it does to our books. `free` may be
below zero for the same reason. Who judges that is `breaks`.

A fee in the base asset is booked as a sale of that base at the fill's price whose proceeds pay the fee, a rebate as a
purchase. A fee in a third asset that the books hold as a position is a sale of it (US Reg. 1.1001-7(b)(1)(ii) sees it
so); in one that they do not, its balance pays it. Every posting first works out all it changes and then applies it.
"""

from typing import NamedTuple

import msgspec

from aether.domain.errors import LedgerError
from aether.domain.identifiers import DEPOSITS, OPERATOR, BalanceKey, InstrumentId, Owner
from aether.domain.instruments import Instrument
from aether.domain.scaled import format_amount, mul_div
from aether.kernel.positions import traded


class Balance(msgspec.Struct, omit_defaults=True):
    """The accounts of one asset at one venue, all ledger amounts; see the module's opening.

    Attributes:
        postings: amounts booked since the venue's own figure last agreed.
    """

    free: int = 0
    locked: int = 0
    capital: int = 0
    inventory: int = 0
    cost: int = 0
    realized: int = 0
    fees: int = 0
    adjusted: int = 0
    rounding: int = 0
    postings: int = 0

    @property
    def total(self) -> int:
        """What the venue holds for us."""
        return self.free + self.locked


class Holding(msgspec.Struct, omit_defaults=True):
    """What one owner holds of a base asset at average cost; ledger amounts of base and quote."""

    quantity: int = 0
    cost: int = 0


class Position(msgspec.Struct, omit_defaults=True):
    """Holdings of an instrument's base asset: the sum of its owners' holdings.

    Attributes:
        quantity: ledger amount of the base asset.
        cost: what it cost, ledger amount of the quote asset, before fees.
        realized: profit and loss of what was sold so far, before fees.
        fees: worth of the fees paid so far, in the quote asset, whatever asset they were charged in.
    """

    quantity: int = 0
    cost: int = 0
    realized: int = 0
    fees: int = 0
    holdings: dict[Owner, Holding] = msgspec.field(default_factory=dict)


class Charge(NamedTuple):
    """A fee as charged, and where it is booked.

    Attributes:
        amount: ledger amount of the asset charged, negative for a rebate.
        worth: the same in the traded instrument's quote asset.
        key: the balance that pays it.
        held_as: the instrument whose position pays it: the traded one for a fee in its base, another one for a third
            asset that the books hold; None when a plain balance pays.
    """

    amount: int
    worth: int
    key: BalanceKey
    held_as: Instrument | None = None


class _Draft:
    """A position's holdings while a posting is worked out; nothing is changed before `commit`."""

    def __init__(self, position: Position) -> None:
        self._position = position
        self.holdings = {owner: (holding.quantity, holding.cost) for owner, holding in position.holdings.items()}
        self.quantity = 0
        self.cost = 0
        self.realized = 0

    def change(self, owner: Owner, quantity: int, value: int) -> None:
        """Let one owner's holding change by `quantity` (sold when negative) for `value`."""
        held, cost = self.holdings.get(owner, (0, 0))
        held_after, cost_after, realized = traded(held, cost, quantity, value)
        self.holdings[owner] = (held_after, cost_after)
        self.quantity += quantity
        self.cost += cost_after - cost
        self.realized += realized

    def sell(self, owner: Owner, quantity: int, proceeds: int) -> None:
        """Take `quantity` from the owner's holding and, where it is not enough, from the others' as the module says."""
        left, left_value = quantity, proceeds
        for source in dict.fromkeys((owner, OPERATOR, DEPOSITS, *self.holdings)):
            part = min(max(0, self.holdings.get(source, (0, 0))[0]), left)
            if part:
                value = left_value if part == left else mul_div(left_value, part, left)
                self.change(source, -part, value)
                left, left_value = left - part, left_value - value
        if left:
            self.change(owner, -left, left_value)

    def commit(self) -> None:
        """Apply what was worked out."""
        position = self._position
        position.quantity += self.quantity
        position.cost += self.cost
        position.realized += self.realized
        position.holdings = {o: Holding(q, c) for o, (q, c) in self.holdings.items() if q or c}


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

    def holding(self, instrument: InstrumentId, owner: Owner) -> Holding:
        """Return what an owner holds of an instrument; a holding of nothing when it holds none."""
        position = self.positions.get(instrument)
        found = position.holdings.get(owner) if position else None
        return found if found is not None else Holding()

    def reserve(self, key: BalanceKey, amount: int) -> None:
        """Lock `amount` for an order. Raises LedgerError when less is free: the gate has looked before."""
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

    def book_buy(self, instrument: Instrument, owner: Owner, quantity: int, notional: int, charge: Charge) -> int:
        """Book a bought quantity (ledger amount of base) with its fee; return the profit that the fee realized."""
        draft = _Draft(self.position(instrument.id))
        draft.change(owner, quantity, notional)
        return self._book_trade(instrument, owner, draft, -notional, charge)

    def book_sale(self, instrument: Instrument, owner: Owner, quantity: int, notional: int, charge: Charge) -> int:
        """Book a sold quantity with its fee; return the realized profit before fees, in the quote asset."""
        draft = _Draft(self.position(instrument.id))
        draft.sell(owner, quantity, notional)
        return self._book_trade(instrument, owner, draft, notional, charge)

    def _book_trade(self, instrument: Instrument, owner: Owner, draft: _Draft, cash: int, charge: Charge) -> int:
        """Add the fee to a drafted trade and apply both; `cash` is what the trade itself brings in quote."""
        paid_by = charge.held_as
        if paid_by is not None and paid_by.id == instrument.id:
            _charge(draft, owner, charge)
        self._apply(instrument, draft, cash)
        realized = draft.realized
        if paid_by is None:
            payer = self.balance(charge.key)
            payer.free -= charge.amount
            payer.fees += charge.amount
            payer.postings += 1
        elif paid_by.id == instrument.id:
            self._count_fee(instrument, charge.worth)
        else:
            other = _Draft(self.position(paid_by.id))
            _charge(other, OPERATOR, charge)
            self._apply(paid_by, other, 0)
            # The proceeds of the coins pay the fee: they are income and cost of the same books at once.
            self._count_fee(paid_by, charge.worth)
        self.position(instrument.id).fees += charge.worth
        return realized

    def _apply(self, instrument: Instrument, draft: _Draft, cash: int) -> None:
        """Apply a drafted change: coins against inventory, its cost and profit against `cash` of the quote asset."""
        base, quote = self.balance(instrument.base_key), self.balance(instrument.quote_key)
        base.free += draft.quantity
        base.inventory -= draft.quantity
        base.postings += 1
        quote.free += cash
        quote.cost += draft.cost
        quote.realized -= draft.realized
        quote.postings += 1
        draft.commit()

    def _count_fee(self, instrument: Instrument, worth: int) -> None:
        self.balance(instrument.quote_key).fees += worth

    def move_cash(self, key: BalanceKey, amount: int, account: str) -> None:
        """Book an amount of an asset that is no position, in (positive) or out, against `capital`, `adjusted` or
        `rounding`."""
        balance = self.balance(key)
        balance.free += amount
        setattr(balance, account, getattr(balance, account) - amount)
        balance.postings += 1

    def move_coins(self, instrument: Instrument, owner: Owner, amount: int, value: int, account: str) -> None:
        """Book coins of a position in or out at a value, against an account of the quote asset as `move_cash` does."""
        draft = _Draft(self.position(instrument.id))
        if amount > 0:
            draft.change(owner, amount, value)
        else:
            draft.sell(owner, -amount, value)
        self._apply(instrument, draft, 0)
        quote = self.balance(instrument.quote_key)
        setattr(quote, account, getattr(quote, account) - (value if amount > 0 else -value))

    def hand_over(self, instrument: InstrumentId, giver: Owner, taker: Owner) -> None:
        """Let one owner have another's holding, at its cost."""
        position = self.position(instrument)
        given = position.holdings.pop(giver, None)
        if given is None:
            return
        had = position.holdings.setdefault(taker, Holding())
        had.quantity += given.quantity
        had.cost += given.cost
        if not had.quantity and not had.cost:
            del position.holdings[taker]

    def assert_balanced(self) -> None:
        """Assert that every asset's accounts sum to zero and that holdings, positions and balances agree."""
        cost = 0
        for key, b in self.balances.items():
            cost += b.cost
            paid = b.capital + b.inventory + b.cost + b.realized + b.fees + b.adjusted + b.rounding
            if b.free + b.locked + paid or b.locked < 0:
                raise LedgerError(f"the books of {key} do not balance: {b}")
        for instrument, p in self.positions.items():
            cost -= p.cost
            if len(p.holdings) == 1:
                (holding,) = p.holdings.values()
                agrees = holding.quantity == p.quantity and holding.cost == p.cost
            else:
                quantities, costs = [x.quantity for x in p.holdings.values()], [x.cost for x in p.holdings.values()]
                agrees = sum(quantities) == p.quantity and sum(costs) == p.cost
            if not agrees:
                raise LedgerError(f"the holdings of {instrument} do not add up to its position: {p}")
        if cost:
            raise LedgerError("the positions' costs and the ledger's cost accounts differ")


def _charge(draft: _Draft, owner: Owner, charge: Charge) -> None:
    """Let coins pay a fee, or come in as a rebate."""
    if charge.amount > 0:
        draft.sell(owner, charge.amount, max(0, charge.worth))
    elif charge.amount < 0:
        draft.change(owner, -charge.amount, max(0, -charge.worth))

"""An exchange that forgets nothing when its process is killed: each operation is appended to a file and done again, at
the time at which it was done, when the exchange starts.

A real venue has no other way of starting; drills kill this one too.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from aether.exchange.venue import Market, NewOrder, Order, OrderList, Refused, Rules, Venue


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was done: which method, when, with what."""

    what: str
    at_ns: int
    account: str = ""
    order: NewOrder | None = None
    orders: Sequence[NewOrder] = ()
    client_id: str = ""
    number: int = 0
    text: str = ""
    size: int = 0
    price: int = 0


class RememberingVenue(Venue):
    """A venue that writes down what is done to it.

    Args:
        file: read first, then appended to.
    """

    def __init__(self, name: str, markets: list[Market], rules: Rules, clock: Callable[[], int], file: Path) -> None:
        super().__init__(name, markets, rules, self._now)
        self._real_clock = clock
        self._at_ns = 0
        earlier = file.read_bytes().splitlines() if file.exists() else []
        for line in earlier:
            with suppress(msgspec.DecodeError):
                self._repeat(msgspec.json.decode(line, type=Operation))
        self._stream = file.open("ab", buffering=0)
        self.is_new = not earlier

    def place(self, account_name: str, request: NewOrder) -> Order:
        """Take an order and let it trade; see `Venue`."""
        with self._doing(what="place", account=account_name, order=request):
            return super().place(account_name, request)

    def cancel(self, account_name: str, order: Order | None, reason: str = "User requested") -> Order:
        """Cancel an open order; see `Venue`."""
        with self._doing(what="cancel", account=account_name, number=order.number if order else 0, text=reason):
            return super().cancel(account_name, order, reason)

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
        """Change an open order; see `Venue`."""
        with self._doing(
            what="amend",
            account=account_name,
            number=order.number if order else 0,
            size=size,
            price=price,
            client_id=client_id,
            order=request,
        ):
            return super().amend(account_name, order, size=size, price=price, client_id=client_id, request=request)

    def place_list(self, account_name: str, kind: str, requests: list[NewOrder], client_id: str = "") -> OrderList:
        """Take orders that depend on each other; see `Venue`."""
        with self._doing(what="list", account=account_name, text=kind, orders=requests, client_id=client_id):
            return super().place_list(account_name, kind, requests, client_id)

    def set_fee_coin(self, name: str, coin: str, price: int, share_ppm: int) -> None:
        """Let an account pay its fees in a coin; see `Venue`."""
        with self._doing(what="fee_coin", account=name, text=coin, price=price, size=share_ppm):
            super().set_fee_coin(name, coin, price, share_ppm)

    def deposit(self, name: str, asset: str, amount: int) -> None:
        """Credit an account; see `Venue`."""
        with self._doing(what="deposit", account=name, text=asset, size=amount):
            super().deposit(name, asset, amount)

    def tick(self) -> None:
        """Let what is due happen; see `Venue`. Each end that it brings is an operation of its own time."""
        now = self._now()
        is_due = any(
            0 < account.dead_man_ns <= now
            or any(0 < o.request.expire_ns <= now or self.is_due(o, now) for o in account.open.values())
            for account in self.accounts.values()
        )
        if is_due:
            with self._doing(what="tick"):
                super().tick()

    def _now(self) -> int:
        return self._at_ns or self._real_clock()

    @contextmanager
    def _doing(self, **fields: object) -> Iterator[None]:
        """Write an operation down, unless its time stands still already: it is part of another, or done again."""
        if self._at_ns:
            yield
            return
        self._at_ns = self._real_clock()
        operation = Operation(at_ns=self._at_ns, **fields)  # type: ignore[arg-type]
        try:
            yield
        finally:
            self._stream.write(msgspec.json.encode(operation) + b"\n")
            self._at_ns = 0

    def _repeat(self, done: Operation) -> None:
        self._at_ns = done.at_ns
        order = self.orders.get(done.number)
        try:
            with suppress(Refused):
                if done.what == "place" and done.order is not None:
                    super().place(done.account, done.order)
                elif done.what == "cancel":
                    super().cancel(done.account, order, done.text)
                elif done.what == "amend":
                    super().amend(
                        done.account,
                        order,
                        size=done.size,
                        price=done.price,
                        client_id=done.client_id,
                        request=done.order,
                    )
                elif done.what == "list":
                    super().place_list(done.account, done.text, list(done.orders), done.client_id)
                elif done.what == "fee_coin":
                    super().set_fee_coin(done.account, done.text, done.price, done.size)
                elif done.what == "deposit":
                    super().deposit(done.account, done.text, done.size)
                elif done.what == "tick":
                    super().tick()
        finally:
            self._at_ns = 0

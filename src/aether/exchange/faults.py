"""Faults on demand: what goes wrong between a client and an exchange, by rate (seeded) or for the next few times.

| fault | what happens |
| --- | --- |
| lose_request | the connection is closed before the request is looked at |
| slow_request | the request is looked at late |
| lose_response | the request is carried out, its answer is lost with the connection |
| slow_response | the request is carried out, its answer comes late |
| pending_order | Coinbase: the order is pending for a while, on no list of open ones |
| reject | the exchange refuses the order |
| rate_limit | HTTP 429 (Binance also 418 with `ban`) |
| disconnect | the socket is closed after the message |
| skip_message | a socket message is never sent (its sequence number is used up) |
| duplicate_message | a socket message is sent twice |
| reorder_message | a socket message is sent after the next one |
| wrong_checksum | a book update carries a wrong checksum |
"""

import random
from dataclasses import dataclass, field

FAULTS = (
    "lose_request",
    "slow_request",
    "lose_response",
    "slow_response",
    "pending_order",
    "reject",
    "rate_limit",
    "ban",
    "disconnect",
    "skip_message",
    "duplicate_message",
    "reorder_message",
    "wrong_checksum",
)


@dataclass
class Faults:
    """Which faults happen, and how often.

    Attributes:
        rates: by fault, the share of times that it happens.
        pending: by fault, how many of the next times it happens for certain.
        slow_s: how late a slow answer comes.
        skew_ms: how far the exchange's clock is ahead.
    """

    seed: int = 1
    rates: dict[str, float] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    slow_s: float = 1.0
    skew_ms: int = 0
    happened: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311  a drill, to be repeated exactly

    def happens(self, fault: str) -> bool:
        """Whether a fault happens now."""
        if self.pending.get(fault, 0) > 0:
            self.pending[fault] -= 1
        elif not (rate := self.rates.get(fault, 0.0)) or self._random.random() >= rate:
            return False
        self.happened[fault] = self.happened.get(fault, 0) + 1
        return True

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self.rates.clear()
        self.pending.clear()
        self.skew_ms = 0

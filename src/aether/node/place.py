"""Where an account is in the market."""

from aether.domain.events import MarketDelayed, MarketFollowed
from aether.store.market_log import GENESIS, Logged


class Place:
    """Where an account is in the market: a log, the position that it has taken of it, and the log's hash there.

    Attributes:
        log: its name; empty while the account follows none: before it trades, and in journals from before logs.
        through: events up to this position are taken together.
        taken: market events that stand in the account's own journal, of before it followed a log.
    """

    def __init__(self, log: str = "", pos: int = 0, hash_: bytes = GENESIS, taken: int = 0) -> None:
        self.log = log
        self.pos = pos
        self.hash = hash_
        self.through = 0
        self.taken = taken

    @property
    def market(self) -> int | None:
        """What a journal row says of it; None while the account follows no log."""
        return self.pos if self.log else None

    @property
    def log_hash(self) -> bytes | None:
        """The log's hash that a journal row is chained over."""
        return self.hash if self.log else None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is being taken together: only then can it be said in a position."""
        return self.pos >= self.through

    def pass_to(self, logged: Logged) -> None:
        """Go on to an event."""
        self.pos, self.hash = logged.pos, logged.hash

    def follow(self, event: MarketFollowed, hash_: bytes) -> None:
        """Follow a log from a position with a hash on."""
        self.log, self.pos, self.hash = event.log, event.after, hash_

    def delay(self, event: MarketDelayed) -> None:
        """Take what comes up to a position together."""
        self.through = max(self.through, event.through)

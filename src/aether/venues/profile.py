"""What a venue is like, as data: what the codecs, sessions and feeds ask instead of asking for the venue's name.

Each fact names the page of the venue's documentation, or the recording, that it is from. The local exchange has facts
of its own (`exchange/server.py` and its faces), so that a wrong belief here is seen there.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from aether.domain.instruments import FeeTier


class CancelScope(StrEnum):
    """What a venue wants named to cancel all orders."""

    ACCOUNT = "account"
    """Nothing."""
    SYMBOL = "symbol"
    """A pair."""
    ORDER = "order"
    """Each order, by the venue's own id; a single cancel wants that too."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue is like.

    Attributes:
        clock_step_s: how coarse the clock is that the venue tells.
        ordered_nonce: whether requests must arrive in the order of their nonces, so that one has to be answered before
            the next is sent.
        needs_token: whether the private socket is opened with a token from REST.
        tells_balances: whether a private socket tells balances as they change.
        tells_heartbeats: whether its sockets speak at least every few seconds, so that silence means a loss; where they
            do not, the WebSocket protocol's own pings tell.
        book_from_rest: whether the socket tells a book's changes only, to go on a snapshot from REST.
        cuts_book: whether a book holds the subscribed depth and no more: the checksum is over that.
        status_from_rest: whether what it allows as a whole, maintenance among it, has to be asked for.
        makers_side: whether the side that it tells of a public trade is the maker's, not that of who took.
        cancel_scope: what has to be named to cancel all orders.
        fates_at_once: of how many orders it tells at once how they stand (`Fates`); 1 where each is asked for alone.
        socket_actions: actions that the socket takes.
        longest_client_id: characters that a client order id may have beside a UUID; 0 where it has to be one.
        longest_deadline_ms: after how long at most it can be told to refuse what arrives late.
        fee_tiers: a new account's, where the venue's list of pairs does not tell them.
        kept_decimals: to how many decimals balances of an asset are kept, where they are fewer than the ledger's and
            the list of pairs does not tell.
        sources: by the name of a fact, where it is from.
    """

    clock_step_s: float
    ordered_nonce: bool
    needs_token: bool
    tells_balances: bool
    tells_heartbeats: bool
    book_from_rest: bool
    cuts_book: bool
    status_from_rest: bool
    makers_side: bool
    cancel_scope: CancelScope
    fates_at_once: int
    socket_actions: tuple[type, ...]
    longest_client_id: int
    longest_deadline_ms: int
    fee_tiers: tuple[FeeTier, ...]
    kept_decimals: Mapping[str, int]
    sources: Mapping[str, str]

"""A venue's socket as a state machine without the socket: bytes in, messages out; requests in, texts to send out.

Whatever arrives, `receive` returns: what cannot be read becomes an `Unrecognized`, which the feed counts and logs once
a kind. A loss on the connection becomes a `SequenceGap`, after which every book is fetched anew.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import msgspec

from aether.venues.messages import Message, Unrecognized
from aether.venues.wire import MAX_MESSAGE_BYTES, Listings, MalformedError, digest


class Channel(StrEnum):
    """What a socket can be subscribed to."""

    TRADES = "trades"
    QUOTES = "quotes"
    BOOK = "book"
    BARS = "bars"
    STATUS = "status"
    ORDERS = "orders"
    BALANCES = "balances"


PRIVATE_CHANNELS = frozenset({Channel.ORDERS, Channel.BALANCES})


class Stream(Protocol):
    """One connection's protocol state, for one thread."""

    listings: Listings
    tells_heartbeats: bool
    """Whether the venue speaks at least every few seconds, so that silence means a loss; where it does not, the
    WebSocket protocol's own pings tell."""

    def subscribe(self, channel: Channel, symbols: list[str], *, credential: str = "") -> list[str]:
        """Return the texts that subscribe to `channel` for our `symbols`.

        Args:
            credential: the token or signature that a private channel wants, from the venue's protocol.
        """
        ...

    def unsubscribe(self, channel: Channel, symbols: list[str]) -> list[str]:
        """Return the texts that end a subscription."""
        ...

    def ping(self) -> str | None:
        """Return the text that keeps the connection alive; None where the WebSocket protocol's own ping does."""
        ...

    def receive(self, payload: bytes) -> list[Message]:
        """Return what a message means; never raises."""
        ...


def guarded(decode: Callable[[bytes], list[Message]], payload: bytes) -> list[Message]:
    """Return what `decode` makes of a payload, an `Unrecognized` for everything that it refuses."""
    try:
        if len(payload) > MAX_MESSAGE_BYTES:
            raise MalformedError("size", f"{len(payload)} bytes, the most is {MAX_MESSAGE_BYTES}")
        return decode(payload)
    except MalformedError as error:
        return [Unrecognized(kind=error.kind, detail=error.detail[:200], digest=digest(payload))]
    except msgspec.ValidationError as error:
        return [Unrecognized(kind="fields", detail=str(error)[:200], digest=digest(payload))]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return [Unrecognized(kind="json", detail=str(error)[:200], digest=digest(payload))]


def unknown(payload: bytes, kind: str, detail: object) -> list[Message]:
    """Return a message of a type that the codec does not know."""
    return [Unrecognized(kind=kind, detail=str(detail)[:200], digest=digest(payload))]


def to_json(value: object) -> str:
    """Return compact JSON text."""
    return msgspec.json.encode(value).decode()

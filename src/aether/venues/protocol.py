"""What a venue's REST protocol is, without the socket: actions to signed requests, responses to results or errors.

The result of an action: `Markets` a list of Pair; `ServerTime` nanoseconds; `SystemStatus` a
VenueStatus; `Ticker` a Quote; `Depth` a BookSnapshot; `RecentTrades` a list of Trade; `Candles` of Bar; `Balances` of
Balance; `Fees` FeeRates; `Permissions` KeyPermissions; `StreamToken` text; `OpenOrders` and `ClosedOrders` a list of
OrderUpdate; `GetOrder` an OrderUpdate; `Fills` a list of Execution; `Submit`, `Amend` and `Cancel` the venue's order id
where told; `SubmitBatch` a list of Placed; `CancelAllOrders` and `DeadManSwitch` nothing.
"""

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

import msgspec

from aether.domain.errors import Failure, VenueError
from aether.domain.identifiers import ClientOrderId, VenueId
from aether.venues.actions import Action, Request
from aether.venues.profile import Profile
from aether.venues.rows import ROW_ERRORS
from aether.venues.stream import Channel, Stream
from aether.venues.wire import Listings, MalformedError, parse, plain_text


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """A key of an account at a venue. It never shows itself in logs or messages.

    Attributes:
        key: its public name.
        secret: base64 for Kraken; HMAC text or a PEM private key for Binance; a PEM or base64 private key for Coinbase.
    """

    key: str
    secret: str

    def __repr__(self) -> str:
        return f"Credentials(key={self.key[:4]}…, secret=…)"


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP response; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Urls(msgspec.Struct, frozen=True, kw_only=True):
    """Where a venue listens."""

    rest: str
    public: str
    private: str


class VenueProtocol(Protocol):
    """One venue's REST protocol."""

    venue: VenueId
    urls: Urls
    listings: Listings
    profile: Profile

    def native(self, symbol: str) -> str:
        """Return the name that the venue's socket has for one of our symbols."""
        ...

    def requests(self, action: Action) -> list[Request]:
        """Return the requests that carry out `action`; of several, each result is added to the one before.

        Raises:
            UnsupportedError: when the venue does not offer it.
        """
        ...

    def sign(self, request: Request, credentials: Credentials, *, nonce: int, now_ms: int) -> Request:
        """Return the request with its proof of the key."""
        ...

    def decode(self, action: Action, response: Response) -> Any:
        """Return the action's result.

        Raises:
            VenueError: when the venue refused it.
            MalformedError: when the response is not what is documented.
        """
        ...

    def next_page(self, action: Action, request: Request, response: Response) -> Request | None:
        """Return what asks for the rest of a list of which a request brought a part; None when it brought the end."""
        ...

    def stream(self, *, depth: int, bar_s: int) -> Stream:
        """Return the state machine of a new connection."""
        ...

    def stream_credential(self, channel: Channel, credentials: Credentials, token: str, *, now_ms: int) -> str:
        """Return what a private subscription has to present."""
        ...

    def socket_request(
        self, action: Action, request_id: int, credentials: Credentials, token: str, *, now_ms: int
    ) -> str:
        """Return the socket text that asks for a trading action. Raises UnsupportedError where only REST can."""
        ...

    def wire_id(self, client_id: ClientOrderId) -> ClientOrderId:
        """Return a client order id in the form that the venue takes, always the same for the same id."""
        ...


REMEDIES = {
    Failure.RETRYABLE: "Send it again.",
    Failure.REJECTED: "Correct the order; sending it again will not help.",
    Failure.NOT_FOUND: "Check the id; the order may have ended.",
    Failure.AUTH: "Check the key, its permissions and this machine's clock.",
    Failure.CLOCK: "Set this machine's clock; the venue's is measured anew.",
    Failure.RATE_LIMIT: "Wait, then send fewer requests.",
    Failure.LOCKOUT: "Wait some minutes; look at the venue whether the key is the right one.",
    Failure.UNKNOWN_OUTCOME: "Ask for the order's state before anything else.",
    Failure.VENUE_DOWN: "Wait until the venue is back.",
}


def refuse(venue: VenueId, failure: Failure, text: str, retry_after_s: float = 0.0) -> VenueError:
    """Return the error of a failed request."""
    return VenueError(
        f"{venue.capitalize()}: {plain_text(text)}",
        remedy=REMEDIES[failure],
        failure=failure,
        retry_after_s=retry_after_s,
    )


def retry_after(response: Response) -> float:
    """Return the seconds of a `Retry-After` header, 0 without one."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdigit() else 0.0


def http_failure(status: int) -> Failure | None:
    """Return the class of a response that carries no reason of the venue's own; None for success."""
    if status in (401, 403):
        return Failure.AUTH
    if status in (418, 429):
        return Failure.RATE_LIMIT
    if status == 503:
        return Failure.VENUE_DOWN
    if status >= 500:
        return Failure.UNKNOWN_OUTCOME
    if status == 404:
        return Failure.NOT_FOUND
    return Failure.REJECTED if status >= 400 else None


def field(record: Any, name: str) -> Any:
    """Return a field of a parsed response. Raises MalformedError when it is missing."""
    if not isinstance(record, dict) or name not in record:
        raise MalformedError("fields", f"no {name!r} in {str(record)[:80]}")
    return record[name]


def rows(value: Any) -> list[Any]:
    """Return a list. Raises MalformedError for anything else."""
    if not isinstance(value, list):
        raise MalformedError("fields", f"no list: {str(value)[:80]}")
    return value


def with_query(path: str, **changes: object) -> str:
    """Return a path with parameters of its query set, or left out where they are None."""
    head, _, query = path.partition("?")
    kept = {**dict(parse_qsl(query)), **changes}
    return f"{head}?{urlencode({k: v for k, v in kept.items() if v is not None})}"


def hashed_id(client_id: ClientOrderId) -> ClientOrderId:
    """Return a UUID made of a client order id, for venues whose ids are short."""
    return ClientOrderId(str(uuid.UUID(bytes=hashlib.sha256(client_id.encode()).digest()[:16], version=4)))


def short_id(client_id: ClientOrderId, most: int) -> ClientOrderId:
    """Return the id itself up to `most` ASCII characters, a UUID made of it beyond."""
    return client_id if len(client_id) <= most and client_id.isascii() else hashed_id(client_id)


def parsed_body(venue: VenueId, response: Response, failure: Failure | None, *, quoted: bool = False) -> Any:
    """Return the JSON of a response.

    Args:
        failure: what the status alone means.
        quoted: whether a body that is no JSON holds the venue's own words.

    Raises:
        VenueError: when it is no JSON and the status says failure.
        MalformedError: when it is no JSON and the status says success.
    """
    try:
        return parse(response.body)
    except MalformedError:
        if failure is None:
            raise
        text = f" {response.body[:80].decode('utf-8', 'replace').strip()}" if quoted else ""
        raise refuse(venue, failure, f"HTTP {response.status}{text}", retry_after(response)) from None


def decoded(protocol: VenueProtocol, action: Action, response: Response) -> Any:
    """Return the action's result; whatever is wrong with the response is a MalformedError.

    Raises:
        VenueError: when the venue refused the action.
        MalformedError: when the response is not what is documented.
    """
    try:
        return protocol.decode(action, response)
    except ROW_ERRORS as error:
        if isinstance(error, MalformedError):
            raise
        raise MalformedError("fields", f"{type(error).__name__}: {str(error)[:120]}") from error

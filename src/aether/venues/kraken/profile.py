"""What Kraken is like. Sources are pages of the Kraken API Center, as published in 2026."""

from aether.venues.actions import Amend, Cancel, CancelAllOrders, DeadManSwitch, Submit, SubmitBatch
from aether.venues.profile import CancelScope, Profile

PROFILE = Profile(
    clock_step_s=1.0,
    ordered_nonce=True,
    needs_token=True,
    tells_balances=True,
    tells_heartbeats=True,
    book_from_rest=False,
    cuts_book=True,
    status_from_rest=False,
    makers_side=False,
    cancel_scope=CancelScope.ACCOUNT,
    fates_at_once=50,
    socket_actions=(Submit, SubmitBatch, Amend, Cancel, CancelAllOrders, DeadManSwitch),
    longest_client_id=18,
    longest_deadline_ms=60_000,
    fee_tiers=(),
    kept_decimals={"AUD": 4, "CAD": 4, "CHF": 4, "EUR": 4, "GBP": 4, "JPY": 2, "USD": 4},
    sources={
        "clock_step_s": "Get Server Time: `unixtime` is in seconds",
        "ordered_nonce": "Spot REST Authentication: the nonce has to grow",
        "needs_token": "Get WebSockets Token",
        "tells_balances": "WebSocket v2, Balances",
        "tells_heartbeats": "WebSocket v2, Heartbeat: about once a second when nothing else is told",
        "book_from_rest": "WebSocket v2, Book: a snapshot comes first",
        "cuts_book": "Book checksum (WebSocket v2): levels beyond the subscribed depth are dropped",
        "status_from_rest": "WebSocket v2, Status: told on every connection and when it changes",
        "makers_side": "WebSocket v2, Trade: the side of the taker",
        "cancel_scope": "Cancel All Orders",
        "fates_at_once": "Query Orders Info: at most 50 ids",
        "socket_actions": "WebSocket v2: Add Order, Batch Add, Amend, Cancel, Cancel All, Cancel All After",
        "longest_client_id": "Add Order, `cl_ord_id`: a UUID, or up to 18 characters",
        "longest_deadline_ms": "Add Order, `deadline`: up to 60 s ahead",
        "fee_tiers": "Get Tradable Asset Pairs tells them pair by pair",
        "kept_decimals": "Get Asset Info: `decimals`",
    },
)

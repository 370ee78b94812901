"""What Coinbase is like. Sources are pages of the Coinbase Developer Documentation, as published in 2026."""

from aether.domain.instruments import FeeTier
from aether.venues.profile import CancelScope, Profile

PROFILE = Profile(
    clock_step_s=0.0,
    ordered_nonce=False,
    needs_token=False,
    tells_balances=False,
    tells_heartbeats=True,
    book_from_rest=False,
    cuts_book=False,
    status_from_rest=False,
    makers_side=True,
    cancel_scope=CancelScope.ORDER,
    fates_at_once=1,
    socket_actions=(),
    longest_client_id=0,
    longest_deadline_ms=120_000,
    fee_tiers=(FeeTier(volume=0, maker_ppm=6000, taker_ppm=12_000),),
    kept_decimals={},
    sources={
        "clock_step_s": "Get Server Time: milliseconds",
        "ordered_nonce": "API Key Authentication: a token a request, no order",
        "needs_token": "WebSocket Authentication: each subscription carries a token made from the key",
        "tells_balances": "WebSocket Channels, User: orders alone",
        "tells_heartbeats": "WebSocket Channels, Heartbeats: once a second",
        "book_from_rest": "WebSocket Channels, Level2: a snapshot comes first",
        "cuts_book": "as above: every level that changed",
        "status_from_rest": "List Public Products: each product has flags of its own",
        "makers_side": "Market Trades: the maker's side; captures print SELL at the best ask",
        "cancel_scope": "Cancel Orders: by the venue's own ids",
        "fates_at_once": "Get Order: one",
        "socket_actions": "the socket takes subscriptions only",
        "longest_client_id": "Create Order, `client_order_id`: a UUID is recommended",
        "longest_deadline_ms": "API Key Authentication: a token lives two minutes; there is no field for a deadline",
        "fee_tiers": "the fee schedule's first row; an account's own rates come from Transaction Summary",
        "kept_decimals": "none is documented: more than the ledger's",
    },
)

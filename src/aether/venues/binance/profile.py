"""What Binance is like. Sources are files of binance-spot-api-docs, as published in 2026."""

from aether.domain.instruments import FeeTier
from aether.venues.actions import Cancel, GetOrder, Submit
from aether.venues.profile import CancelScope, Profile

PROFILE = Profile(
    clock_step_s=0.0,
    ordered_nonce=False,
    needs_token=False,
    tells_balances=True,
    tells_heartbeats=False,
    book_from_rest=True,
    cuts_book=False,
    status_from_rest=True,
    makers_side=False,
    cancel_scope=CancelScope.SYMBOL,
    fates_at_once=1,
    socket_actions=(Submit, Cancel, GetOrder),
    longest_client_id=36,
    longest_deadline_ms=60_000,
    fee_tiers=(FeeTier(volume=0, maker_ppm=1000, taker_ppm=1000),),
    kept_decimals={},
    sources={
        "clock_step_s": "rest-api.md, Check server time: milliseconds",
        "ordered_nonce": "rest-api.md, SIGNED endpoint security: a time window, no order",
        "needs_token": "user-data-stream.md: the subscription is a signed request",
        "tells_balances": "user-data-stream.md, outboundAccountPosition",
        "tells_heartbeats": "web-socket-streams.md: ping frames of the WebSocket protocol every 20 s, nothing else",
        "book_from_rest": "web-socket-streams.md, How to manage a local order book correctly",
        "cuts_book": "as above: every level that changed",
        "status_from_rest": "Wallet, System Status: `/sapi/v1/system/status`; no stream tells it",
        "makers_side": "web-socket-streams.md, Trade streams: `m` says whether the buyer is the maker",
        "cancel_scope": "rest-api.md, Cancel all open orders on a symbol",
        "fates_at_once": "rest-api.md, Query order: one",
        "socket_actions": "web-socket-api.md: order.place, order.cancel, order.status",
        "longest_client_id": "rest-api.md, New order; enums.md: `^[a-zA-Z0-9-_]{1,36}$`",
        "longest_deadline_ms": "rest-api.md, `recvWindow`: at most 60,000",
        "fee_tiers": "the fee schedule's first row; an account's own rates come from `account/commission`",
        "kept_decimals": "exchangeInfo tells `baseAssetPrecision` and `quoteAssetPrecision` pair by pair",
    },
)

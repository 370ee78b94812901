"""The deterministic core: events in, commands out.

`Engine.apply(event)` in `core` is the only door; `step` takes it through an account's venue and journal. Back-test,
paper and live run this same code; it reads no clock, no network, no disk and no random source, so a recorded journal
replays to the same state, byte for byte.

Rooms, by direction; each may know those before it:

* data and tables: `state`, `orders` (life cycle of an order), `stops` (what stops an account), `exits` (plans),
  `changes` (what a step gives), `strategy` (the port that strategies fill);
* rules with words: `ledger` (money), `valuation` (worth and marks), `risk` (the gate), `routing`, `door` (what cannot
  be), `market` (writes the markets);
* `desk`, the only writer of orders and ledger: it is asked, and tells in facts what came of it;
* rooms that watch and ask: `breaks`, `breakers`, `safety`, `protection`, `resting`, `review`, `intents`, `parents`;
* `core`, one match and the rooms in their order; `step`, one step through a venue.
"""

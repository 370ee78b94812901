"""The deterministic core: events in, commands out.

`Engine.apply(event)` in `core.py` is the only door. Back-test, paper and live run this same code; it reads no clock, no
network, no disk and no random source, so a recorded journal replays to the same state, byte for byte.

Rooms: `orders` (life cycle), `ledger` (money), `risk` (the gate), `sizing`, `exits`, `strategy` (the port that
strategies fill), `state` (everything an account is), `core` (the door).
"""

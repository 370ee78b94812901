"""A page's memory of what the web socket tells it, for tests."""

import json
import time
from typing import Any

from websockets.sync.client import ClientConnection


def patched(state: Any, patch: Any) -> Any:
    """Return a state with a merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    base = dict(state) if isinstance(state, dict) else {}
    for key, value in patch.items():
        if value is None:
            base.pop(key, None)
        else:
            base[key] = patched(base.get(key), value)
    return base


class Follower:
    """A page's memory of its topics; every gap fails."""

    def __init__(self, page: ClientConnection) -> None:
        self.page = page
        self.states: dict[str, Any] = {}
        self.seqs: dict[str, int] = {}
        self.beats: list[int] = []
        self.ages: dict[str, int] = {}

    def take(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.page.recv(timeout=20))
        topic, seq = message["topic"], message["seq"]
        if message["kind"] == "snapshot":
            assert seq == 1
            self.states[topic] = message["data"]
        else:
            assert seq == self.seqs.get(topic, 0) + 1, "nothing is left out"
        if message["kind"] == "delta":
            self.states[topic] = patched(self.states[topic], message["data"])
        if message["kind"] == "beat":
            self.beats.append(message["ts_ns"])
            self.ages = message["data"]["ages_ms"]
        self.seqs[topic] = seq
        return message

    def until(self, done: Any) -> None:
        deadline = time.monotonic() + 60
        while not done():
            assert time.monotonic() < deadline
            self.take()

"""What the processes of a platform say of themselves and to each other: names of topics and of questions."""

import msgspec

OFFER = "node.offer"
"""What the market offers (`aether.domain.offers.MarketOffer`), once the node is built."""
HEALTH = "node.health"
"""`checks`: of each thing that it depends on (`Readiness`); every `HEALTH_EVERY_S`."""
HEALTH_EVERY_S = 1.0
SILENT_AFTER_S = 3.5
"""A node whose health is older does not answer."""

PULL = "pull"
"""Stop an account (`account`, and the pull); the answer names those that were stopped."""
STOP_VENUE = "stop venue"
"""Stop orders of `account`, or of all, at the venue of `event`, and have it journaled where `journal` says so; the
answer names the accounts that were stopped there."""
UNCONFIRMED = "unconfirmed"
"""What a stop of `account` still waits for, in words."""
METRICS = "metrics"
"""The node's metrics in the Prometheus text format."""
PREVIEW = "preview"
"""What `events` would lead to in `account` (`aether.engine.preview`)."""
QUESTIONS = (PULL, STOP_VENUE, UNCONFIRMED, METRICS, PREVIEW)
INTERNAL = "node."
"""How topics begin that are no page's."""


class Readiness(msgspec.Struct, frozen=True, array_like=True):
    """One thing that a process depends on, and how it is.

    Attributes:
        is_needed: whether the process can do nothing without it; one venue of several is not.
    """

    name: str
    ok: bool
    detail: str
    is_needed: bool = True


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the platform.

    Attributes:
        state: `starting`, `up`, or `down` until it is started again.
        restarts: how often it was started again since the platform began.
        since_ns: when it came into this state.
    """

    name: str
    pid: int
    state: str
    restarts: int
    since_ns: int

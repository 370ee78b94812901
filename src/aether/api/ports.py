"""What the API needs from the process that it runs in, and from the node, which may be another one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from aether.bus.local import LocalBus
from aether.bus.topics import OFFER, ProcessState, Readiness
from aether.control.plane import ControlPlane
from aether.domain.errors import NoAnswerError
from aether.domain.identifiers import AccountId, FeedId
from aether.domain.offers import MarketOffer
from aether.engine.strategy import Catalogue
from aether.node.pulls import Pull
from aether.store.database import Database

if TYPE_CHECKING:
    from aether.control.oidc import OpenId


class Health(Protocol):
    """Says how the process is."""

    def readiness(self) -> list[Readiness]:
        """Return each dependency with its state."""
        ...


class Stops(Protocol):
    """Stops accounts at their venues at once, whatever else works."""

    async def pull(self, account: str, pull: Pull) -> list[str]:
        """Stop an account, or all with `*`; return those that are known to be stopped.

        Raises:
            NoAnswerError: when nothing took it.
        """
        ...

    async def unconfirmed(self, account: str) -> list[str]:
        """Return what a stop still waits for, in words; nothing when every venue's list was seen to be empty."""
        ...


class Past(Protocol):
    """Replays accounts."""

    async def __call__(self, who: str, account: AccountId, at_ns: int) -> dict[str, Any]:
        """Return an account as the screen shows it, as it was at `at_ns`.

        Args:
            who: asks; each is served once at a time.

        Raises:
            InvalidValueError: when it had not been opened by then.
            NoAnswerError: when it takes too long.
        """
        ...


@dataclass(frozen=True)
class Context:
    """What the routes work on.

    Attributes:
        public_url: how browsers reach the platform.
        stop_url: how browsers reach the process of stops; empty where there is none.
        stop_command: what stops everything on the platform's machine, without this process; a reason follows.
        is_lane: this is the process of stops, whose roster says who asks while the database may be well.
        trusted_proxies: whose X-Forwarded-For is believed.
        oidc: None where no OpenID provider is set up.
    """

    database: Database
    bus: LocalBus
    catalogue: Catalogue
    health: Health
    ui: Path
    control: ControlPlane
    stops: Stops
    past: Past
    processes: Callable[[], list[ProcessState]] = list
    venues: tuple[str, ...] = ()
    public_url: str = ""
    stop_url: str = ""
    stop_command: str = ""
    is_lane: bool = False
    trusted_proxies: tuple[str, ...] = ()
    is_production: bool = False
    oidc: "OpenId | None" = None

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the platform over HTTPS."""
        return self.public_url.startswith("https://")

    @property
    def feed(self) -> FeedId | None:
        """The market that the node runs; None while it has not said."""
        told = self.bus.latest(OFFER).get(OFFER)
        return None if told is None else FeedId(told["feed"])

    def offer(self) -> MarketOffer:
        """Return what the node's market offers. Raises NoAnswerError while it has not said."""
        told = self.bus.latest(OFFER).get(OFFER)
        if told is None:
            raise NoAnswerError(
                "The trading process has not said yet which market it runs.", remedy="Try again in a few seconds."
            )
        return msgspec.convert(told, MarketOffer)

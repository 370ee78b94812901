"""What the API needs from the process that it runs in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aether.bus.local import LocalBus
from aether.control.oidc import OpenId
from aether.control.plane import ControlPlane
from aether.domain.accounts import AccountConfig, AccountPlan
from aether.domain.identifiers import AccountId, FeedId, InstrumentId
from aether.domain.instruments import Instrument
from aether.engine.strategy import Catalogue
from aether.store.database import Database


@dataclass(frozen=True)
class Readiness:
    """One thing that the process depends on, and how it is."""

    name: str
    ok: bool
    detail: str


class Health(Protocol):
    """Says how the process is."""

    def readiness(self) -> list[Readiness]:
        """Return each dependency with its state."""
        ...


class MarketPlace(Protocol):
    """What the running market offers to new accounts."""

    def instruments(self) -> Sequence[Instrument]:
        """Return every instrument that can be traded on it now."""
        ...

    def plan(self, config: AccountConfig, wanted: Sequence[InstrumentId], cash: int) -> AccountPlan:
        """Return how an account would be opened.

        Raises:
            UnknownNameError: when the market has no such instrument.
            InvalidValueError: when the account cannot be on it.
        """
        ...


class Stops(Protocol):
    """Stops accounts at their venues at once, whatever else works."""

    def pull(self, account: str, reason: str, actor: str, *, flatten: bool) -> list[AccountId]:
        """Stop an account, or all with `*`; return those that were stopped."""
        ...

    def unconfirmed(self, account: str) -> list[str]:
        """Return what a stop still waits for, in words; nothing when every venue's list was seen to be empty."""
        ...


@dataclass(frozen=True)
class Context:
    """What the routes work on.

    Attributes:
        public_url: how browsers reach the platform.
        trusted_proxies: whose X-Forwarded-For is believed.
        oidc: None where no OpenID provider is set up.
    """

    database: Database
    bus: LocalBus
    catalogue: Catalogue
    health: Health
    feed: FeedId
    market_name: str
    ui: Path
    control: ControlPlane
    place: MarketPlace
    stops: Stops
    venues: tuple[str, ...] = ()
    public_url: str = ""
    trusted_proxies: tuple[str, ...] = ()
    is_production: bool = False
    oidc: OpenId | None = None

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the platform over HTTPS."""
        return self.public_url.startswith("https://")

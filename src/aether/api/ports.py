"""What the API needs from the process that it runs in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aether.bus.local import LocalBus
from aether.domain.identifiers import FeedId
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

    async def readiness(self) -> list[Readiness]:
        """Return each dependency with its state."""
        ...


@dataclass(frozen=True)
class Context:
    """What the routes work on."""

    database: Database
    bus: LocalBus
    catalogue: Catalogue
    health: Health
    feed: FeedId
    market_name: str
    ui: Path

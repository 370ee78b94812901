"""Which market to run, as people choose it."""

import msgspec

from aether.venues.registry import PROTOCOLS

EXCHANGE_MARKET = "exchange"
"""The name of the local exchange as a market: all three faces at once."""
REPLAY = "replay:"


class MarketChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Which market to run, as people choose it.

    Attributes:
        name: `synthetic`, `exchange`, the name of a venue, or `replay:` and a recording.
        options: what the recording does not say of itself (`aether.market.options.ReadOptions`).
        speed: of a recording, times real time; None for as fast as possible.
        base_url, ws_url: as `Market`'s.
    """

    name: str = "synthetic"
    options: tuple[str | int | None, ...] = ()
    speed: float | None = 1.0
    base_url: str = ""
    ws_url: str = ""

    @property
    def recording(self) -> str:
        """The recording's name; empty for the others."""
        return self.name.removeprefix(REPLAY) if self.name.startswith(REPLAY) else ""

    @property
    def kind(self) -> str:
        """The market as production's checks know it."""
        return "replay" if self.recording else self.name

    @property
    def needs_exchange(self) -> bool:
        """Whether a local exchange has to be started for it."""
        return self.name == EXCHANGE_MARKET and not self.base_url

    @property
    def addresses(self) -> dict[str, tuple[str, str]]:
        """Addresses of its venues, where they are not their own."""
        return {self.name: (self.base_url, self.ws_url)} if self.name in PROTOCOLS and self.base_url else {}

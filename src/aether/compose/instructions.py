"""What the platform and a process that it starts say to each other."""

import msgspec

from aether.compose.choice import MarketChoice
from aether.config import Settings

EXCHANGE, NODE, API, STOPS = "exchange", "node", "api", "stops"
"""The processes of a platform."""


class Instructions(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is told when it is started.

    Attributes:
        is_first: the platform begins; it is not a process that is started again.
        listener: descriptor of the socket that strangers reach, where it has one.
    """

    settings: Settings
    choice: MarketChoice
    seed: int
    exit_when_done: bool
    is_first: bool
    listener: int
    url: str
    stop_url: str
    link_secret: str


class Up(msgspec.Struct, frozen=True, kw_only=True):
    """What a process says once it is up.

    Attributes:
        told: the node's market, the API's link, or the address of the exchange's admin API.
        is_settled: its work has begun: a node's accounts are recovered.
    """

    told: str
    is_settled: bool

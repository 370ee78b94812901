"""The control plane from settings, with the check of keys at their venues."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from aether.clock import wall_ns
from aether.config import Settings
from aether.control.access import Allowlists, normal_email
from aether.control.factors import Site
from aether.control.plane import ControlPlane, build_control
from aether.control.sealing import Sealer
from aether.control.sessions import SessionRules
from aether.domain.errors import (
    InvalidValueError,
    WithdrawingKeyError,
)
from aether.store.database import Database
from aether.strategies import catalogue
from aether.venues.client import VenueClient, with_urls
from aether.venues.limits import NoLimits
from aether.venues.protocol import Credentials
from aether.venues.registry import PROTOCOLS, protocol_of

if TYPE_CHECKING:
    from aether.control.oidc import OpenId


Addresses = Mapping[str, tuple[str, str]]
"""REST and socket address by venue, where they are not the venue's own."""


def allowlists_of(settings: Settings) -> Allowlists:
    """Return who may become what. Raises InvalidValueError when an address is none."""
    return Allowlists(
        admins=frozenset(normal_email(a) for a in settings.admins),
        directors=frozenset(normal_email(d) for d in settings.directors),
        strict=settings.is_production,
    )


def site_of(public_url: str) -> Site:
    """Return where passkeys belong to."""
    parts = urlsplit(public_url)
    return Site(parts.hostname or "localhost", (f"{parts.scheme}://{parts.netloc}",))


def addresses_of(settings: Settings) -> dict[str, tuple[str, str]]:
    """Return the addresses of venues in the settings. Raises InvalidValueError when one cannot be read."""
    found = {}
    for text in settings.venue_urls:
        venue, sign, urls = text.partition("=")
        rest, _, socket = urls.strip().partition(" ")
        if not sign or venue not in PROTOCOLS or not rest:
            raise InvalidValueError(
                f"venue_urls has {text!r}.", remedy="Write venue=rest-url socket-url, like kraken=http://… ws://…."
            )
        found[venue] = (rest, socket.strip())
    return found


class VenueKeyCheck:
    """Tries keys at their venues (`aether.control.secrets.KeyCheck`)."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses

    async def __call__(self, venue: str, credentials: Credentials) -> dict[str, Any]:
        """Return what the key may do; raises when it may withdraw, may not trade, or is not valid."""
        async with aiohttp.ClientSession(trust_env=True) as http:
            protocol = with_urls(protocol_of(venue), *self.addresses.get(venue, ("", "")))
            client = VenueClient(protocol, http, credentials=credentials, limits=NoLimits())
            await client.measure_clock()
            found = await client.check_key()
            if found.can_withdraw is None:
                raise WithdrawingKeyError(
                    f"{venue.capitalize()} does not tell whether this key may withdraw.",
                    remedy="Use a venue that tells: a key that might withdraw is not stored.",
                )
        told: dict[str, Any] = msgspec.to_builtins(found)
        return told


def openid(settings: Settings, public_url: str) -> "OpenId | None":
    """Return the OpenID provider of the settings, None when there is none."""
    if not settings.oidc_issuer:
        return None
    from aether.control.oidc import OpenId  # noqa: PLC0415  loaded where it is used: each process starts sooner

    return OpenId(
        settings.oidc_issuer,
        settings.oidc_client_id,
        settings.oidc_client_secret,
        f"{public_url}/api/v1/session/oidc/callback",
    )


async def control_plane(
    settings: Settings, database: Database, sealer: Sealer, public_url: str, addresses: Addresses
) -> ControlPlane:
    """Return the control plane. Raises KeyServiceError, InvalidValueError."""
    return await build_control(
        database,
        sealer,
        site_of(public_url),
        allowlists_of(settings),
        SessionRules(settings.session_idle_s, settings.session_max_s),
        VenueKeyCheck(addresses),
        tuple(PROTOCOLS),
        catalogue(),
        wall_ns,
        two_people=settings.two_people or settings.is_production,
        archive=settings.market_archive,
    )

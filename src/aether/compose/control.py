"""The control plane from settings: the key-encryption key, the keys' check at their venues, the guards' facts."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from aether.clock import wall_ns
from aether.compose.directory import DataDirectory
from aether.compose.storage import open_storage
from aether.config import Settings
from aether.control.access import Allowlists
from aether.control.factors import Site
from aether.control.guards import Facts, Finding, database_power, find_all, modes_of
from aether.control.people import normal_email
from aether.control.plane import ControlPlane, build_control
from aether.control.sealing import KeyEncryption, KeyFile, Sealer
from aether.control.sessions import SessionRules
from aether.domain.errors import (
    AetherError,
    DatabaseUnavailableError,
    InvalidValueError,
    KeyServiceError,
    SchemaVersionError,
    WithdrawingKeyError,
)
from aether.store import queries
from aether.store.database import Database
from aether.venues.client import VenueClient, with_urls
from aether.venues.limits import NoLimits
from aether.venues.protocol import Credentials
from aether.venues.registry import PROTOCOLS, protocol_of

if TYPE_CHECKING:
    from aether.control.oidc import OpenId

KEY_FILE = "kek.json"
CHECKPOINTS = "checkpoints"

Addresses = Mapping[str, tuple[str, str]]
"""REST and socket address by venue, where they are not the venue's own."""


def key_file_of(settings: Settings) -> Path:
    """Return where the key-encryption key of one machine lies."""
    return Path(settings.key_file) if settings.key_file else settings.data_dir / KEY_FILE


def key_encryption(settings: Settings) -> KeyEncryption:
    """Return what holds the key-encryption key.

    Raises:
        KeyServiceError: when the key file cannot be used.
    """
    if not settings.bao_url:
        return KeyFile(key_file_of(settings))
    from aether.control.bao import BaoLogin, BaoTransit  # noqa: PLC0415  loaded where it is used: each process starts sooner

    return BaoTransit(
        BaoLogin(
            url=settings.bao_url,
            auth=settings.bao_auth,
            role=settings.bao_role,
            secret_id=settings.bao_secret_id,
            mount=settings.bao_mount,
            key=settings.bao_key,
            ca=settings.bao_ca,
        )
    )


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
        wall_ns,
        two_people=settings.two_people or settings.is_production,
    )


async def guard_facts(settings: Settings, database: Database | None, market: str, modes: Mapping[str, str]) -> Facts:
    """Return what the guards look at."""
    secrets = {}
    if settings.database_url:
        secrets["database_url's password"] = urlsplit(settings.database_url).password or ""
    if settings.bao_url and settings.bao_auth == "approle":
        secrets["bao_secret_id"] = settings.bao_secret_id
    if settings.oidc_issuer:
        secrets["oidc_client_secret"] = settings.oidc_client_secret
    directory = DataDirectory(settings.data_dir)
    return Facts(
        debug=settings.log_level == "debug",
        public_url=settings.public_url,
        stop_url=settings.stop_url,
        trusted_proxies=settings.trusted_proxies,
        admins=settings.admins,
        directors=settings.directors,
        secrets=secrets,
        key_file=None if settings.bao_url else key_file_of(settings),
        private_files=(directory.running, directory.path / "aether.toml"),
        bao_url=settings.bao_url,
        database=await database_power(database) if database else Facts().database,
        database_urls=tuple(u for u in (settings.database_url, settings.database_admin_url) if u),
        market=market,
        modes=dict(modes),
        venue_urls=settings.venue_urls,
    )


async def production_findings(settings: Settings, market: str) -> list[Finding]:
    """Return what production's checks find, as far as they can look: without a database when it is away.

    Raises:
        AetherError: when the settings themselves cannot be read.
    """
    problems: dict[str, AetherError] = {}
    found = find_all(await guard_facts(settings, None, market, {}))
    if settings.database_url:
        try:
            async with open_storage(settings) as storage:
                found = await findings(settings, storage.database, market)
        except (DatabaseUnavailableError, SchemaVersionError) as error:
            problems["database role"] = error
    is_there = settings.bao_url or key_file_of(settings).exists()
    if is_there and not any(f.problem for f in found if f.check in ("key service", "key file")):
        try:
            await key_encryption(settings).current()
        except KeyServiceError as error:
            problems["key service"] = error
    return [
        f._replace(problem=problems[f.check].message, remedy=problems[f.check].remedy) if f.check in problems else f
        for f in found
    ]


async def findings(settings: Settings, database: Database, market: str) -> list[Finding]:
    """Return what production's checks find."""
    configs = [s.config for s in await queries.list_accounts(database.desk)]
    return find_all(await guard_facts(settings, database, market, modes_of(configs)))


def keep_checkpoint(folder: Path, ts_ns: int, document: bytes) -> Path:
    """Write a checkpoint outside the database; a file is never changed afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{ts_ns}.json"
    with contextlib.suppress(FileExistsError), path.open("xb") as stream:
        stream.write(document)
    return path


def checkpoint_folder(settings: Settings) -> Path:
    """Return where checkpoints are kept besides the database."""
    return Path(settings.checkpoint_dir) if settings.checkpoint_dir else settings.data_dir / CHECKPOINTS

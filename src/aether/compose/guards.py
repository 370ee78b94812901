"""What production's checks look at, and find."""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aether.compose.directory import DataDirectory
from aether.compose.storage import open_storage
from aether.config import Settings
from aether.control.guards import Facts, Finding, database_power, find_all, modes_of
from aether.domain.errors import (
    AetherError,
    DatabaseUnavailableError,
    KeyServiceError,
    SchemaVersionError,
)
from aether.store import queries
from aether.store.database import Database

if TYPE_CHECKING:
    pass

from aether.compose.keys import key_encryption, key_file_of


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

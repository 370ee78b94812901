"""What production must not be started with, or come to: one list of checks, each with its remedy (R8, D9).

The checks look at facts that are gathered elsewhere, so the same list serves the start, the watch while running, and
`aether doctor --production`.
"""

import ipaddress
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa

from aether.control.access import DIRECTORS
from aether.domain.accounts import AccountConfig, Mode
from aether.domain.errors import InsecureSettingError
from aether.store.database import Database, goes_in_the_clear

WEAK = frozenset(
    (
        "",
        "password",
        "postgres",
        "admin",
        "secret",
        "changeme",
        "aether",
        "root",
        "test",
        "default",
        "123456",
        "letmein",
    )
)
MIN_SECRET = 16
OTHERS = stat.S_IRWXG | stat.S_IRWXO
SIMULATED_MARKETS = ("synthetic", "replay", "exchange", "recording")


class DatabasePower(msgspec.Struct, frozen=True):
    """What the login of the platform may do beyond its roles.

    Attributes:
        reads_past: a table whose rows others may read that a policy keeps apart in its parent.
    """

    is_super: bool = False
    bypasses_rows: bool = False
    makes_roles: bool = False
    owns_tables: bool = False
    inherits: bool = False
    reads_past: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks look at.

    Attributes:
        secrets: settings that are secret, by name.
        live_market: whether orders of live accounts reach a venue.
        modes: of the accounts that are open.
    """

    debug: bool = False
    public_url: str = ""
    stop_url: str = ""
    trusted_proxies: tuple[str, ...] = ()
    admins: tuple[str, ...] = ()
    directors: tuple[str, ...] = ()
    secrets: dict[str, str] = {}
    key_file: Path | None = None
    private_files: tuple[Path, ...] = ()
    bao_url: str = ""
    database: DatabasePower = DatabasePower()
    database_urls: tuple[str, ...] = ()
    market: str = ""
    modes: dict[str, str] = {}
    venue_urls: tuple[str, ...] = ()


WIDEST_PROXIES = {4: 8, 6: 16}
"""The shortest prefix of a network of proxies, by version of the protocol: a private one, never most of the world."""


class Finding(NamedTuple):
    """What a check found: empty `problem` means that all is well."""

    check: str
    problem: str
    remedy: str


def _debug(f: Facts) -> str:
    return "log_level is debug" if f.debug else ""


def _https(f: Facts) -> str:
    named = {"public_url": f.public_url, **({"stop_url": f.stop_url} if f.stop_url else {})}
    for name, text in named.items():
        url = urlsplit(text)
        if url.scheme != "https" or not url.hostname:
            return f"{name} is {text or 'not set'!r}, not https"
    return ""


def _proxies(f: Facts) -> str:
    if not f.trusted_proxies:
        return "no proxy is named that ends TLS and tells the caller's address"
    try:
        networks = [ipaddress.ip_network(text, strict=False) for text in f.trusted_proxies]
    except ValueError as error:
        return f"a proxy is no address and no network: {error}"
    old = ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv4Network))
    new = ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv6Network))
    wide = [str(n) for n in old if n.prefixlen < WIDEST_PROXIES[4]]
    wide += [str(n) for n in new if n.prefixlen < WIDEST_PROXIES[6]]
    return f"{wide[0]} is trusted as a proxy: whoever is in there may pretend any address" if wide else ""


def _admins(f: Facts) -> str:
    return "" if f.admins else "the list of admins is empty"


def _directors(f: Facts) -> str:
    named = {d.strip().lower() for d in f.directors}
    if len(named) < DIRECTORS:
        return f"the list of directors names {len(named)}, two are needed to approve each other's requests"
    outside = sorted(named - {a.strip().lower() for a in f.admins})
    if f.admins and len(named) - len(outside) < DIRECTORS:
        return f"{outside[0]} is a director and not among the admins, and only admins may approve"
    return ""


def _weak_secrets(f: Facts) -> str:
    weak = [n for n, value in f.secrets.items() if value.lower() in WEAK or len(value) < MIN_SECRET]
    return f"{', '.join(sorted(weak))} is empty, a default or shorter than {MIN_SECRET}" if weak else ""


def _key_file(f: Facts) -> str:
    for file in (*((f.key_file,) if f.key_file else ()), *f.private_files):
        if file.exists() and file.stat().st_mode & OTHERS:
            return f"{file} is open to others (mode {stat.S_IMODE(file.stat().st_mode):04o})"
    return ""


def _key_service(f: Facts) -> str:
    return f"bao_url is {f.bao_url!r}, not https" if f.bao_url and urlsplit(f.bao_url).scheme != "https" else ""


def _database(f: Facts) -> str:
    power = f.database
    told = (
        (power.is_super, "is a superuser"),
        (power.bypasses_rows, "bypasses row-level security"),
        (power.makes_roles, "may make roles"),
        (power.owns_tables, "owns tables"),
        (power.inherits, "inherits its roles' rights"),
    )
    found = [text for holds, text in told if holds]
    if power.reads_past:
        return f"the table {power.reads_past} can be read past what keeps accounts apart"
    return f"the platform's login {' and '.join(found)}" if found else ""


def _database_tls(f: Facts) -> str:
    is_open = any(goes_in_the_clear(url) for url in f.database_urls)
    return "the database's URL leaves its machine without sslmode=verify-full" if is_open else ""


def _simulated(f: Facts) -> str:
    live = sorted(a for a, mode in f.modes.items() if mode == Mode.LIVE)
    if f.market.startswith(SIMULATED_MARKETS):
        return f"the market is {f.market!r}, which is simulated"
    simulated = [a for a, mode in f.modes.items() if mode == Mode.BACKTEST]
    if simulated:
        return f"{simulated[0]} is a back-test's account"
    return f"{live[0]} is live with venues at other addresses" if live and f.venue_urls else ""


class Guard(NamedTuple):
    """A check: what must hold, how to see that it does not, what to do then."""

    name: str
    holds: str
    find: Callable[[Facts], str]
    remedy: str


GUARDS: tuple[Guard, ...] = (
    Guard(
        "database",
        "A database of its own is named.",
        lambda f: "" if f.database_urls else "database_url is not set: an empty one would be made",
        "Set AETHER_DATABASE_URL, or AETHER_DATABASE_URL_FILE.",
    ),
    Guard("debug", "Nothing is logged for debugging.", _debug, "Set AETHER_LOG_LEVEL to info or warning."),
    Guard(
        "tls",
        "Browsers reach it over HTTPS alone.",
        _https,
        "Set AETHER_PUBLIC_URL (and AETHER_STOP_URL) to https addresses.",
    ),
    Guard(
        "proxies",
        "The proxies that end TLS are named.",
        _proxies,
        "Set AETHER_TRUSTED_PROXIES to the addresses of your TLS proxies.",
    ),
    Guard("admins", "Admins come from a list.", _admins, "Set AETHER_ADMINS, or AETHER_ADMINS_FILE."),
    Guard(
        "directors",
        "At least two directors may approve.",
        _directors,
        "Set AETHER_DIRECTORS, or AETHER_DIRECTORS_FILE, to at least two addresses.",
    ),
    Guard("secrets", "No secret is weak or a default.", _weak_secrets, "Set a random value of 16 characters or more."),
    Guard("key file", "Private files are their owner's alone.", _key_file, "Run chmod 600 on it."),
    Guard("key service", "The key service is reached over HTTPS.", _key_service, "Set AETHER_BAO_URL to https."),
    Guard(
        "database role",
        "The platform's login owns nothing and inherits nothing.",
        _database,
        "Log in as a role made by `aether db migrate --login NAME`, see docs/how-to/use-your-own-postgresql.md.",
    ),
    Guard(
        "database tls",
        "A database on another machine proves who it is.",
        _database_tls,
        "Add ?sslmode=verify-full&sslrootcert=FILE to its URL.",
    ),
    Guard(
        "simulation",
        "No simulated path is near production's accounts.",
        _simulated,
        "Start with --market kraken, binance or coinbase and their own addresses.",
    ),
)


def find_all(facts: Facts) -> list[Finding]:
    """Return what each check finds, in order."""
    return [Finding(g.name, g.find(facts), g.remedy) for g in GUARDS]


def refuse_insecure(findings: Sequence[Finding]) -> None:
    """Refuse to go on with anything insecure. Raises InsecureSettingError naming all that is."""
    bad = [f for f in findings if f.problem]
    if bad:
        raise InsecureSettingError(
            "Production refuses to start: " + "; ".join(f"{f.check}: {f.problem}" for f in bad) + ".",
            remedy=" ".join(f.remedy for f in bad),
        )


async def database_power(database: Database) -> DatabasePower:
    """Return what the platform's login may do in a database."""
    query = sa.text(
        "SELECT rolsuper, rolbypassrls, rolcreaterole, rolinherit, EXISTS (SELECT FROM pg_class c JOIN pg_namespace n "
        "ON n.oid = c.relnamespace WHERE c.relowner = r.oid AND n.nspname = 'public') AS owns "
        "FROM pg_roles r WHERE rolname = session_user"
    )
    # Policies do not reach the children of a table, such as chunks of a hypertable.
    past = sa.text(
        "SELECT c.oid::regclass::text FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_class c "
        "ON c.oid = i.inhrelid WHERE p.relrowsecurity AND NOT c.relrowsecurity AND EXISTS (SELECT FROM "
        "aclexplode(c.relacl) a WHERE a.grantee <> c.relowner AND a.privilege_type = 'SELECT') ORDER BY 1 LIMIT 1"
    )
    async with database.engine.connect() as connection:
        row = (await connection.execute(query)).one()
        reads_past = (await connection.execute(past)).scalar() or ""
    return DatabasePower(row.rolsuper, row.rolbypassrls, row.rolcreaterole, row.owns, row.rolinherit, reads_past)


def modes_of(configs: Sequence[AccountConfig]) -> dict[str, str]:
    """Return the mode of each account."""
    return {config.id: config.mode for config in configs}

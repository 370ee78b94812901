"""Settings: from defaults, `aether.toml` in the data directory, `AETHER_*` in the environment, and the command line.

Later ones win. `AETHER_*_FILE` names a file that holds the value, as mounted secrets do. This is the only module that
reads the environment.
"""

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from aether.domain.errors import InvalidValueError

PREFIX = "AETHER_"
FROM_FILE = "_FILE"
FOR_TESTS = "AETHER_TEST_"
"""What the tests themselves are told."""
FILE_NAME = "aether.toml"
LOG_LEVELS = ("debug", "info", "warning", "error")
MAX_SECRET_BYTES = 64 * 1024


class Environment(StrEnum):
    """How strict the platform is with itself."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a process needs to know.

    Attributes:
        data_dir: where everything of this machine lies.
        env: `development`, or `production`, which refuses every insecure setting.
        database_url: PostgreSQL's URL; empty for the embedded server in the data directory.
        database_admin_url: of the owner of the tables, who migrates;
            empty for the same login, in production for nobody.
        host, port: where the web interface listens.
        stop_port: where the process of stops listens on the same host, for the page's kill switch alone; 0 for any.
        stop_url: how browsers reach it; empty for host and port, and with a `public_url` for none.
        public_url: how browsers reach the web interface, such as https://desk.example.com; empty for host and port.
        trusted_proxies: addresses of the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.
        log_level: messages below it are dropped.
        log_json: one JSON object a line instead of text.
        admins: e-mail addresses of those who may be given the role admin; required in production.
        directors: e-mail addresses of those who may approve what another person asked for; required in production.
        two_people: let sensitive changes wait for a second person in development too; production always does.
        session_idle_s: seconds without a request after which a session ends.
        session_max_s: seconds after which a session ends in any case.
        key_file: the key-encryption key on one machine; empty for `kek.json` in the data directory.
        bao_url: address of OpenBao or Vault, whose transit engine then holds the key-encryption key.
        bao_auth: how to sign in there: `approle` or `kubernetes`.
        bao_role: name of the Kubernetes role, or the AppRole's role id.
        bao_secret_id: the AppRole's secret id.
        bao_mount: where the transit engine is mounted.
        bao_key: name of the key in it.
        bao_ca: file of the certificate authority that signed OpenBao's certificate.
        oidc_issuer: an OpenID Connect provider that may sign people in.
        oidc_client_id: what the provider knows this platform as.
        oidc_client_secret: the client's secret at the provider.
        checkpoint_dir: where signed checkpoints of the audit trail are written besides the
            database; empty for `checkpoints` in the data directory.
        market_log_dir: where old days of the market's log are archived; empty for `market` in the data directory.
        market_log_days: how many days of it stay in the database.
        venue_urls: addresses of venues in place of their own, as `venue=rest-url socket-url`, separated by commas.
    """

    data_dir: Path
    env: Environment = Environment.DEVELOPMENT
    database_url: str = ""
    database_admin_url: str = ""
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8000
    stop_port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    stop_url: str = ""
    public_url: str = ""
    trusted_proxies: tuple[str, ...] = ()
    log_level: str = "warning"
    log_json: bool = False
    admins: tuple[str, ...] = ()
    directors: tuple[str, ...] = ()
    two_people: bool = False
    session_idle_s: Annotated[int, Meta(ge=60, le=86_400)] = 1_800
    session_max_s: Annotated[int, Meta(ge=300, le=604_800)] = 43_200
    key_file: str = ""
    bao_url: str = ""
    bao_auth: str = "approle"
    bao_role: str = ""
    bao_secret_id: str = ""
    bao_mount: str = "transit"
    bao_key: str = "aether"
    bao_ca: str = ""
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: str = ""
    checkpoint_dir: str = ""
    market_log_dir: str = ""
    market_log_days: Annotated[int, Meta(ge=1, le=3_650)] = 7
    venue_urls: tuple[str, ...] = ()

    @property
    def is_production(self) -> bool:
        """Whether insecure settings are refused."""
        return self.env is Environment.PRODUCTION

    @property
    def market_archive(self) -> Path:
        """The folder of the archived days of the market's log."""
        return Path(self.market_log_dir) if self.market_log_dir else self.data_dir / "market"

    @property
    def logs_json(self) -> bool:
        """Whether logs are for machines."""
        return self.log_json or self.is_production


LISTS = ("trusted_proxies", "admins", "directors", "venue_urls")


def default_data_dir(environment: Mapping[str, str]) -> Path:
    """Return the data directory by the XDG base directory specification."""
    home = environment.get("XDG_DATA_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".local" / "share")
    return Path(home) / "aether"


def load_settings(
    overrides: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings in force.

    Args:
        overrides: from the command line; None values are left out.
        environment: in place of the process's.

    Raises:
        InvalidValueError: on an unknown name or a value of the wrong kind, naming where it stands.
    """
    env = os.environ if environment is None else environment
    given = {k: v for k, v in (overrides or {}).items() if v is not None}
    from_env = _from_environment(env)
    data_dir = Path(str(given.get("data_dir") or from_env.get("data_dir") or default_data_dir(env))).expanduser()
    file = data_dir / FILE_NAME
    merged = {**_read_file(file), **from_env, **given, "data_dir": str(data_dir.absolute())}
    for name in LISTS:
        if isinstance(value := merged.get(name), str):
            merged[name] = [part.strip() for part in value.replace("\n", ",").split(",") if part.strip()]
    try:
        settings = msgspec.convert(merged, Settings, strict=False, dec_hook=decode_path)
    except msgspec.ValidationError as error:
        raise InvalidValueError(
            f"The settings are wrong: {error}.",
            remedy=f"Settings are {', '.join(Settings.__struct_fields__)}; look at {file} and at {PREFIX}* in the "
            "environment.",
        ) from error
    if settings.log_level not in LOG_LEVELS:
        raise InvalidValueError(f"log_level is {settings.log_level!r}.", remedy=f"Choose {', '.join(LOG_LEVELS)}.")
    return settings


def refuse_mistakes(settings: Settings, environment: Mapping[str, str] | None = None) -> None:
    """Refuse settings that cannot be meant: for a start, never for a stop, which works whatever else is wrong.

    Raises:
        InvalidValueError: on a name in the environment that is no setting, or two values that contradict each other.
    """
    env = os.environ if environment is None else environment
    known = {PREFIX + name.upper() + end for name in Settings.__struct_fields__ for end in ("", FROM_FILE)}
    for variable in sorted(env):
        if variable.startswith(PREFIX) and variable not in known and not variable.startswith(FOR_TESTS):
            close = get_close_matches(variable, known, 1)
            raise InvalidValueError(
                f"{variable} in the environment is no setting.",
                remedy=f"Correct it to {close[0]}, or take it away." if close else "Take it away.",
            )
    if settings.stop_port == settings.port != 0:
        raise InvalidValueError(
            f"port and stop_port are both {settings.port}.", remedy="Give the page's kill switch a port of its own."
        )
    if settings.stop_url and not settings.stop_port:
        raise InvalidValueError(
            f"stop_url is {settings.stop_url!r}, and stop_port is not set.",
            remedy="Set AETHER_STOP_PORT to the port that the proxy leads there to.",
        )
    if settings.stop_url and settings.stop_url.rstrip("/") == settings.public_url.rstrip("/"):
        raise InvalidValueError(
            f"stop_url and public_url are both {settings.stop_url!r}.",
            remedy="Give the page's kill switch a port of its own at the proxy.",
        )
    if urlsplit(settings.public_url).path.strip("/"):
        raise InvalidValueError(
            f"public_url is {settings.public_url!r}, which has a path; passkeys and cookies belong to a whole host.",
            remedy="Give the platform a host name of its own, like https://desk.example.com.",
        )
    if settings.bao_url and settings.key_file:
        raise InvalidValueError(
            f"bao_url is {settings.bao_url!r} and key_file is {settings.key_file!r}: one of them holds the key.",
            remedy="Take the one away that does not.",
        )
    if settings.session_idle_s > settings.session_max_s:
        raise InvalidValueError(
            f"session_idle_s is {settings.session_idle_s}, above session_max_s, which is {settings.session_max_s}.",
            remedy="Let a session that nobody uses end before it ends in any case.",
        )


def _from_environment(env: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in Settings.__struct_fields__:
        variable = PREFIX + name.upper()
        if variable in env:
            found[name] = env[variable]
        elif variable + FROM_FILE in env:
            found[name] = _read_secret(variable + FROM_FILE, Path(env[variable + FROM_FILE]))
    return found


def _read_secret(variable: str, file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as stream:
            return stream.read(MAX_SECRET_BYTES).strip()
    except (OSError, ValueError) as error:
        raise InvalidValueError(
            f"{variable} names {file}, which cannot be read: {error}.", remedy="Mount the secret, or correct the path."
        ) from error


def decode_path(wanted: type, value: object) -> object:
    """Return a setting that JSON and TOML have no type for."""
    return Path(str(value)) if wanted is Path else value


def _read_file(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise InvalidValueError(f"{file} cannot be read: {error}.", remedy="Write it as TOML, or remove it.") from error

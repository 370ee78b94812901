"""Settings: from defaults, `aether.toml` in the data directory, `AETHER_*` in the environment, and the command line.

Later ones win. This is the only module that reads the environment.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from aether.domain.errors import InvalidValueError

PREFIX = "AETHER_"
FILE_NAME = "aether.toml"
LOG_LEVELS = ("debug", "info", "warning", "error")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a process needs to know.

    Attributes:
        data_dir: where everything of this machine lies.
        database_url: PostgreSQL's URL; empty for the embedded server in the data directory.
        host, port: where the web interface listens.
        log_level: messages below it are dropped.
        log_json: one JSON object a line instead of text.
    """

    data_dir: Path
    database_url: str = ""
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8000
    log_level: str = "warning"
    log_json: bool = False


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
    fields = Settings.__struct_fields__
    from_env = {name: env[PREFIX + name.upper()] for name in fields if PREFIX + name.upper() in env}
    data_dir = Path(str(given.get("data_dir") or from_env.get("data_dir") or default_data_dir(env))).expanduser()
    file = data_dir / FILE_NAME
    merged = {**_read_file(file), **from_env, **given, "data_dir": str(data_dir.absolute())}
    try:
        settings = msgspec.convert(merged, Settings, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise InvalidValueError(
            f"The settings are wrong: {error}.",
            remedy=f"Settings are {', '.join(fields)}; look at {file} and at {PREFIX}* in the environment.",
        ) from error
    if settings.log_level not in LOG_LEVELS:
        raise InvalidValueError(f"log_level is {settings.log_level!r}.", remedy=f"Choose {', '.join(LOG_LEVELS)}.")
    return settings


def _decode(wanted: type, value: object) -> object:
    return Path(str(value)) if wanted is Path else value


def _read_file(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise InvalidValueError(f"{file} cannot be read: {error}.", remedy="Write it as TOML, or remove it.") from error

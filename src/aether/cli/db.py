"""`aether db`: the database."""

import asyncio
from typing import Annotated

import typer

from aether.cli.console import out, settings_of
from aether.cli.database import with_database
from aether.cli.options import (
    DataDir,
)
from aether.compose.storage import prepare_database
from aether.domain.errors import InvalidValueError
from aether.store.database import login_url

app = typer.Typer(help="The database.", add_completion=False)


@app.callback()
def _db() -> None:
    """The database."""


@app.command("migrate")
def db_migrate(
    data_dir: DataDir = None,
    login: Annotated[
        str, typer.Option(help="Who the platform logs in as; made when missing. By default AETHER_DATABASE_URL's user.")
    ] = "",
) -> None:
    """Bring the database to this version's schema as the owner of its tables, and let the platform's login use it.

    Every start in development does it too; in production only this command does, with AETHER_DATABASE_ADMIN_URL.
    """
    settings = settings_of(data_dir)
    if settings.is_production and not (settings.database_admin_url and (settings.database_url or login)):
        raise InvalidValueError(
            "It is not said which database is to be migrated, and for which login.",
            remedy="Set AETHER_DATABASE_ADMIN_URL to its owner's and AETHER_DATABASE_URL to the platform's.",
        )
    if settings.database_admin_url:
        url = settings.database_url or settings.database_admin_url
        asyncio.run(prepare_database(settings.database_admin_url, login_url(url, login) if login else url))
    else:
        with_database(settings, lambda scope: scope.database.ping())
    from aether.store.migrate import newest_revision  # noqa: PLC0415  loaded where it is used: each command starts sooner

    out.print(f"The database is at schema revision {newest_revision()}.", highlight=False)

"""The `aether` command: every noun of it lies in a module of its own, which is loaded when it is asked for.

Every error that a user can cause ends with its message, its remedy and its exit code (`docs/reference/exit-codes.md`);
anything else is a defect and shows its traceback. With `--json`, standard output carries JSON only.
"""

import signal
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from aether import __version__
from aether.cli.console import err, errors_told, out

COMMANDS = {
    "up": "up",
    "link": "session",
    "doctor": "doctor",
    "simulate": "simulate",
    "strategies": "strategies",
    "orders": "books",
    "positions": "books",
    "resume": "resume",
    "login": "session",
    "logout": "session",
    "whoami": "session",
}
"""Commands without a noun, and the modules that they lie in."""
NOUNS = (
    "accounts",
    "approvals",
    "audit",
    "backtest",
    "data",
    "db",
    "journal",
    "kill",
    "secrets",
    "serve",
    "tokens",
    "trade",
    "users",
    "venue",
)
"""Each is a module with that noun's commands."""


class _Aether(TyperGroup):
    """Finds commands in their modules: `kill` loads nothing of back-tests."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return [*super().list_commands(ctx), *COMMANDS, *NOUNS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, loaded now."""
        module = cmd_name if cmd_name in NOUNS else COMMANDS.get(cmd_name)
        if module is None:
            return super().get_command(ctx, cmd_name)
        found = typer.main.get_command(import_module(f"aether.cli.{module}").app)
        if cmd_name in COMMANDS and isinstance(found, TyperGroup):
            return found.get_command(ctx, cmd_name)
        found.name = cmd_name
        return found


app = typer.Typer(cls=_Aether, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


@app.callback()
def _aether() -> None:
    """Automated trading for crypto spot markets."""


@app.command()
def version() -> None:
    """Print the version."""
    out.print(__version__, highlight=False)


def main() -> None:
    """Run the command line; the console script's entry."""
    try:
        with errors_told():
            app()
    except KeyboardInterrupt:
        err.print("Interrupted; nothing of it runs on.")
        raise SystemExit(128 + signal.SIGINT) from None


if __name__ == "__main__":
    main()

"""`aether journal`: read and proven."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer

from aether.cli.console import out, print_json, settings_of, table
from aether.cli.database import with_database
from aether.cli.options import Account, AsJson, DataDir, Limit
from aether.clock import utc_text, wall_ns
from aether.store import queries
from aether.store.database import Role, Row, Scope
from aether.store.journal import verify

app = typer.Typer(help="Read and prove the journal.", no_args_is_help=True, add_completion=False)


@app.command("show")
def journal_show(
    account: Account,
    first: Annotated[
        int | None, typer.Option("--from", min=1, help="First sequence; the latest rows by default.")
    ] = None,
    limit: Limit = 20,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show rows of an account's journal."""

    async def work(scope: Scope) -> Sequence[Row]:
        stored = await queries.get_account(scope, account)
        start = first
        if start is None:
            start = max(1, await queries.journal_length(scope, stored.config.id) - limit + 1)
        return await queries.list_journal(scope, stored.config.id, first=start, limit=limit)

    rows = with_database(settings_of(data_dir), work)
    if as_json:
        print_json(
            [
                {"seq": r.seq, "ts_ns": r.ts_ns, "kind": r.kind, "event": json.loads(r.payload), "hash": r.hash.hex()}
                for r in rows
            ]
        )
        return
    values = []
    for r in rows:
        said = {k: v for k, v in json.loads(r.payload).items() if k not in ("type", "ts_ns")}
        values.append((str(r.seq), utc_text(r.ts_ns), r.kind, json.dumps(said)[:110], r.hash.hex()[:8]))
    table(f"Journal of {account}", ("seq", "time (UTC)*", "event*", "content*", "hash*"), values, "No rows.")


@app.command("verify")
def journal_verify(
    account: Annotated[str | None, typer.Option("--account", help="One account; all by default.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Prove the hash chain; names the first bad sequence and exits with 10 when it is broken."""

    async def work(scope: Scope) -> dict[str, int]:
        if account is not None:
            names = [(await queries.get_account(scope, account)).config.id]
        else:
            names = [s.config.id for s in await queries.list_accounts(scope)]
        return {name: await verify(scope, name) for name in names}

    started = wall_ns()
    counts = with_database(settings_of(data_dir), work, Role.NODE)
    if as_json:
        print_json([{"account": a, "rows": n, "ok": True} for a, n in counts.items()])
        return
    table("Verified", ("account*", "rows"), [(a, f"{n:,}") for a, n in counts.items()], "No accounts yet.")
    out.print(f"[dim]{sum(counts.values()):,} rows in {(wall_ns() - started) / 1e9:.1f} s[/]", highlight=False)

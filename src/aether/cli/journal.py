"""`aether journal`: read, proven, replayed, and its market archived."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer

from aether.cli.console import out, print_json, settings_of, table
from aether.cli.database import with_database
from aether.cli.options import Account, AsJson, DataDir, Limit, time_of
from aether.clock import utc_text, wall_ns
from aether.compose.history import replayed
from aether.domain.errors import InvalidValueError, ReplayMismatchError
from aether.node.recovery import END, Replay, Until
from aether.node.summary import summary
from aether.store import queries
from aether.store.archive import DAY_NS, day_name
from aether.store.database import Role, Row, Scope
from aether.store.history import StoredHistory
from aether.store.journal import verify
from aether.store.market_log import verify_log
from aether.store.retention import archive_before

app = typer.Typer(help="Read, prove and replay the journal and its market.", no_args_is_help=True, add_completion=False)


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
                {
                    "seq": r.seq,
                    "ts_ns": r.ts_ns,
                    "kind": r.kind,
                    "market": r.market,
                    "event": json.loads(r.payload) if r.payload else None,
                    "decided": bytes(r.decided or b"").hex(),
                    "hash": r.hash.hex(),
                }
                for r in rows
            ]
        )
        return
    values = []
    for r in rows:
        said = {k: v for k, v in json.loads(r.payload or "{}").items() if k not in ("type", "ts_ns", "taken_ns")}
        content = json.dumps(said)[:110] if r.payload else "decided on the market's event"
        values.append((str(r.seq), utc_text(r.ts_ns), r.kind, str(r.market or ""), content, r.hash.hex()[:8]))
    columns = ("seq", "time (UTC)*", "event*", "market", "content*", "hash*")
    table(f"Journal of {account}", columns, values, "No rows.")


@app.command("verify")
def journal_verify(
    account: Annotated[str | None, typer.Option("--account", help="One account; all by default.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Prove the market logs and the hash chains of accounts, archived days too.

    Names the first bad sequence of an account and exits with 10, or the first bad position of a log and exits with 26.
    """
    settings = settings_of(data_dir)

    async def work(scope: Scope) -> tuple[dict[str, int], dict[str, int]]:
        if account is not None:
            names = [(await queries.get_account(scope, account)).config.id]
        else:
            names = [s.config.id for s in await queries.list_accounts(scope)]
        history = StoredHistory(scope, settings.market_archive)
        markets = {log: await verify_log(history, log) for log in await history.logs()}
        return markets, {name: await verify(history, name) for name in names}

    started = wall_ns()
    markets, counts = with_database(settings, work, Role.NODE)
    if as_json:
        print_json(
            [{"market": m, "events": n, "ok": True} for m, n in markets.items()]
            + [{"account": a, "rows": n, "ok": True} for a, n in counts.items()]
        )
        return
    table("Markets verified", ("market*", "events"), [(m, f"{n:,}") for m, n in markets.items()], "No market yet.")
    table("Accounts verified", ("account*", "rows"), [(a, f"{n:,}") for a, n in counts.items()], "No accounts yet.")
    told = f"{sum(markets.values()):,} events, {sum(counts.values()):,} rows in {(wall_ns() - started) / 1e9:.1f} s"
    out.print(f"[dim]{told}[/]", highlight=False)


@app.command("state")
def journal_state(
    account: Account,
    at: Annotated[
        str | None, typer.Option("--at", help="A time (UTC), like 2026-11-30T14:05, or seconds since 1970.")
    ] = None,
    seq: Annotated[int | None, typer.Option("--seq", min=1, help="A row of its journal.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show an account as it was at a time: its journal and its market replayed until then."""
    settings = settings_of(data_dir)
    if at is not None and seq is not None:
        raise InvalidValueError("--at and --seq are both given.", remedy="Name a time, or a row.")
    until = Until(END.ts_ns if at is None else time_of(at), seq or END.seq)
    if at is not None and until.ts_ns > wall_ns():
        raise InvalidValueError(f"{at} (UTC) is to come.", remedy="Name a time that is over.")

    async def work(scope: Scope) -> Replay:
        stored = await queries.get_account(scope, account)
        found = await replayed(scope, settings.market_archive, stored.config, until, from_snapshot=True)
        if not found.chain.seq:
            raise InvalidValueError(
                f"{account} had not been opened by then: it was at {utc_text(stored.opened_ns)} UTC.",
                remedy="Name a later time.",
            )
        if seq is not None and found.chain.seq < seq:
            raise InvalidValueError(f"{account} has {found.chain.seq} rows.", remedy="Name one of them.")
        return found

    found = with_database(settings, work, Role.NODE)
    engine, place = found.engine, found.place
    told = summary(engine, found.chain.seq, "", "", {}, {}, engine.state.now_ns)
    if as_json:
        print_json(told | {"market": place.market, "state": engine.state_hash()})
        return
    table(
        f"{account} at {utc_text(engine.state.now_ns)} UTC",
        ("figure*", "value*"),
        [
            ("journal row", f"{found.chain.seq:,}"),
            ("market position", f"{place.pos:,}" if place.log else "none yet"),
            ("status", f"{told['status']} {told['reason']}".strip()),
            ("net asset value", told["nav"]),
            ("cash", told["cash"]),
            ("profit", told["profit"]),
            *((f"holds {p['instrument']}", p["quantity"]) for p in told["positions"]),
            ("open orders", str(len(engine.state.open_orders))),
            ("state", engine.state_hash()[:16]),
        ],
        "Nothing.",
    )


@app.command("replay")
def journal_replay(
    account: Annotated[str | None, typer.Option("--account", help="One account; all by default.")] = None,
    verified: Annotated[
        bool, typer.Option("--verify", help="From the first row, whatever snapshots there are; hashes are compared.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Replay accounts through this version's rules: every hash proven, every decision made again.

    Exits with 13 where this version decides otherwise than the journal says, with 10 or 26 where a chain is broken.
    """
    settings = settings_of(data_dir)

    async def work(scope: Scope) -> list[dict[str, object]]:
        listed = await queries.list_accounts(scope)
        if account is not None:
            listed = [await queries.get_account(scope, account)]
        done: list[dict[str, object]] = []
        for stored in listed:
            began = wall_ns()
            found = await replayed(scope, settings.market_archive, stored.config, END, from_snapshot=True)
            if verified:
                short, there = found, Until(seq=found.chain.seq, market=found.place.pos)  # it may have gone on since
                found = await replayed(scope, settings.market_archive, stored.config, there, from_snapshot=False)
                if short.engine.state_hash() != found.engine.state_hash():
                    raise ReplayMismatchError(
                        f"{stored.config.id} comes out otherwise from its latest snapshot than from its first row.",
                        remedy="Do not trade it; keep this database as evidence and restore a backup.",
                    )
            figures = {"rows": found.chain.seq, "replayed": found.replayed, "state": found.engine.state_hash()}
            done.append({"account": stored.config.id, **figures, "seconds": round((wall_ns() - began) / 1e9, 1)})
        return done

    done = with_database(settings, work, Role.NODE)
    if as_json:
        print_json(done)
        return
    values = [(str(d["account"]), f"{d['rows']:,}", f"{d['replayed']:,}", str(d["state"])[:16]) for d in done]
    table("Replayed", ("account*", "rows", "rows and events replayed", "state*"), values, "No accounts yet.")


@app.command("archive")
def journal_archive(
    before: Annotated[
        str | None, typer.Option("--before", help="A day (UTC), like 2026-11-30; by default those of the settings.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Move old days of the market's log into Parquet files, which prove as much; a running node does it by itself."""
    settings = settings_of(data_dir)
    today = wall_ns() // DAY_NS
    day = today - settings.market_log_days if before is None else time_of(before) // DAY_NS
    if day > today:
        raise InvalidValueError(f"{before} is to come.", remedy="Name today, or a day before.")
    done = with_database(settings, lambda scope: archive_before(scope, settings.market_archive, day), Role.NODE)
    if as_json:
        print_json([{"market": d.log, "day": day_name(d.day), "events": d.events, "file": d.file} for d in done])
        return
    values = [(d.log, day_name(d.day), f"{d.events:,}", d.file) for d in done]
    table("Archived", ("market*", "day*", "events", "file*"), values, "There was nothing to archive.")

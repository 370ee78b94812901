"""`aether orders` and `aether positions`: an account's books, from the database."""

from typing import Annotated

import typer

from aether.cli.console import money, out, print_json, settings_of, table
from aether.cli.database import with_database
from aether.cli.options import Account, AsJson, DataDir, Limit
from aether.clock import utc_text
from aether.domain.identifiers import AccountId, InstrumentId
from aether.domain.scaled import amount_of_size, average_price, format_amount
from aether.store import queries
from aether.store.database import Scope

WIDE = 150
"""Characters that the whole table of orders takes."""

app = typer.Typer(add_completion=False)


@app.command()
def orders(
    account: Account,
    data_dir: DataDir = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that still work.")] = False,
    limit: Limit = 30,
    as_json: AsJson = False,
) -> None:
    """List an account's orders, newest first."""

    async def work(scope: Scope) -> list[dict[str, str]]:
        stored = await queries.get_account(scope, account)
        found = await queries.list_orders(scope, AccountId(account), only_open=only_open, limit=limit)
        listed = []
        for row in found:
            i = stored.instruments[InstrumentId(row.instrument)]
            filled = amount_of_size(row.filled, i.size_decimals)
            average = average_price(row.filled_notional, filled, i.price_decimals) if filled else 0
            listed.append(
                {
                    "id": row.id,
                    "at": utc_text(row.created_ns),
                    "venue": i.venue,
                    "symbol": i.symbol,
                    "side": row.side,
                    "type": row.type,
                    "purpose": row.purpose,
                    "size": i.size_text(row.size),
                    "filled": i.size_text(row.filled),
                    "limit_price": i.price_text(row.limit_price) if row.limit_price else "",
                    "average_price": i.average_text(average) if average else "",
                    "fees": format_amount(row.fees),
                    "state": row.state,
                    "reason": row.reason,
                }
            )
        return listed

    rows = with_database(settings_of(data_dir), work)
    if as_json:
        print_json(rows)
        return
    columns, values = _wide(rows) if out.width >= WIDE else _narrow(rows)
    table(f"Orders of {account}", columns, values, "No orders.")


def _wide(rows: list[dict[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Return the columns of orders, and their rows, for a wide terminal."""
    names = ["id", "at", "venue", "symbol", "side", "type", "purpose", "size", "filled"]
    texts = ["id*", "at (UTC)*", *(f"{name}*" for name in names[2:7]), "size", "filled", "price", "state*"]
    return texts, [[*(row[name] for name in names), _price(row), _state(row)] for row in rows]


def _narrow(rows: list[dict[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Return what of it one has to know, for 80 characters: an order by the number that its id ends with."""
    found = []
    for row in rows:
        number, time = row["id"].rpartition("-")[2], row["at"].partition(" ")[2]
        is_in_part = row["filled"] != row["size"] and row["filled"].strip("0.")
        state = f"{_state(row)}, {_short(row['filled'])} filled" if is_in_part else _state(row)
        where = f"{row['venue']} {row['symbol']}"
        found.append([f"-{number}", time, where, row["side"], _short(row["size"]), _short(_price(row)), state])
    return ["order*", "at*", "where*", "side*", "size", "price", "state*"], found


def _price(row: dict[str, str]) -> str:
    return row["average_price"] or row["limit_price"]


def _state(row: dict[str, str]) -> str:
    words = row["state"].replace("_", " ")
    return f"{words}: {row['reason']}" if row["reason"] else words


def _short(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number


@app.command()
def positions(account: Account, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List an account's holdings at cost, and its balances."""

    async def work(scope: Scope) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        stored = await queries.get_account(scope, account)
        held = []
        for row in await queries.list_positions(scope, AccountId(account)):
            i = stored.instruments[InstrumentId(row.instrument)]
            held.append(
                {
                    "symbol": i.symbol,
                    "quantity": format_amount(row.quantity),
                    "average_price": i.average_text(average_price(row.cost, row.quantity, i.price_decimals)),
                    "cost": format_amount(row.cost),
                    "realized": format_amount(row.realized),
                    "fees": format_amount(row.fees),
                }
            )
        balances = [
            {"balance": r.key, "free": format_amount(r.free), "locked": format_amount(r.locked)}
            for r in await queries.list_balances(scope, AccountId(account))
        ]
        return held, balances

    held, balances = with_database(settings_of(data_dir), work)
    if as_json:
        print_json({"positions": held, "balances": balances})
        return
    values = [
        (r["symbol"], r["quantity"], r["average_price"], money(r["cost"]), money(r["realized"]), money(r["fees"]))
        for r in held
    ]
    columns = ("symbol*", "quantity", "average price", "cost", "realized", "fees")
    table(f"Positions of {account}", columns, values, "No positions.")
    table("Balances", ("balance*", "free", "locked"), [tuple(r.values()) for r in balances], "No balances.")

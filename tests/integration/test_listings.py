"""Lists over all accounts: filtered, sorted, in pages, and whole as files with the same digits (U6, U10, A2)."""

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from tests.integration.people import Person, first_admin
from tests.integration.platform import Platform, until


@pytest.fixture(scope="module")
def ada(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """The first admin of a platform whose strategies have traded."""
    platform = Platform(tmp_path_factory.mktemp("desk"))
    made = first_admin(platform.link())
    until(lambda: len({f["account"] for f in pages(made, "fills")}) == 3, "fills of three accounts")
    made.do("POST", "/kill-switch/engage", {"reason": "nothing more comes"})
    yield made
    assert platform.stop() == 0


def pages(person: Person, kind: str, **query: Any) -> list[dict[str, Any]]:
    """Return a whole list, page by page."""
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        wanted = "&".join(f"{k}={v}" for k, v in {"limit": 7, **query, "cursor": cursor}.items())
        answer = person.call("GET", f"/{kind}?{wanted}")
        assert answer.status_code == 200, answer.text
        rows += answer.json()["rows"]
        cursor = answer.json()["next"]
        if not cursor:
            return rows


def exported(person: Person, kind: str, accept: str, **query: Any) -> bytes:
    wanted = "&".join(f"{k}={v}" for k, v in query.items())
    answer = person.call("GET", f"/{kind}?{wanted}", Accept=accept)
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize("kind", ["orders", "fills"])
def test_pages_hold_every_row_once_and_in_order(ada: Person, kind: str) -> None:
    time = "created_ns" if kind == "orders" else "ts_ns"
    rows = pages(ada, kind)
    keys = [(r["account"], r.get("id", ""), r.get("order_id", ""), r.get("trade_id", "")) for r in rows]
    assert len(set(keys)) == len(keys) > 7
    assert [r[time] for r in rows] == sorted((r[time] for r in rows), reverse=True)
    rising = pages(ada, kind, sort="time")
    assert rising == list(reversed(rows))
    each = [r for a in ("company", "director-1", "director-2") for r in pages(ada, kind, account=a)]
    assert sorted(map(str, each)) == sorted(map(str, rows))


def test_filters_leave_what_they_name(ada: Person) -> None:
    rows = pages(ada, "fills")
    for query, check in (
        ({"side": "sell"}, lambda r: r["side"] == "sell"),
        ({"symbol": "ETH/USD"}, lambda r: r["symbol"] == "ETH/USD"),
        ({"venue": "paper", "account": "company"}, lambda r: r["account"] == "company"),
        ({"until_ns": rows[3]["ts_ns"]}, lambda r: r["ts_ns"] < rows[3]["ts_ns"]),
        ({"since_ns": rows[3]["ts_ns"]}, lambda r: r["ts_ns"] >= rows[3]["ts_ns"]),
        ({"text": rows[0]["order_id"].upper()}, lambda r: r["order_id"] == rows[0]["order_id"]),
        ({"text": "%"}, lambda _: False),
    ):
        assert pages(ada, "fills", **query) == [r for r in rows if check(r)], query
    states = {o["state"] for o in pages(ada, "orders")}
    assert all(o["state"] == s for s in states for o in pages(ada, "orders", state=s))


@pytest.mark.parametrize("kind", ["orders", "fills"])
def test_files_hold_the_same_rows_to_the_last_digit(ada: Person, kind: str) -> None:
    """The export of a table is the table (finding 7)."""
    rows = pages(ada, kind, account="company")
    text = exported(ada, kind, "text/csv", account="company").decode()
    head, _, body = text.partition("\n")
    assert head.startswith(f"# {kind}, {len(rows)} rows, account=company, -time, made 20")
    told = list(csv.DictReader(io.StringIO(body)))
    assert told == [{k: str(v) for k, v in row.items()} for row in rows]
    lines = exported(ada, kind, "application/x-ndjson", account="company").splitlines()
    assert [json.loads(line) for line in lines] == rows
    frame = pl.read_parquet(io.BytesIO(exported(ada, kind, "application/vnd.apache.parquet", account="company")))
    assert frame.height == len(rows)
    size = frame["size"]
    assert isinstance(size.dtype, pl.Decimal)
    assert size.to_list() == [Decimal(r["size"]) for r in rows]
    fees = "fees" if kind == "orders" else "fee"
    assert frame[fees].sum() == sum(Decimal(r[fees]) for r in rows)


def test_the_digest_is_that_of_what_follows(ada: Person) -> None:
    import hashlib

    answer = ada.call("GET", "/fills?account=company", Accept="text/csv")
    head, _, body = answer.content.partition(b"\n")
    digest = hashlib.sha256(body).hexdigest()
    assert head.decode().endswith(digest)
    assert answer.headers["x-aether-digest"] == f"sha256={digest}"
    again = ada.call("GET", "/fills?account=company", Accept="text/csv")
    assert again.headers["x-aether-digest"] == f"sha256={digest}", "made again it is the same"


def test_one_sees_the_rows_of_ones_own_accounts_and_no_others(ada: Person) -> None:
    two = ada.invite("two@example.com", {"company": "auditor", "director-2": "trader"})
    mine = pages(two, "fills")
    assert {r["account"] for r in mine} == {"company", "director-2"}
    assert mine == [r for r in pages(ada, "fills") if r["account"] != "director-1"], "merged in order"
    assert two.call("GET", "/fills?account=director-1").status_code == 404
    lines = exported(two, "fills", "application/x-ndjson").splitlines()
    assert [json.loads(line) for line in lines] == mine
    assert {c["account"] for c in two.call("GET", "/equity").json()} == {"company", "director-2"}


def test_bad_input_is_told_with_value_and_remedy(ada: Person) -> None:
    for query, part in (
        ("sort=size", "'size'"),
        ("cursor=nonsense", "nonsense"),
        ("cursor=W10=", "W10="),
        ("side=both", "side"),
        ("text=%0A", "text"),
        ("since_ns=-1", "since_ns"),
        ("state=canceled", "fills have no state"),
    ):
        answer = ada.call("GET", f"/fills?{query}")
        assert answer.status_code == 422, query
        assert part in answer.json()["detail"], answer.text
        assert answer.json()["remedy"], query


def test_a_cursor_of_one_order_leads_nowhere_in_another(ada: Person) -> None:
    following = ada.call("GET", "/fills?sort=notional&limit=1").json()["next"]
    assert ada.call("GET", f"/fills?sort=notional&limit=1&cursor={following}").status_code == 200
    for sort in ("-notional", "time"):
        answer = ada.call("GET", f"/fills?sort={sort}&cursor={following}")
        assert answer.status_code == 422
        assert "leads nowhere in this order" in answer.json()["detail"]


def test_what_can_be_set_is_told_with_bounds_units_and_meanings(ada: Person) -> None:
    schema = ada.call("GET", "/settings/schema").json()
    settings = ada.call("GET", "/accounts/company/settings").json()[0]["settings"]
    strategies, chosen = schema["properties"].pop("strategies"), settings.pop("strategies")
    assert "by strategy" in strategies["description"]
    assert {p: set(f["properties"]) for p, f in schema["properties"].items()} == {
        p: set(f) for p, f in settings.items()
    }
    fields = {f"{p}.{n}": f for p, part in schema["properties"].items() for n, f in part["properties"].items()}
    assert [name for name, f in fields.items() if not f.get("description")] == []
    loss = fields["limits.max_daily_loss_bps"]
    assert (loss["x-unit"], loss["minimum"], loss["default"]) == ("bps", 0, 300)
    assert fields["review.notional"]["x-unit"] == "ledger"
    assert fields["reconciliation.foreign_orders"]["enum"] == ["adopt", "alert", "cancel"]
    for strategy in ada.call("GET", "/strategies").json():
        told = strategy["parameters_schema"]["properties"]
        assert set(told) == {p["name"] for p in strategy["parameters"]}
        assert set(chosen.get(strategy["name"], told)) == set(told), "what is in force names every parameter"

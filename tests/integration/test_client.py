"""A client that a program has generated from the schema works against the platform (U5)."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.people import Person, first_admin
from tests.integration.platform import Platform, until

SCHEMA = Path(__file__).parents[2] / "web" / "openapi.json"
ACTIONS = ["accounts.read", "trading.override", "platform.read"]


@pytest.fixture(scope="module")
def ada(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    platform = Platform(tmp_path_factory.mktemp("desk"))
    person = first_admin(platform.link())
    until(lambda: person.call("GET", "/system").json()["ready"], "the market is there")
    yield person
    assert platform.stop() == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a package with the client, as the generator leaves it; a warning of the generator is a fault."""
    folder = tmp_path_factory.mktemp("client")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", str(SCHEMA), "--meta", "none"]
    config = folder / "config.json"
    config.write_text(json.dumps({"post_hooks": []}))
    run = subprocess.run(  # noqa: PLW1510  its output says more than an exception
        [*command, "--config", str(config), "--output-path", str(folder / "made_client"), "--fail-on-warning"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    sys.path.insert(0, str(folder))
    yield "made_client"
    sys.path.remove(str(folder))


def test_a_generated_client_reads_previews_and_trades_once(ada: Person, made: str) -> None:
    given = {"name": "client", "actions": ACTIONS, "accounts": ["*"], "days": 1}
    token = ada.do("POST", "/tokens", given).json()["token"]

    def part(path: str) -> Any:
        return importlib.import_module(f"{made}.{path}")

    models = part("models")
    with part("client").AuthenticatedClient(base_url=ada.url, token=token, timeout=20) as client:
        accounts = part("api.accounts.list_accounts").sync(client=client)
        assert {a.id for a in accounts} == {"company", "director-1", "director-2"}
        told = ada.call("GET", "/accounts").json()
        assert [a.capital for a in accounts] == [a["capital"] for a in told], "amounts are exact text"
        body = models.TradeRequest(symbol="SOL/USD", side=models.Side.BUY, amount="2", reason="a program's own")
        preview = part("api.trading.preview_trade").sync(account="director-2", client=client, body=body)
        assert preview.orders
        assert all(check.name for check in preview.checks)
        send = part("api.trading.trade").sync_detailed
        answers = [send(account="director-2", client=client, body=body, idempotency_key="client-1") for _ in range(2)]
        assert [a.status_code for a in answers] == [200, 200]
        parents = ada.call("GET", "/accounts/director-2").json()["parents"]
        assert len([p for p in parents if p["symbol"] == "SOL/USD"]) == 1, "the same key is the same trade"
        outcome = part("api.outcomes.get_outcome").sync(key="client-1", client=client)
        assert outcome.state == "done"

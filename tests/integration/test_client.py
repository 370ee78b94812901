"""A client that a program has generated from the schema works against the platform (U5)."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.platform import Platform, until

SCHEMA = Path(__file__).parents[2] / "web" / "openapi.json"


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


def test_a_generated_client_signs_in_reads_previews_and_trades_once(platform: Platform, made: str) -> None:
    url, _, token = platform.link().partition("/#token=")

    def part(path: str) -> Any:
        return importlib.import_module(f"{made}.{path}")

    models = part("models")
    with part("client").Client(base_url=url, timeout=20) as client:
        signed_in = part("api.session.open_local_session").sync_detailed(
            client=client, body=models.TokenRequest(token=token)
        )
        assert signed_in.status_code == 204
        until(lambda: part("api.system.get_system").sync(client=client).ready, "the market is there")
        accounts = part("api.accounts.list_accounts").sync(client=client)
        assert {a.id: a.capital for a in accounts}["director-1"] == "100000.00000000", "amounts are exact text"
        body = models.TradeRequest(symbol="SOL/USD", side=models.Side.BUY, amount="2", reason="a program's own")
        preview = part("api.trading.preview_trade").sync(account="director-1", client=client, body=body)
        assert preview.orders
        assert all(order.approved and order.checks for order in preview.orders)
        send = part("api.trading.trade").sync_detailed
        answers = [send(account="director-1", client=client, body=body, idempotency_key="client-1") for _ in range(2)]
        assert [a.status_code for a in answers] == [200, 200]
        shown = part("api.accounts.get_account").sync(account="director-1", client=client)
        assert len([p for p in shown.parents if p.symbol == "SOL/USD"]) == 1, "the same key is the same trade"
        assert part("api.outcomes.get_outcome").sync(key="client-1", client=client).state == "done"
        page = part("api.listings.list_all_fills").sync(client=client, account="director-1")
        assert page.next_ == ""

"""Schemathesis over the API: right and wrong requests of an admin with proofs, a trader of one account, a stranger.

No answer may be a server error, undeclared, of another shape than declared, or show a row of an account that is not the
caller's.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.people import API, Person, first_admin
from tests.integration.platform import Platform

SCHEMA = schemathesis.openapi.from_path(str(Path(__file__).parents[2] / "web" / "openapi.json"))
OPERATIONS: list[Any] = [found.ok() for found in SCHEMA.get_all_operations()]  # type: ignore[union-attr]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ENDS_THE_SESSION = {"DELETE /api/v1/session", f"PUT {API}/me/password"}
EXAMPLES = 12


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """The first admin of a platform."""
    platform = Platform(tmp_path_factory.mktemp("desk"))
    yield first_admin(platform.link())
    assert platform.stop() == 0


@pytest.fixture(scope="module")
def trader(admin: Person) -> Person:
    """Somebody who may trade one account."""
    for _ in range(2_000):
        if len(admin.call("GET", "/accounts").json()) == 3:
            break
    return admin.invite("one@example.com", {"company": "trader"})


def send(case: Any, url: str, person: Person | None) -> Any:
    """Send a generated request as somebody; with a proof for exactly it where somebody can give one."""
    kwargs = case.as_transport_kwargs(base_url=url)
    kwargs.pop("cookies", None)
    headers = {k: v for k, v in (kwargs.pop("headers", None) or {}).items() if k.lower() != "x-mfa-token"}
    cookies = dict(person.http.cookies) if person else {}
    prepared = requests.Request(**kwargs, headers=headers, cookies=cookies).prepare()
    with requests.Session() as session:
        session.trust_env = False
        answer = session.send(prepared, timeout=30)
        if person and answer.status_code == 403 and answer.json().get("title") == "ProofRefused":
            told = answer.json()
            sent: Any = prepared.body or b""
            body: bytes = sent.encode() if isinstance(sent, str) else sent
            asked = f"{prepared.method}\n{prepared.path_url}\n".encode() + body
            assert told["payload_hash"] == hashlib.sha256(asked).hexdigest(), "the proof is for exactly this request"
            prepared.headers["X-MFA-Token"] = proof(person, told)
            answer = session.send(prepared, timeout=30)
    return answer


def proof(person: Person, told: dict[str, str]) -> str:
    challenge = person.call("POST", "/mfa/challenges").json()
    answer = {
        "action": told["action"],
        "payload_hash": told["payload_hash"],
        "challenge": challenge["challenge"],
        "credential": person.passkey.answer(challenge["passkey"]),
    }
    return str(person.call("POST", "/mfa/proofs", answer).json()["token"])


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: f"{o.method.upper()} {o.path}")
def test_no_request_breaks_the_contract(operation: Any, admin: Person, trader: Person) -> None:
    strategy = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if operation.body or operation.query or operation.path_parameters:
        strategy = strategy | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    people: list[Person | None] = [trader, None]
    if operation.label not in ENDS_THE_SESSION:
        people.insert(0, admin)

    @given(case=strategy)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case: Any) -> None:
        for person in people:
            if person is trader and operation.label in ENDS_THE_SESSION:
                continue
            answer = send(case, admin.url, person)
            case.validate_response(answer, checks=CHECKS)
            asked = f"{case.path_parameters} {case.query} {case.body}"
            if person is trader and "director-" not in asked and operation.path != "/metrics":
                assert "director-" not in answer.text, "another account's row; metrics need a token in production"

    run()

"""Sign-in through an OpenID provider: a real provider library, the second factor still ours (A2)."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest

from tests.integration.bao_server import free_port
from tests.integration.people import API, Person, first_admin
from tests.integration.platform import Platform

SCRIPT = Path(__file__).with_name("oidc_provider.mjs")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, Person]]:
    """A platform with a provider, and its first admin."""
    own, provider = free_port(), free_port()
    callback = f"http://localhost:{own}{API}/session/oidc/callback"
    node = subprocess.Popen(["node", str(SCRIPT), callback, str(provider)], stdout=subprocess.PIPE, text=True)
    assert node.stdout is not None
    while not (line := node.stdout.readline()).startswith("ready"):
        assert line, "the provider ended"
    settings = {
        "AETHER_OIDC_ISSUER": f"http://localhost:{provider}",
        "AETHER_OIDC_CLIENT_ID": "aether",
        "AETHER_OIDC_CLIENT_SECRET": "a-client-secret-of-the-tests",
    }
    platform = Platform(tmp_path_factory.mktemp("desk"), "--port", str(own), env=settings)
    yield platform, first_admin(platform.link())
    assert platform.stop() == 0
    node.kill()
    node.wait()
    node.stdout.close()


def authorize(url: str, login: str) -> tuple[httpx.Client, str]:
    """Walk through the provider as `login`; return the browser and the address that it is sent back to."""
    browser = httpx.Client(timeout=20)
    answer = browser.get(f"{url}{API}/session/oidc/start")
    assert answer.status_code == 303
    where = answer.headers["location"]
    query = parse_qs(urlsplit(where).query)
    assert query["code_challenge_method"] == ["S256"]
    assert {"state", "nonce"} <= set(query)
    for _ in range(12):
        page = browser.get(where)
        if page.status_code in (302, 303):
            where = str(page.url.join(page.headers["location"]))
            if where.startswith(url):
                return browser, where
            continue
        form = re.search(r'action="([^"]+)"', page.text)
        assert form, page.text
        prompt = re.search(r'name="prompt" value="(\w+)"', page.text)
        assert prompt
        body = {"prompt": prompt[1], **({"login": login, "password": "any"} if prompt[1] == "login" else {})}
        sent = browser.post(str(page.url.join(form[1])), data=body)
        where = str(sent.url.join(sent.headers["location"]))
    raise AssertionError("the provider never came back")


def test_a_person_signs_in_by_the_provider_and_their_own_second_factor(desk: tuple[Platform, Person]) -> None:
    _, ada = desk
    assert ada.call("GET", "/session").json()["oidc"] is True
    browser, back = authorize(ada.url, "ada@example.com")
    page = browser.get(back)
    assert page.status_code == 303, page.text
    told = msgspec.json.decode(bytes.fromhex(page.headers["location"].partition("#factor=")[2]))
    assert not any(c.startswith("aether_session") for c in browser.cookies), "the provider alone opens nothing"
    answer = {"challenge": told["challenge"], "credential": ada.passkey.answer(told["passkey"])}
    me = browser.post(f"{ada.url}{API}/session/factor", json=answer)
    assert me.json()["name"] == "ada@example.com"
    assert browser.get(f"{ada.url}{API}/accounts").status_code == 200
    replayed = browser.get(back)
    assert replayed.status_code == 401, "a way back counts once"


@pytest.mark.parametrize("login", ["eve@example.com", "unverified-ada@example.com"])
def test_whom_the_firm_does_not_know_is_refused(desk: tuple[Platform, Person], login: str) -> None:
    _, ada = desk
    browser, back = authorize(ada.url, login)
    assert browser.get(back).status_code == 401


def test_a_way_back_that_another_browser_began_is_refused(desk: tuple[Platform, Person]) -> None:
    _, ada = desk
    _, back = authorize(ada.url, "ada@example.com")
    with httpx.Client(timeout=20) as other:
        assert other.get(back).status_code == 401
        other.get(f"{ada.url}{API}/session/oidc/start")
        assert other.get(back).status_code == 401, "its own state differs"
        assert other.get(f"{ada.url}{API}/session/oidc/callback").status_code == 401

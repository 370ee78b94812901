"""The web socket that pages live by: whole states, what changed since, and a beat that says how old it is (U12)."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.follower import Follower
from tests.integration.people import Person, first_admin
from tests.integration.platform import Platform, hanging_database, until


@pytest.fixture(scope="module")
def ada(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """The first admin of a platform on its default market."""
    platform = Platform(tmp_path_factory.mktemp("desk"))
    made = first_admin(platform.link())
    made.platform = platform  # type: ignore[attr-defined]
    yield made
    assert platform.stop() == 0


@contextmanager
def page_of(person: Person, *topics: str) -> Iterator[ClientConnection]:
    """Return an open page that follows topics."""
    address = person.url.replace("http", "ws") + "/api/v1/stream"
    cookie = {"Cookie": f"aether_session={person.http.cookies['aether_session']}"}
    with connect(address, additional_headers=cookie, proxy=None) as page:
        page.send(json.dumps({"subscribe": list(topics)}))
        yield page


def test_deltas_make_of_a_snapshot_what_the_api_says(ada: Person) -> None:
    with page_of(ada, "desk", "fills:company") as page:
        follower = Follower(page)
        follower.until(
            lambda: follower.seqs.get("desk", 0) > 20 and follower.states.get("fills:company", {}).get("fills")
        )
        answer = {a["id"]: a for a in ada.call("GET", "/accounts").json()}
        seen = follower.states["desk"]["accounts"]
        follower.until(lambda: all(seen_now(follower, a) >= answer[a]["told_ns"] for a in answer))
        assert set(seen) == set(answer)
        before = {a: t for a, t in answer.items() if seen_now(follower, a) == t["told_ns"]}
        for name, told in before.items():
            assert follower.states["desk"]["accounts"][name] == told
        stored = ada.call("GET", "/accounts/company/fills").json()
        follower.until(lambda: all(f"{f['order_id']} {f['trade_id']}" in newest(follower) for f in stored[:3]))
        for fill in stored[:3]:
            assert newest(follower)[f"{fill['order_id']} {fill['trade_id']}"] == fill


def seen_now(follower: Follower, account: str) -> int:
    return int(follower.states["desk"]["accounts"][account]["told_ns"])


def newest(follower: Follower) -> dict[str, Any]:
    found: dict[str, Any] = follower.states["fills:company"]["fills"]
    return found


def test_what_is_shown_of_one_moment_adds_up_to_the_last_digit(ada: Person) -> None:
    """Positions stood still until the next fill while the worth beside them moved (finding 1)."""
    from aether.domain.scaled import parse_amount as exact

    with page_of(ada, "desk") as page:
        follower = Follower(page)
        looked: set[tuple[str, int]] = set()
        while len(looked) < 15:
            follower.take()
            for a in follower.states.get("desk", {}).get("accounts", {}).values():
                values = sum(exact(p["value"]) for p in a["positions"])
                assert exact(a["nav"]) == exact(a["cash"]) + values
                assert exact(a["exposure"]) == values
                assert exact(a["profit"]) == exact(a["nav"]) - exact(a["capital"])
                assert exact(a["profit"]) == exact(a["realized"]) + exact(a["unrealized"]) - exact(a["fees"])
                assert exact(a["day"]) == exact(a["nav"]) - exact(a["day_start_nav"])
                if a["positions"]:
                    looked.add((a["id"], a["told_ns"]))
            desk = follower.states.get("desk")
            if desk:
                total = sum(exact(a["nav"]) for a in desk["accounts"].values())
                assert exact(desk["totals"]["USD"]["nav"]) == total


def test_beats_go_on_and_say_how_old_everything_is_while_the_database_hangs(ada: Person) -> None:
    platform: Platform = ada.platform  # type: ignore[attr-defined]
    with page_of(ada, "desk", "fills:company") as page:
        follower = Follower(page)
        follower.until(lambda: len(follower.beats) > 1 and "desk" in follower.states)
        assert all(age < 3_000 for age in follower.ages.values()), follower.ages
        with hanging_database(platform.data_dir):
            counted = len(follower.beats)
            follower.until(lambda: len(follower.beats) > counted + 8)
            apart = [(b - a) / 1e9 for a, b in zip(follower.beats, follower.beats[1:], strict=False)]
            assert max(apart[counted:]) < 3, "a page that hears nothing for 3 s knows nothing"
            follower.until(lambda: all(a["status"] == "paused" for a in told_of(follower)))
            assert all("not answered" in a["reason"] for a in told_of(follower)), "accounts that cannot write say so"
        until(lambda: ada.call("GET", "/system").status_code == 200, "the database is back")
        follower.until(lambda: max(follower.ages.values()) < 2_000)


def told_of(follower: Follower) -> list[dict[str, Any]]:
    return list(follower.states["desk"]["accounts"].values())


def test_a_topic_that_is_asked_for_again_begins_with_its_whole_state(ada: Person) -> None:
    with page_of(ada, "desk") as page:
        follower = Follower(page)
        follower.until(lambda: follower.seqs.get("desk", 0) > 3)
        page.send(json.dumps({"subscribe": ["desk"]}))
        follower.seqs.clear()
        kinds = []
        while "snapshot" not in kinds:
            message = json.loads(page.recv(timeout=20))
            kinds.append(message["kind"])
        assert message["topic"] == "desk"
        assert set(message["data"]["accounts"]) == {"company", "director-1", "director-2"}


def test_what_one_may_do_is_told_by_account(ada: Person) -> None:
    """A trader of one account was offered to stop and release all (finding 5)."""
    trader = ada.invite("grants@example.com", {"company": "trader", "director-1": "auditor"})
    grants = trader.call("GET", "/session").json()["grants"]
    assert "kill.engage" in grants["company"]
    assert "kill.engage" not in grants["director-1"]
    assert "accounts.read" in grants["director-1"]
    assert "kill.engage" not in grants.get("*", [])
    assert "kill.release" in ada.call("GET", "/session").json()["grants"]["*"]


def test_an_archived_account_leaves_the_desk_and_its_sums(ada: Person) -> None:
    body = {"id": "gone", "name": "Gone", "kind": "director", "instruments": ["paper:BTC/USD"], "cash": "50000"}
    assert ada.do("POST", "/accounts", {**body, "reason": "for a while"}).status_code == 201
    with page_of(ada, "desk") as page:
        follower = Follower(page)
        follower.until(lambda: "gone" in follower.states.get("desk", {}).get("accounts", {}))
        assert follower.states["desk"]["totals"]["USD"]["accounts"] == 4
        assert ada.do("POST", "/accounts/gone/archive", {"reason": "that was it"}).status_code == 204
        follower.until(lambda: "gone" not in follower.states["desk"]["accounts"])
        assert follower.states["desk"]["totals"]["USD"]["accounts"] == 3


@pytest.mark.parametrize("frame", [b"x", None], ids=["text", "pings"])
def test_a_page_that_says_more_than_any_page_has_to_say_is_closed(ada: Person, frame: bytes | None) -> None:
    """A megabyte of the smallest frames held up everybody for seconds; they are not even taken apart."""
    before = turned_away(ada)
    with page_of(ada, "desk") as page, pytest.raises((ConnectionClosed, OSError)):
        for _ in range(20_000):
            if frame is None:
                page.ping()
            else:
                page.send(frame.decode())
    until(lambda: turned_away(ada) > before, "it is counted")
    with page_of(ada, "desk") as page:
        assert json.loads(page.recv(timeout=20))["kind"] in ("beat", "snapshot")


def turned_away(ada: Person) -> float:
    told = ada.http.get("/metrics").text
    found = re.search(r'aether_requests_turned_away_total\{limit="sockets"\} (\S+)', told)
    return float(found[1]) if found else 0.0


def test_what_is_no_account_has_no_topic(ada: Person) -> None:
    """Each name that was ever made up was kept for ever."""
    for name in ("nobody", "*", "", "company ", "a" * 3_000, "\x00x"):
        with page_of(ada, f"fills:{name}") as page:
            while (told := json.loads(page.recv(timeout=20)))["kind"] == "beat":
                pass
            assert (told["kind"], told["topic"]) == ("refused", f"fills:{name}")


def test_what_accounts_warn_of_reaches_whoever_may_see_them(ada: Person) -> None:
    one = ada.invite("one@example.com", {"company": "trader"})
    with page_of(ada, "alerts") as page, page_of(one, "alerts") as other:
        follower, narrow = Follower(page), Follower(other)
        for account in ("director-1", "company"):
            ada.do("POST", f"/accounts/{account}/kill-switch/engage", {"reason": f"a drill of {account}"})
            ada.do("POST", f"/accounts/{account}/kill-switch/release", {"reason": "over"})

        def warned(of: Follower, account: str) -> bool:
            told = of.states.get("alerts", {}).get("alerts", {}).values()
            return any(a["account"] == account and f"a drill of {account}" in a["message"] for a in told)

        follower.until(lambda: warned(follower, "director-1") and warned(follower, "company"))
        narrow.until(lambda: warned(narrow, "company"))
        assert {a["account"] for a in narrow.states["alerts"]["alerts"].values()} == {"company"}
        assert {a["severity"] for a in follower.states["alerts"]["alerts"].values()} <= {"warning", "critical"}

"""Fifty wrong passwords a second: who guesses is slowed down, nobody else is, and nothing tells who exists (A2)."""

import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.integration.people import PASSWORD, Person, first_admin
from tests.integration.platform import Platform

RATE_PER_S = 50
SECONDS = 6


@pytest.fixture(scope="module")
def ada(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """The first admin of a platform behind a proxy that tells the callers' addresses."""
    platform = Platform(tmp_path_factory.mktemp("desk"), env={"AETHER_TRUSTED_PROXIES": "127.0.0.1,::1"})
    yield first_admin(platform.link())
    assert platform.stop() == 0


def test_a_flood_of_wrong_passwords(ada: Person) -> None:
    answers: Counter[int] = Counter()
    texts: dict[str, set[str]] = {"ada@example.com": set(), "nobody@example.com": set()}
    done, pace = threading.Event(), threading.Event()

    def guess() -> None:
        attacker = Person(ada.url, {"X-Forwarded-For": "203.0.113.66"})
        began = time.monotonic()
        for n in range(RATE_PER_S * SECONDS):
            email = ("ada@example.com", "nobody@example.com")[n % 2]
            answer = attacker.call("POST", "/session", {"email": email, "password": f"wrong password {n}"})
            answers[answer.status_code] += 1
            texts[email].add(answer.json()["detail"])
            pace.wait(max(0.0, began + (n + 1) / RATE_PER_S - time.monotonic()))
        done.set()

    thread = threading.Thread(target=guess)
    thread.start()
    took = []
    while not done.is_set():
        at = time.monotonic()
        other = Person(ada.url, {"X-Forwarded-For": "198.51.100.7"})
        other.email, other.passkey = ada.email, ada.passkey
        assert other.sign_in().status_code == 200, "the person whose account is guessed at comes in from elsewhere"
        took.append(time.monotonic() - at)
    thread.join()
    assert answers[200] == 0
    assert answers[429] > answers[401] * 5, answers
    assert len(took) >= 5
    assert texts["ada@example.com"] == texts["nobody@example.com"]


def test_neither_text_nor_time_tells_who_exists(ada: Person) -> None:
    times: dict[str, list[float]] = {"ada@example.com": [], "nobody@example.com": []}
    bodies: dict[str, set[str]] = {"ada@example.com": set(), "nobody@example.com": set()}
    for n in range(24):
        for email, measured in times.items():
            # A new address each time: what is measured is the check of the password, not the lockout.
            stranger = Person(ada.url, {"X-Forwarded-For": f"192.0.2.{n + 1}"})
            stranger.call("GET", "/session")
            at = time.perf_counter()
            answer = stranger.call("POST", "/session", {"email": email, "password": "not the password"})
            measured.append(time.perf_counter() - at)
            assert answer.status_code == 401
            bodies[email].add(answer.text)
    assert bodies["ada@example.com"] == bodies["nobody@example.com"]
    known, unknown = (statistics.median(t) for t in times.values())
    print(f"known {known * 1e3:.1f} ms, unknown {unknown * 1e3:.1f} ms")  # noqa: T201  reported, see docs
    assert 0.5 < known / unknown < 2.0, "one that skips the check of the password would be several times as fast"
    assert PASSWORD not in str(bodies)

"""The parts of the guard that need no platform: rates, addresses behind proxies, origins (A2)."""

from types import SimpleNamespace
from typing import cast

import pytest
from starlette.requests import HTTPConnection

from aether.api.guard import BUCKETS_KEPT, RateLimiter, address_of, is_same_origin
from aether.api.ports import Context
from aether.control.throttle import network_of


def test_a_caller_has_a_burst_and_then_a_rate_of_its_own() -> None:
    now = {"s": 0.0}
    limiter = RateLimiter(lambda: now["s"])
    waits = [limiter.wait_s("ada", per_s=50, burst=400) for _ in range(402)]
    assert waits[:400] == [0.0] * 400
    assert waits[400] == pytest.approx(1 / 50)
    assert limiter.wait_s("bob", per_s=50, burst=400) == 0.0, "others are not slowed down"
    now["s"] = 1.0
    assert [limiter.wait_s("ada", per_s=50, burst=400) for _ in range(51)].count(0.0) == 50
    now["s"] = 1_000.0
    assert [limiter.wait_s("ada", per_s=50, burst=400) for _ in range(401)].count(0.0) == 400


def test_the_limiter_forgets_who_has_not_asked_for_longest() -> None:
    limiter = RateLimiter(lambda: 0.0)
    limiter.wait_s("first", per_s=1, burst=1)
    for n in range(BUCKETS_KEPT):
        limiter.wait_s(f"other {n}", per_s=1, burst=1)
    assert limiter.wait_s("first", per_s=1, burst=1) == 0.0


def connection(peer: str, **headers: str) -> HTTPConnection:
    named = [(k.replace("_", "-").lower().encode(), v.encode()) for k, v in headers.items()]
    return HTTPConnection({"type": "http", "client": (peer, 1), "headers": named})


def context(*proxies: str, public_url: str = "") -> Context:
    return cast(
        Context,
        SimpleNamespace(trusted_proxies=proxies, public_url=public_url, is_https=public_url.startswith("https")),
    )


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "expected"),
    [
        ("203.0.113.1", "", (), "203.0.113.1"),
        ("203.0.113.1", "198.51.100.9", (), "203.0.113.1"),
        ("10.0.0.5", "198.51.100.9", ("10.0.0.5",), "198.51.100.9"),
        ("10.0.0.5", "1.2.3.4, 198.51.100.9", ("10.0.0.5",), "198.51.100.9"),
        ("10.0.0.5", "198.51.100.9, 10.0.0.6", ("10.0.0.0/24",), "198.51.100.9"),
        ("10.0.0.5", "nonsense", ("10.0.0.5",), "nonsense"),
        ("::1", "198.51.100.9", ("127.0.0.1",), "::1"),
        ("::ffff:10.0.0.5", "198.51.100.9", ("10.0.0.0/8",), "198.51.100.9"),
    ],
)
def test_only_named_proxies_tell_addresses(peer: str, forwarded: str, proxies: tuple[str, ...], expected: str) -> None:
    found = connection(peer, X_Forwarded_For=forwarded) if forwarded else connection(peer)
    assert address_of(found, context(*proxies)) == expected


@pytest.mark.parametrize(
    ("headers", "public_url", "expected"),
    [
        ({}, "", True),
        ({"Origin": "http://localhost:8000", "Host": "localhost:8000"}, "", True),
        ({"Origin": "http://evil.example", "Host": "localhost:8000"}, "", False),
        ({"Origin": "null", "Host": "localhost:8000"}, "", False),
        ({"Origin": "https://desk.example.com", "Host": "10.0.0.7"}, "https://desk.example.com", True),
        ({"Origin": "http://desk.example.com", "Host": "desk.example.com"}, "https://desk.example.com", False),
        ({"Origin": "http://127.0.0.1:8000", "Host": "127.0.0.1:8000"}, "http://localhost:8000", True),
        ({"Origin": "https://10.0.0.7", "Host": "10.0.0.7"}, "https://desk.example.com", False),
        ({"Sec_Fetch_Site": "same-origin"}, "", True),
        ({"Sec_Fetch_Site": "cross-site"}, "", False),
    ],
)
def test_pages_of_others_are_told_apart(headers: dict[str, str], public_url: str, expected: bool) -> None:
    assert is_same_origin(connection("127.0.0.1", **headers), context(public_url=public_url)) is expected


def test_a_proxy_that_adds_a_line_of_its_own_is_believed_over_what_was_sent_before() -> None:
    """Only the first line was read: who sent one chose the address that was counted (found by attack)."""
    lines = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"203.0.113.9")]
    scope = {"type": "http", "client": ("10.0.0.5", 1), "headers": lines}
    assert address_of(HTTPConnection(scope), context("10.0.0.5")) == "203.0.113.9"


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("2001:db8:0:7::1", "2001:db8:0:7::/64"),
        ("2001:db8:0:7:ffff:ffff:ffff:ffff", "2001:db8:0:7::/64"),
        ("2001:db8:0:8::1", "2001:db8:0:8::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("nonsense", "nonsense"),
    ],
)
def test_strangers_are_counted_by_the_network_that_one_host_is_given(address: str, counted: str) -> None:
    """One host has 2^64 addresses of IPv6, and had as many limits (found by attack)."""
    assert network_of(address) == counted


def test_a_crowd_of_strangers_has_little_and_whoever_comes_newly_enough() -> None:
    """Fifty addresses had a thousand requests a second together, which took a core from trading (finding 2)."""
    now = {"s": 0.0}
    limiter = RateLimiter(lambda: now["s"])
    served = 0
    for tick in range(1_000):
        now["s"] = tick / 100
        served += sum(not limiter.stranger_wait_s("page", f"198.51.100.{n}") for n in range(50))
    bounds = 600 + 150 * 10 + 50 * (30 + 1 * 10)
    assert served <= bounds < 50 * (100 + 20 * 10), "ten seconds of fifty addresses"
    assert [limiter.stranger_wait_s("page", "203.0.113.9") for _ in range(25)] == [0.0] * 25, "a page and its parts"

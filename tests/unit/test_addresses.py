"""How this machine reaches the platform that it runs (A2)."""

import pytest

from aether.compose.addresses import local_url_of


@pytest.mark.parametrize(
    ("listens_on", "reached_at"),
    [
        ("127.0.0.1", "http://127.0.0.1:8420"),
        ("0.0.0.0", "http://127.0.0.1:8420"),
        ("10.1.2.3", "http://10.1.2.3:8420"),
        ("::", "http://[::1]:8420"),
        ("::1", "http://[::1]:8420"),
    ],
)
def test_this_machine_reaches_the_platform_where_it_listens(listens_on: str, reached_at: str) -> None:
    assert local_url_of(listens_on, 8420) == reached_at

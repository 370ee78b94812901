"""What tests of the platform and of its pages need."""

from collections.abc import Iterator

import pytest

from tests.running_exchange import RunningExchange


@pytest.fixture(scope="module")
def exchange() -> Iterator[RunningExchange]:
    """Venues to trade at and to try keys at."""
    made = RunningExchange()
    yield made
    made.stop()

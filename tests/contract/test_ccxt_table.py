"""The page about ccxt is made of the tables that its tests run by."""

from tests.contract.ccxt_table import PAGE, page


def test_the_page_about_ccxt_is_current() -> None:
    assert PAGE.read_text() == page(), "run: make docs"

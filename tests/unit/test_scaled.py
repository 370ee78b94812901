"""Exact numbers: text conversion and the arithmetic of money (design decision 4)."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.domain.errors import InvalidValueError
from aether.domain.scaled import (
    AMOUNT_DECIMALS,
    average_price,
    fee_of,
    format_scaled,
    mul_div_ceil,
    mul_div_round,
    notional_of,
    parse_scaled,
    ratio_bps,
    round_down,
    round_up,
    size_for_notional,
    value_of,
)

units = st.integers(-(10**20), 10**20)
positive = st.integers(1, 10**14)
decimals = st.integers(0, 10)


@given(units, st.integers(0, 18))
def test_text_and_back_is_the_same_number(value: int, places: int) -> None:
    assert parse_scaled(format_scaled(value, places), places) == value


@pytest.mark.parametrize(
    ("text", "places", "expected"),
    [("46319.5", 1, 463195), ("-0.01", 2, -1), ("1e-7", 8, 10), ("5", 0, 5), ("0.30", 1, 3)],
)
def test_parses_decimal_text(text: str, places: int, expected: int) -> None:
    assert parse_scaled(text, places) == expected


@pytest.mark.parametrize("text", ["", "abc", "nan", "inf", "1,5", "0x10"])
def test_refuses_what_is_no_number_naming_it(text: str) -> None:
    with pytest.raises(InvalidValueError, match="not a decimal number") as caught:
        parse_scaled(text, 2)
    assert repr(text) in caught.value.message


def test_refuses_digits_that_do_not_fit() -> None:
    with pytest.raises(InvalidValueError, match=r"1\.234 has more than 2 decimals"):
        parse_scaled("1.234", 2)


@given(positive, positive, decimals, st.integers(0, 8))
def test_notional_is_price_times_size_rounded_half_up(price: int, size: int, pd: int, sd: int) -> None:
    exact = Fraction(price * size, 10 ** (pd + sd)) * 10**AMOUNT_DECIMALS
    assert notional_of(price, size, pd, sd) == math.floor(exact + Fraction(1, 2))


@given(st.integers(0, 10**18), positive, decimals, st.integers(0, 8))
def test_size_for_notional_is_the_largest_that_fits(notional: int, price: int, pd: int, sd: int) -> None:
    size = size_for_notional(notional, price, pd, sd)
    budget = Fraction(notional * 10 ** (pd + sd), 10**AMOUNT_DECIMALS)
    assert price * size <= budget < price * (size + 1)


@given(st.integers(0, 10**20), st.integers(0, 10_000))
def test_fee_is_rounded_half_up(notional: int, rate_ppm: int) -> None:
    assert fee_of(notional, rate_ppm) == math.floor(Fraction(notional * rate_ppm, 10**6) + Fraction(1, 2))


@given(st.integers(0, 10**18), positive, positive)
def test_rounded_division_brackets_the_exact_value(a: int, b: int, c: int) -> None:
    assert abs(mul_div_round(a, b, c) * c - a * b) * 2 <= c
    assert 0 <= mul_div_ceil(a, b, c) * c - a * b < c


@given(st.integers(0, 10**15), positive)
def test_rounding_to_steps(value: int, step: int) -> None:
    assert round_down(value, step) <= value <= round_up(value, step)
    assert round_down(value, step) % step == round_up(value, step) % step == 0
    assert round_up(value, step) - round_down(value, step) in (0, step)


def test_a_ratio_over_its_limit_is_never_rounded_to_the_limit() -> None:
    assert ratio_bps(20_001, 1_000_000) == 201


def test_value_of_a_holding() -> None:
    assert value_of(150_000_000, 5_000_000, 2) == 75_000 * 10**8


@given(price=st.integers(1, 10**9), size=st.integers(10**5, 10**12), decimals=st.integers(0, 4))
def test_what_was_bought_at_one_price_has_that_average(price: int, size: int, decimals: int) -> None:
    """A sale at 63,787.6 was shown at an average of 63,787.5."""
    assert average_price(value_of(size, price, decimals), size, decimals) == price

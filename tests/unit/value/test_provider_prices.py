"""A provider's price list: exact, closed, and what a request costs by it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lode.core.errors import BillingError
from lode.value.provider_prices import parse

GOOD = """
provider = "example"
version = "2026-11-01"
currency = "USD"
[models.small-4]
input = "0.15"
cached_input = "0.075"
output = "0.60"
[models.vectors]
input = "0.02"
request = 1
"""


def test_a_list_is_read_exactly() -> None:
    found = parse(GOOD, "prices.toml")
    assert (found.provider, found.version, found.currency) == ("example", "2026-11-01", "USD")
    assert found.models["small-4"].input == 150_000_000_000
    assert found.models["vectors"].cached_input == found.models["vectors"].input, "no discount is the whole price"
    assert found.models["vectors"].request == 10**12


counts = st.integers(0, 10**9)


@given(counts, counts, counts, st.integers(0, 10))
def test_a_cost_is_the_exact_one_rounded_up(prompt: int, cached: int, output: int, requests: int) -> None:
    units = {"input_tokens": prompt, "cached_tokens": cached, "output_tokens": output, "requests": requests}
    found = parse(GOOD, "prices.toml").cost("small-4", units)
    known = min(prompt, cached)
    exact = Fraction((prompt - known) * 150 + known * 75 + output * 600, 1000) / 10**6 * 10**12
    assert 0 <= found - exact < 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('input = "0.15"', "input = 0.15"), "not exact"),
        (('input = "0.15"', 'input = "-1"'), "allowed: 0 or more"),
        (('input = "0.15"', 'input = "NaN"'), "wanted an amount"),
        (('input = "0.15"', 'input = "1e-3"'), "wanted an amount"),
        (('input = "0.15"', 'inputs = "0.15"'), 'Did you mean "input"'),
        (('"USD"', '"usd"'), "ISO 4217"),
        (('currency = "USD"', ""), "ISO 4217"),
        (('provider = "example"', 'provider = "a@b"'), "provider"),
        (('version = "2026-11-01"', "version = 3"), "version"),
        (("[models.small-4]", "[models.small-4"), "no TOML"),
        (("version", "vesrion"), 'Did you mean "version"'),
    ],
)
def test_what_is_no_price_list_is_refused(change: tuple[str, str], words: str) -> None:
    with pytest.raises(BillingError, match=r"prices\.toml|ISO") as caught:
        parse(GOOD.replace(*change), "prices.toml")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text", ['provider="x"\nversion="1"\ncurrency="EUR"\n', 'provider="x"\nversion="1"\ncurrency="EUR"\n[models.a]\n']
)
def test_a_list_without_a_price_is_refused(text: str) -> None:
    with pytest.raises(BillingError, match="found"):
        parse(text, "prices.toml")

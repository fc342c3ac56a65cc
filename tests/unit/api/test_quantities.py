"""Written quantities and their exact values."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_api.quantities import (
    DURATION_PATTERN,
    NANO_USD,
    POSITIVE_DURATION_PATTERN,
    WrittenDuration,
    minutes_of_day,
    nano_to_usd,
    storage_bytes,
    usd_to_nano,
)
from overspill_api.scaling import Scaling


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("500ms", 0.5), ("1.5s", 1.5), ("1h30m", 5400), ("0m1s", 1), ("10m", 600)]
)
def test_durations(text: str, seconds: float) -> None:
    """Parts add up."""
    assert WrittenDuration(text).seconds == seconds


@pytest.mark.parametrize("text", ["", "1", "1d", "s", "-1s", "1s ", "1s\n", "1..5s", "1 s"])
def test_what_is_no_duration_is_named(text: str) -> None:
    """The error quotes the text and says how to write it."""
    with pytest.raises(ValueError, match="is not a duration; write a number"):
        WrittenDuration(text)


def test_a_duration_of_a_document_is_read_when_that_is_accepted() -> None:
    """From then on its seconds are there, of a default as of a written one; the document keeps its text."""
    scaling = Scaling.model_validate({"idleAfter": "1h30m"})

    assert (scaling.idle_after.seconds, Scaling().idle_after.seconds) == (5400.0, 600.0)
    assert scaling.model_dump_json(by_alias=True, include={"idle_after"}) == '{"idleAfter":"1h30m"}'
    assert scaling.model_copy(deep=True).idle_after.seconds == 5400.0


@given(st.from_regex(DURATION_PATTERN, fullmatch=True).map(str.strip))
def test_positive_durations_are_those_above_zero(text: str) -> None:
    """The pattern for durations above zero takes exactly the durations whose value is above zero."""
    ascii_text = text.encode("ascii", "ignore").decode()
    if ascii_text != text or re.fullmatch(DURATION_PATTERN, text) is None:
        return
    assert (re.fullmatch(POSITIVE_DURATION_PATTERN, text) is not None) == (WrittenDuration(text).seconds > 0)


@pytest.mark.parametrize(("text", "minutes"), [("00:00", 0), ("08:30", 510), ("23:59", 1439)])
def test_times_of_day(text: str, minutes: int) -> None:
    """Minutes since midnight."""
    assert minutes_of_day(text) == minutes


@pytest.mark.parametrize("text", ["24:00", "8:00", "08:60", "0800", "08:00\n", ""])
def test_what_is_no_time_of_day_is_named(text: str) -> None:
    """The error quotes the text and says how to write it."""
    with pytest.raises(ValueError, match="is not a time of day"):
        minutes_of_day(text)


@given(st.integers(min_value=0, max_value=10**17))
def test_money_survives_writing_and_reading(nano_usd: int) -> None:
    """No nano-dollar is lost between the integer and the decimal text."""
    assert usd_to_nano(nano_to_usd(nano_usd)) == nano_usd


@pytest.mark.parametrize(
    ("text", "number"),
    [("1Ki", 1024), ("20Gi", 20 * 2**30), ("1.5Mi", 3 * 2**19), ("2k", 2000), ("3G", 3 * 10**9), ("1P", 10**15)],
)
def test_sizes(text: str, number: int) -> None:
    """With i by powers of 1024, without by powers of 1000."""
    assert storage_bytes(text) == number


@pytest.mark.parametrize("text", ["", "20", "Gi", "0Gi", "-1Gi", "1 Gi", "1GB", "1K", "1Gi\n"])
def test_what_is_no_size_is_named(text: str) -> None:
    """With what to write."""
    with pytest.raises(ValueError, match=re.escape(f'"{text}" is not a size; write a number with a unit')):
        storage_bytes(text)


def test_money_in_texts() -> None:
    """Dollars as people write them; at least two decimals when written."""
    assert usd_to_nano("0.15") == 150_000_000
    assert usd_to_nano("500") == 500 * NANO_USD
    assert nano_to_usd(1) == "0.000000001"
    assert nano_to_usd(12 * NANO_USD) == "12.00"


@pytest.mark.parametrize("text", ["$1", "1,5", "-1", "1e3", "", ".5", "1."])
def test_what_is_no_amount_is_named(text: str) -> None:
    """The error quotes the text and says how to write it."""
    with pytest.raises(ValueError, match="is not an amount of US dollars"):
        usd_to_nano(text)

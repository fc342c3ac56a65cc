"""The levels of both processes' logs."""

import pytest

from overspill_api.log_levels import LOG_LEVELS, read_log_level


def test_a_level_may_be_written_in_any_case() -> None:
    """As people write it."""
    assert [read_log_level(level.lower()) for level in LOG_LEVELS] == [*LOG_LEVELS]


@pytest.mark.parametrize("text", ["", "LOUD", "notset", "10"])
def test_another_word_is_refused_with_those_that_there_are(text: str) -> None:
    """So that whoever wrote it knows what to write."""
    with pytest.raises(ValueError, match="DEBUG, INFO, WARNING, ERROR, CRITICAL"):
        read_log_level(text)

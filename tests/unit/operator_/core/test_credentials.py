"""Keys in Secrets: what can be sent is taken, what cannot is named with what mends it, and no key is ever told."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_api.credentials import api_key_problem
from overspill_operator.core.credentials import read_api_key, secret_names
from unit.operator_.core.builders import route


def stored(content: bytes) -> dict[str, str]:
    """A Secret's data with one key."""
    return {"k": b64encode(content).decode()}


@pytest.mark.parametrize("content", [b"sk-1", b"sk-1\n", b"sk-1\r\n", b"\tsk-1 "])
def test_line_ends_around_a_key_are_no_part_of_it(content: bytes) -> None:
    """`echo key | kubectl create secret --from-file` leaves one."""
    assert read_api_key(stored(content), "k").text == "sk-1"


@pytest.mark.parametrize("content", [b"", b" ", b"\r\n"])
def test_an_empty_key_is_none(content: bytes) -> None:
    """Nothing but blanks is as if it were not there."""
    assert read_api_key(stored(content), "k") == read_api_key({}, "k")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"sk-1\r\nx-evil: 1", "line break"),
        (b"sk-1\nx-evil: 1", "line break"),
        (b"sk\x00-1", "control character"),
        (b"sk-1\x7f", "control character"),
        (b"\xef\xbb\xbfsk-1", "byte order mark"),
        ("sk-\u200b1".encode(), "not ASCII (the 4. one)"),
        ("sk\u20111".encode(), "not ASCII"),
        ("schlüssel".encode(), "not ASCII"),
        ("\u00a0sk-1".encode(), "not ASCII"),
        (b"Bearer sk-1", "has a space"),
        (b"\xff\xfes\x00k\x00", "UTF-8"),
        (b"x" * 8193, "8192"),
    ],
)
def test_what_no_header_can_carry_is_named(content: bytes, says: str) -> None:
    """The person reads what is wrong and what mends it, and never the key."""
    read = read_api_key(stored(content), "k")
    assert read.text is None
    assert says in read.problem
    assert "sk" not in read.problem


@given(st.text(min_size=1, max_size=40))
def test_whatever_passes_is_one_header_line(text: str) -> None:
    """No text that passes can end the line, or be something else in latin-1 than it is here."""
    if api_key_problem(text) is None:
        line = f"authorization: Bearer {text}\r\n".encode("latin-1")
        assert line.count(b"\n") == line.count(b"\r") == 1
        assert line.decode("utf-8") == line.decode("latin-1")


def test_a_route_names_credentials_and_the_source_and_nothing_else() -> None:
    """The operator reads these on its behalf."""
    spec = route("""
        selfHosted: {source: hf://a/b, profile: cpu, sourceSecretName: weights}
        hosted:
        - {name: a, baseURL: "https://x.test/v1", model: m, credentials: {secretName: one}}
        - {name: b, baseURL: "https://x.test/v1", model: m}
    """).spec
    assert secret_names(spec) == {"one", "weights"}
    assert secret_names(None) == frozenset()

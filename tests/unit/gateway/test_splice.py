"""Splicing changes what it is told to and not one byte besides."""

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.text.splice import FIELDS_MAX, BodyError, field_spans, with_fields

NAMES = st.text(max_size=6) | st.sampled_from(["model", "stream", "stream_options", "max_tokens", '"', "\\", "{", "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8) | st.sampled_from(['"model":', "}", "]", "\\", '\\"', ","]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
SPACES = st.text(alphabet=" \t\r\n", max_size=2)
MEMBERS = st.lists(st.tuples(NAMES, VALUES), max_size=6)


@st.composite
def bodies(draw: st.DrawFn, *, unique: bool) -> tuple[bytes, list[tuple[str, Any]]]:
    """A JSON object in any layout, with any escapes, and its members in their order."""
    members = draw(MEMBERS)
    if unique:
        members = list(dict(members).items())
    ascii_only = draw(st.booleans())
    text = draw(SPACES) + "{" + draw(SPACES)
    for number, (name, value) in enumerate(members):
        text += draw(SPACES) + "," + draw(SPACES) if number else ""
        key = json.dumps(name, ensure_ascii=ascii_only)
        if draw(st.booleans()):  # any character of a string may be written as an escape
            key = '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else c for c in name) + '"'
        separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
        indent = draw(st.sampled_from([None, 2]))
        text += key + draw(SPACES) + ":" + draw(SPACES)
        text += json.dumps(value, ensure_ascii=ascii_only, separators=separators, indent=indent)
    return (text + draw(SPACES) + "}" + draw(SPACES)).encode("utf-8", "surrogatepass"), members


def is_utf8(body: bytes) -> bool:
    """Whether a body is JSON at all: half a surrogate pair is not."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return b"\\ud" not in body


def pairs(body: bytes) -> list[tuple[str, Any]]:
    """Members of a JSON object in their order, with those that come twice."""
    found: list[tuple[str, Any]] = json.loads(body, object_pairs_hook=lambda items: items)
    return found


@given(bodies(unique=True))
def test_every_value_is_found_where_it_stands(body_and_members: tuple[bytes, list[tuple[str, Any]]]) -> None:
    """For any object in any layout, the text between the offsets is the value."""
    body, members = body_and_members
    if not is_utf8(body):
        return

    spans = field_spans(body)

    assert list(spans) == [name for name, _ in members]
    for name, value in members:
        start, end = spans[name]
        assert json.loads(body[start:end]) == value
        assert body[start:end].strip() == body[start:end]


@given(bodies(unique=False))
def test_a_field_that_comes_twice_is_refused(body_and_members: tuple[bytes, list[tuple[str, Any]]]) -> None:
    """However its two keys are written and whatever its values are: two parsers could read two requests."""
    body, members = body_and_members
    if not is_utf8(body):
        return
    names = [name for name, _ in members]
    if len(set(names)) == len(names):
        assert list(field_spans(body)) == names
        return

    with pytest.raises(BodyError) as caught:
        field_spans(body)

    assert caught.value.error.code == "duplicate_field"


@given(bodies(unique=True), st.dictionaries(NAMES, VALUES, max_size=4))
def test_setting_fields_changes_these_and_nothing_else(
    body_and_members: tuple[bytes, list[tuple[str, Any]]], fields: dict[str, Any]
) -> None:
    """What is there is replaced in its place, what is not is put first, everything else keeps its bytes."""
    body, _ = body_and_members
    raw = {name: json.dumps(value).encode() for name, value in fields.items()}
    if not is_utf8(body) or not all(is_utf8(name.encode("utf-8", "surrogatepass")) for name in fields):
        return
    if not all(is_utf8(value) for value in raw.values()):
        return

    changed = with_fields(body, raw)

    before = pairs(body)
    there = {name for name, _ in before}
    new = [(name, json.loads(raw[name], object_pairs_hook=lambda items: items)) for name in fields if name not in there]
    old = [
        (name, json.loads(raw[name], object_pairs_hook=lambda items: items) if name in fields else value)
        for name, value in before
    ]
    assert pairs(changed) == new + old
    position = 0
    for name, (start, end) in field_spans(body).items():  # the bytes of every other value are still there, in order
        if name not in fields:
            position = changed.index(body[start:end], position) + end - start
    if not fields:
        assert changed == body


def test_nested_duplicates_are_nobodys_business() -> None:
    """Only top-level fields are read here: what an engine makes of nested ones is its own."""
    body = b'{"model":"a","x":{"y":1,"y":2,"model":"b"},"z":[{"model":"c"}]}'

    assert with_fields(body, {"model": b'"n"'}) == body.replace(b'"a"', b'"n"')


def test_a_key_inside_a_longer_value_of_a_twin_does_not_mislead() -> None:
    """The last value's length applied to the first one may end at a nested comma: that is still seen as a twin."""
    body = b'{"a":{"q":1,"b":2},"b":3,"a":{"q":1}}'

    with pytest.raises(BodyError):
        field_spans(body)


@pytest.mark.parametrize("gap", [b"", b" "])
def test_no_text_in_a_later_value_makes_up_for_a_twin(gap: bytes) -> None:
    """A twin's value may repeat the keys between, with white space for the bytes that the first one lacks."""
    for fields, spaces in product(range(1, 12), range(20)):
        names = [b"model", *(b"f%d" % number for number in range(fields))]
        between = b"".join(b',"%b":11' % name for name in names)
        again = b"".join(b',%b"%b":%b11' % (gap, name, gap + b" " * spaces * (name == b"model")) for name in names)
        twins = b',"z":%b{"q":1%b}' % (gap, again[:-1])
        body = b'{"messages":%b[],%b"z":%b1%b%b}' % (gap, gap, gap, between, twins)

        with pytest.raises(BodyError):
            field_spans(body)


def test_too_many_fields_are_refused() -> None:
    """Looking through a body costs as much as it has fields: there is a bound."""
    body = json.dumps({f"f{number}": number for number in range(FIELDS_MAX + 1)}).encode()

    with pytest.raises(BodyError) as caught:
        field_spans(body)

    assert caught.value.error.code == "too_many_fields"

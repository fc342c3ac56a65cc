"""Reading and splicing bodies: only the model's name changes, and there is no doubt about which name it is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.body import BodyError, json_string, read_body, with_model

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text() | st.sampled_from(["model", '"model":', "\\"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("model"), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text().filter(lambda key: key not in {"model", "stream"}), JSON, max_size=5)
NAMES = st.text(min_size=1, max_size=20)


def shuffled(document: dict[str, Any], model: str, position: int) -> dict[str, Any]:
    """The document with a model at some position among its keys."""
    items = list(document.items())
    items.insert(position % (len(items) + 1), ("model", model))
    return dict(items)


@given(OBJECTS, NAMES, NAMES, st.integers(0, 5), st.booleans(), st.sampled_from([None, 1, 4]))
def test_splicing_changes_the_model_and_nothing_else(
    document: dict[str, Any],
    model: str,
    other: str,
    position: int,
    escaped: bool,  # noqa: FBT001
    indent: int | None,
) -> None:
    """For any JSON object, in any layout: what is read back differs in the top-level model only."""
    whole = shuffled(document, model, position)
    body = json.dumps(whole, ensure_ascii=escaped, indent=indent).encode("utf-8", "surrogatepass")
    try:
        body.decode()
    except UnicodeDecodeError:
        return

    facts = read_body(body)
    spliced = with_model(body, facts, json_string(other))

    assert facts.model == model
    assert json.loads(spliced) == whole | {"model": other}
    assert list(json.loads(spliced)) == list(whole)


@given(OBJECTS, NAMES, NAMES)
def test_two_models_are_refused(document: dict[str, Any], first: str, second: str) -> None:
    """A body with two top-level models could be read as either: it is refused, however the key is written."""
    for key in ('"model"', '"mod\\u0065l"', '"\\u006Dodel"'):
        rest = json.dumps(document)[1:-1]
        parts = [f'"model": {json.dumps(first)}', *([rest] if rest else []), f"{key}: {json.dumps(second)}"]
        body = ("{" + ", ".join(parts) + "}").encode()

        with pytest.raises(BodyError) as caught:
            read_body(body)

        assert caught.value.error.code == "duplicate_field"


@pytest.mark.parametrize(
    "body",
    [
        b'{"tools": [{"model": "x"}], "model": "a"}',
        b'{"model": "a", "metadata": {"model": "b", "deeper": {"model": "c"}}}',
        b'{"mod\\u0065l": "a"}',
        b'{"user": "model", "model": "a"}',
        b'{"stop": ["model", "]", "}"], "model" : "a"}',
        b'  {\n"model"\t:\r\n"a"}  ',
    ],
)
def test_only_the_top_level_model_counts(body: bytes) -> None:
    """Nested models, values that say model, and escaped keys do not mislead."""
    facts = read_body(body)

    assert facts.model == "a"
    assert json.loads(with_model(body, facts, b'"new"')) == json.loads(body) | {"model": "new"}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b'{"model": "a"} x', "invalid_json", None),
        (b"\xff\xfe", "invalid_json", None),
        (b"[" * 100_000, "invalid_type", None),
        (b'{"x": ' + b"[" * 100_000, "invalid_json", None),
        (b"[]", "invalid_type", None),
        (b'"model"', "invalid_type", None),
        (b"{}", "missing_model", "model"),
        (b'{"model": null}', "missing_model", "model"),
        (b'{"model": ""}', "missing_model", "model"),
        (b'{"model": 3}', "invalid_type", "model"),
        (b'{"model": ["a"]}', "invalid_type", "model"),
        (b'{"model": "a", "stream": "yes"}', "invalid_type", "stream"),
    ],
)
def test_what_cannot_be_routed_is_refused(body: bytes, code: str, param: str | None) -> None:
    """Each kind of wrong body has its own code, and names the field that is wrong."""
    with pytest.raises(BodyError) as caught:
        read_body(body)

    error = caught.value.error
    assert (error.status, error.code, error.param) == (400, code, param)


@pytest.mark.parametrize(("text", "stream"), [("true", True), ("false", False), ("null", False)])
def test_the_stream_flag(text: str, stream: bool) -> None:  # noqa: FBT001
    """Only true streams."""
    assert read_body(b'{"model": "a", "stream": %b}' % text.encode()).stream is stream

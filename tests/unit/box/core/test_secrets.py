"""Secrets of one machine: read as the API server reads them."""

from base64 import b64encode
from typing import Any

import pytest

from overspill_box.core.secrets import Secret, SecretError, read_secret
from overspill_operator.core.credentials import read_api_key

META = {"name": "keys"}


def encoded(text: str) -> str:
    """Base64 of it."""
    return b64encode(text.encode()).decode()


def test_string_data_wins_over_data() -> None:
    """As kubectl apply has it."""
    document = {"metadata": META, "data": {"a": encoded("1"), "b": encoded("2")}, "stringData": {"b": "three"}}
    secret = read_secret(document)
    assert secret.data == {"a": b"1", "b": b"three"}
    assert (secret.namespace, secret.key) == ("default", "default/keys")
    assert read_secret({"metadata": META | {"namespace": "chat"}}).key == "chat/keys"
    assert "three" not in repr(secret)


def test_line_breaks_in_base64_are_no_mistake() -> None:
    """Tools wrap it."""
    assert read_secret({"metadata": META, "data": {"a": encoded("text")[:4] + "\n" + encoded("text")[4:]}}).data == {
        "a": b"text"
    }


def test_its_keys_are_read_as_those_of_a_cluster() -> None:
    """The operator's reading of API keys takes its form."""
    secret = read_secret({"metadata": META, "stringData": {"api-key": "sk-1\n"}})
    assert read_api_key(secret.encoded, "api-key").text == "sk-1"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "a Secret has no metadata.name"),
        ({"metadata": "x"}, "a Secret has no metadata.name"),
        ({"metadata": {"name": 5}}, "a Secret has no metadata.name"),
        (
            {"data": {"k": "sk-not-base64!"}},
            "Secret keys: data.k is not base64; write plain text into stringData instead",
        ),
        ({"data": ["a"]}, "Secret keys: data is no mapping from keys to texts"),
        ({"stringData": {"k": 5}}, "Secret keys: stringData.k is no text; put quotes around it"),
    ],
)
def test_mistakes_are_told_without_what_is_in_it(document: dict[str, Any], message: str) -> None:
    """What is wrong, where, and what mends it."""
    complete = document if "metadata" in document or not document else {"metadata": META, **document}
    with pytest.raises(SecretError) as caught:
        read_secret(complete)
    assert str(caught.value) == message
    assert "sk-" not in str(caught.value)


def test_as_variables_of_an_engine_contents_are_text() -> None:
    """Bytes that are none, and zero bytes, are told."""
    assert Secret("ns", "s", {"HF_TOKEN": b"hf"}).environment() == {"HF_TOKEN": "hf"}
    with pytest.raises(SecretError, match="Secret ns/s: A is not text in UTF-8"):
        Secret("ns", "s", {"A": b"\xff"}).environment()
    with pytest.raises(SecretError, match="Secret ns/s: A has a zero byte in it"):
        Secret("ns", "s", {"A": b"a\0b"}).environment()

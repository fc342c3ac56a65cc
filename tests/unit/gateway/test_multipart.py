"""Multipart forms: the model is found, files are skipped, and what two parsers could read in two ways is refused."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.dialects.endpoints import Endpoint, endpoint_of
from overspill_gateway.core.requests.body import BodyError, BodyFacts, read_body

AUDIO = endpoint_of(b"/v1/audio/transcriptions")
END = b"--xyz--\r\n"
TYPE = b"multipart/form-data; boundary=xyz"


def read(body: bytes, content_type: bytes = TYPE) -> BodyFacts:
    """The facts of a form."""
    assert isinstance(AUDIO, Endpoint)
    return read_body(body, AUDIO, content_type)


def part(head: str, content: bytes) -> bytes:
    """One part of a form."""
    return b"--xyz\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"


def field(name: str, content: bytes) -> bytes:
    """One field of a form."""
    return part(f'Content-Disposition: form-data; name="{name}"', content)


@given(st.binary(max_size=200), st.text(alphabet="abcdefghij-./", min_size=1, max_size=20), st.booleans())
def test_a_form_as_clients_send_it(audio: bytes, model: str, streams: bool) -> None:  # noqa: FBT001
    """With any file in it, the model's name stands where the offsets say."""
    request = httpx.Request(
        "POST",
        "http://gateway/v1/audio/transcriptions",
        files={"file": ("speech.wav", audio, "audio/wav")},
        data={"model": model, "stream": str(streams).lower(), "language": "de"},
    )
    body = request.read()

    facts = read(body, request.headers["content-type"].encode())

    assert (facts.model, facts.stream, facts.form) == (model, streams, True)
    assert body[facts.model_start : facts.model_end] == model.encode()


def test_a_form_without_a_model_says_so() -> None:
    """Then the model has to be named elsewhere."""
    facts = read(field("language", b"de") + b"--xyz--\r\n")

    assert (facts.model, facts.model_end) == ("", 0)


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (field("model", b"a") + field("model", b"b") + b"--xyz--\r\n", TYPE, "duplicate_field"),
        (part('Content-Disposition: form-data; name="model"; filename="x"', b"a") + END, TYPE, "duplicate_field"),
        (field("model", b"a" * 2000) + b"--xyz--", TYPE, "duplicate_field"),
        (part("Content-Disposition: form-data; name=model", b"a") + b"--xyz--", TYPE, "invalid_multipart"),
        (part('Content-Disposition: form-data; name="mo\\del"', b"a") + b"--xyz--", TYPE, "invalid_multipart"),
        (part("X: y", b"a") + b"--xyz--", TYPE, "invalid_multipart"),
        (part('Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="model"', b"a"), TYPE,
         "invalid_multipart"),
        (field("model", b"a"), TYPE, "invalid_multipart"),
        (field("model", b"a") + b"--xyzz\r\n", TYPE, "invalid_multipart"),
        (b"preamble\r\n" + field("model", b"a") + b"--xyz--", TYPE, "invalid_multipart"),
        (field("model", b"a") + b"--xyz--", b"multipart/form-data", "invalid_multipart"),
        (field("model", b"a") + b"--xyz--", b"multipart/form-data; boundary=xyz; boundary=abc", "invalid_multipart"),
        (field("a", b"") * 65 + b"--xyz--", TYPE, "invalid_multipart"),
        (field("model", b"\xff") + b"--xyz--", TYPE, "invalid_body"),
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_refused(body: bytes, content_type: bytes, code: str) -> None:
    """Two models, a model as a file, a name without quotation marks, no end, another boundary, ..."""
    with pytest.raises(BodyError) as caught:
        read(body, content_type)

    assert caught.value.error.code == code

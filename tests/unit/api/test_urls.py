"""Base URLs: what passes can be asked by the gateway, what cannot be asked is refused where it is written."""

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from overspill_api.compiled import HostedBackend
from overspill_api.urls import HTTP_URL_PATTERN, BaseUrl

URL = TypeAdapter[str](BaseUrl)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "http://vllm.other.svc:8000",
        "http://vllm.other.svc.cluster.local.:8000/v1/",
        "http://10.0.0.1:65535/v1",
        "http://[::1]:8080/v1",
        "http://[2001:db8::8:800:200c:417a]/v1",
        "https://x.openai.azure.com/openai/deployments/gpt%204o",
        "https://models.example/models",
        "https://x.test/v1beta/openai",
        "http://my_service:8000/a/@b/v1.0,x;y=1",
    ],
)
def test_a_url_that_can_be_asked(url: str) -> None:
    """Names, addresses of both kinds, ports, paths; a port that is a number in range."""
    assert URL.validate_python(url) == url
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port is None or 0 < parts.port < 65536


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com:99999/v1",
        "https://x:65536/v1",
        "https://x:0/v1",
        "https://x:abc/v1",
        "https://x:/v1",
        "https://x:８０/v1",  # noqa: RUF001 - digits of another script
        "http://[::1/v1",
        "http://[abc/v1",
        "http://[::1]]/v1",
        "http://[1::2::3]/v1",
        "http://[fe80::1%25eth0]/v1",
        "http://::1/v1",
        "https://exämple.test/v1",
        "https://例え.test/v1",
        "https:///v1",
        "https://",
        "https://.test/v1",
        "https://a..b/v1",
        "https://-a.test/v1",
        f"https://{'a' * 64}.test/v1",
        "https://ex%61mple.test/v1",
        "https://x.test/%zz",
        "https://x.test/%0d%0aHost:y",
        "https://x.test/a b",
        "https://x.test/v1\n",
        "https://x.test/v1\r\nHost: y",
        "https://x.test/\u00a0v1",
        "https://me:secret@x.test/v1",
        "https://x.test/v1?key=1",
        "https://x.test/v1#a",
        "HTTPS://x.test/v1",
        "ftp://x.test/v1",
        "//x.test/v1",
    ],
)
def test_a_url_that_cannot_be_asked(url: str) -> None:
    """It is refused as a person writes it, and in a document by the gateway."""
    with pytest.raises(ValidationError, match="is not the base URL of an API"):
        URL.validate_python(url)
    with pytest.raises(ValidationError, match="is not the base URL of an API"):
        HostedBackend(name="a", base_url=url, model="m")


@pytest.mark.parametrize(
    "end",
    [
        "chat/completions",
        "completions",
        "responses/",
        "embeddings",
        "messages",
        "messages/count_tokens",
        "images/edits",
    ],
)
def test_the_path_of_an_endpoint_is_no_base(end: str) -> None:
    """The gateway would append it once more; the message says what to write."""
    with pytest.raises(ValidationError, match="which the gateway appends itself; write the base URL before it"):
        URL.validate_python(f"https://api.example.test/v1/{end}")


@given(st.from_regex(re.compile(HTTP_URL_PATTERN, re.ASCII), fullmatch=True))
def test_whatever_passes_can_be_taken_apart(url: str) -> None:
    """Nothing that the pattern takes makes the parser raise, or a head of more than one line."""
    if re.fullmatch(HTTP_URL_PATTERN, url) is None:
        return  # the generator reads ``$`` as Python does without fullmatch
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port is None or 0 < parts.port < 65536
    f"host: {parts.netloc}".encode("ascii")
    parts.hostname.encode("idna")
    assert url.isprintable()

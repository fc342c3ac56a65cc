"""What ``serve`` is told: read, and said in a sentence where it can't be."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from overspill_box.processes.free_port import free_port
from overspill_box.settings import ADMIN_LISTEN, ServeError, ServeOptions, read_settings
from overspill_gateway.settings import ListenAddress


@pytest.fixture
def options() -> ServeOptions:
    """Options of which nothing is wrong."""
    return ServeOptions(files=("a.yaml",), listen=f"127.0.0.1:{free_port()}", admin_listen="127.0.0.1:0")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody has."""
    with socket.socket() as endpoint:
        endpoint.bind(("127.0.0.1", 0))
        endpoint.listen()
        yield endpoint.getsockname()[1]


def test_what_is_said_is_read(options: ServeOptions) -> None:
    """Sizes, origins; the admin port is a number, since serve calls it itself."""
    more = replace(options, memory="24Gi", cors_origins="https://a, http://b:1", no_auth=True)

    settings = read_settings(more, Path("/state"))

    assert settings.memory_bytes == 24 * 2**30
    assert settings.cors_origins == ("https://a", "http://b:1")
    assert settings.admin_listen.port > 0
    assert settings.url == f"http://{options.listen}"


def test_a_usual_admin_port_that_is_taken_is_another_one(
    options: ServeOptions, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has asked for it; one that somebody has asked for is an error."""
    monkeypatch.setattr("overspill_box.settings.ADMIN_LISTEN", f"127.0.0.1:{taken}")
    assert ADMIN_LISTEN == "127.0.0.1:9090"

    assert read_settings(replace(options, admin_listen=None), Path()).admin_listen.port not in (0, taken)
    with pytest.raises(ServeError, match=f"port {taken} of 127.0.0.1 is taken"):
        read_settings(replace(options, admin_listen=f"127.0.0.1:{taken}"), Path())


def test_port_0_is_any_free_one(options: ServeOptions) -> None:
    """Which one is said before it listens."""
    assert read_settings(replace(options, listen="127.0.0.1:0"), Path()).listen.port > 0


def test_a_port_that_is_taken_is_said(options: ServeOptions, taken: int) -> None:
    """With one that might do."""
    with pytest.raises(ServeError, match=rf"is taken by another program.*--listen 127\.0\.0\.1:{taken + 1}"):
        read_settings(replace(options, listen=f"127.0.0.1:{taken}"), Path())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"listen": "8080"}, "--listen '8080' is not host:port"),
        ({"listen": "203.0.113.9:80"}, "no address of this machine"),
        ({"listen": "0.0.0.0:0", "no_auth": True}, "--no-auth lets in everybody"),
        ({"memory": "much"}, '--memory: "much" is not a size'),
        ({"log_level": "LOUD"}, "--log-level: "),
        ({"cors_origins": "a"}, "--cors-origins: 'a' is not an origin"),
        ({"secrets": "/nowhere"}, "--secrets /nowhere: there is no such folder"),
    ],
)
def test_what_is_wrong_is_said(options: ServeOptions, change: dict[str, object], sentence: str) -> None:
    """With the flag's name."""
    with pytest.raises(ServeError) as raised:
        read_settings(replace(options, **change), Path())  # type: ignore[arg-type]  # of each case

    assert sentence in str(raised.value)


def test_an_address_is_shown_as_it_is_called(options: ServeOptions) -> None:
    """All addresses means this machine, for whoever is on it."""
    settings = read_settings(options, Path())

    assert replace(settings, listen=ListenAddress("::", 80)).url == "http://127.0.0.1:80"
    assert replace(settings, listen=ListenAddress("::1", 80)).url == "http://[::1]:80"

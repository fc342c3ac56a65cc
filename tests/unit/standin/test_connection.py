"""HTTP/1.1 as clients and gateways send it: kept alive, pipelined, chunked, in pieces, or not HTTP at all."""

import asyncio
import json

import pytest

from standin.connection import BadRequestError, parse
from standin.server import Standin
from standin.settings import Settings

POST = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n"
BODY = json.dumps({"model": "tiny", "prompt": "x", "max_tokens": 1}).encode()


def test_a_request_is_taken_only_when_it_is_whole() -> None:
    """Byte by byte there is nothing until the last byte, then exactly one request and an empty buffer."""
    whole = POST + b"content-length: 5\r\n\r\nhello"
    buffer = bytearray()
    for byte in whole[:-1]:
        buffer.append(byte)
        assert parse(buffer) is None
    buffer.append(whole[-1])
    request = parse(buffer)
    assert request is not None
    assert (request.path, request.body, request.keep_alive) == ("/v1/completions", b"hello", True)
    assert buffer == b""


def test_chunked_bodies_are_joined_and_the_rest_stays() -> None:
    """Chunk extensions and trailers are skipped; what follows is the next request's."""
    buffer = bytearray(POST + b"transfer-encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nt: 1\r\n\r\nGET /")
    request = parse(buffer)
    assert request is not None
    assert request.body == b"hello"
    assert buffer == b"GET /"


@pytest.mark.parametrize("tail", [b"0\r\n\r", b"0\r\n", b"2\r\nhe", b"2\r\nhe\r\n"])
def test_an_unfinished_chunked_body_is_waited_for(tail: bytes) -> None:
    """No half body is ever handed on."""
    assert parse(bytearray(POST + b"transfer-encoding: chunked\r\n\r\n" + tail)) is None


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        POST + b"content-length: -1\r\n\r\n",
        POST + b"content-length: ten\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_not_http_is_refused(sent: bytes) -> None:
    """Refused at once, not waited for."""
    with pytest.raises(BadRequestError):
        parse(bytearray(sent))


@pytest.mark.parametrize(
    ("version", "header", "kept"),
    [("1.1", "", True), ("1.1", "close", False), ("1.0", "", False), ("1.0", "keep-alive", True)],
)
def test_keep_alive_follows_version_and_header(version: str, header: str, kept: bool) -> None:  # noqa: FBT001
    """HTTP/1.1 keeps the connection unless told otherwise, 1.0 closes unless told otherwise."""
    request = parse(bytearray(f"GET / HTTP/{version}\r\nconnection: {header}\r\n\r\n".encode()))
    assert request is not None
    assert request.keep_alive is kept


async def _exchange(sent: bytes) -> bytes:
    """What a stand-in sends back until it closes the connection."""
    standin = Standin(Settings(models=("tiny",), host="127.0.0.1", port=0))
    await standin.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", standin.port)
    writer.write(sent)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
        await standin.stop()


async def test_pipelined_requests_are_answered_in_order_on_one_connection() -> None:
    """Three requests in one write: three answers, the last one closing."""
    request = POST + b"content-length: %d\r\n" % len(BODY)
    got = await _exchange((request + b"\r\n" + BODY) * 2 + b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert got.count(b"HTTP/1.1 200 OK") == 3
    assert got.count(b"connection: close") == 1
    assert got.endswith(b"\r\n\r\n")


async def test_garbage_gets_400_and_the_end() -> None:
    """The connection is not left open for more of it."""
    assert (await _exchange(b"\x16\x03\x01 hello\r\n\r\n")).startswith(b"HTTP/1.1 400 Bad Request")


async def test_expect_continue_is_answered() -> None:
    """A client with a large body, as curl, waits for 100 before it sends."""
    standin = Standin(Settings(models=("tiny",), host="127.0.0.1", port=0))
    await standin.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", standin.port)
    writer.write(POST + b"expect: 100-continue\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY))
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    await writer.wait_closed()
    await standin.stop()

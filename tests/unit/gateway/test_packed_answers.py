"""Answers that come compressed although they were asked for plain: unpacked within bounds, or the coding is named."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.http.content_coding import SLICE_BYTES_MAX, Unpacker, coding_of
from unit.gateway import fault_scripts as scripts
from unit.gateway.backends import Received, Script, Wire, answers, backend, plain_head, stream_head
from unit.gateway.generated import STREAMS
from unit.gateway.harness import GatewayUnderTest

PRICE: dict[str, Any] = {"input_nano_usd_per_million": 10**9, "output_nano_usd_per_million": 2 * 10**9}
ANSWER = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}


def raw_deflate(data: bytes) -> bytes:
    """Without the frame that the standard asks for."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "GZIP": ("GZIP", gzip.compress),
    "two members": ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]) + b"\0\0"),
    "deflate": ("deflate", zlib.compress),
    "deflate without its frame": ("deflate", raw_deflate),
}


def says(body: bytes, coding: str, status: int = 200, piece: int = 1 << 30) -> Script:
    """Answer with these bytes, in pieces."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        await wire.write(plain_head(status, len(body), content_encoding=coding))
        for start in range(0, len(body), piece):
            await wire.write(body[start : start + piece])
            await asyncio.sleep(0)

    return script


def streams(events: list[bytes], coding: str, pack: Callable[[bytes], bytes]) -> Script:
    """A stream that is packed as a whole and sent in small chunks."""
    body = pack(b"".join(events))

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        await wire.write(stream_head().replace(b"\r\n\r\n", b"\r\ncontent-encoding: " + coding.encode() + b"\r\n\r\n"))
        for start in range(0, len(body), 23):
            await wire.chunk(body[start : start + 23])
        await wire.write(b"0\r\n\r\n")

    return script


async def asked(gateway: GatewayUnderTest, script: Script, **fields: Any) -> Any:
    """One request to a hosted API alone, within a budget."""
    async with backend(script) as hosted:
        budget = {"limit_nano_usd": 10**12}
        gateway.route(local=None, hosted=[hosted.hosted(**PRICE)], budget=budget, retry_attempts=2)
        answer = await gateway.post(**fields)
        return answer, len(hosted.requests)


@pytest.mark.parametrize("name", PACKERS)
async def test_a_plain_answer(gateway: GatewayUnderTest, name: str) -> None:
    """As it would have come, with its own length and without a coding."""
    coding, pack = PACKERS[name]
    body = json.dumps(ANSWER).encode()

    answer, _ = await asked(gateway, says(pack(body), coding, piece=7))

    assert (answer.status, answer.json) == (200, ANSWER)
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-length"] == str(len(body))


@pytest.mark.parametrize("name", PACKERS)
async def test_a_stream(gateway: GatewayUnderTest, name: str) -> None:
    """Events as they were packed, to the end."""
    coding, pack = PACKERS[name]
    start, output, end = STREAMS[Dialect.CHAT]

    answer, _ = await asked(gateway, streams([*start, *output, end], coding, pack), stream=True)

    assert answer.body == b"".join([*start, *output, end])
    assert "content-encoding" not in answer.headers


async def test_a_long_answer_passes_in_slices(gateway: GatewayUnderTest) -> None:
    """Megabytes out of a few kilobytes, all of them in one read."""
    document = {"choices": [{"message": {"content": "x" * (4 << 20)}, "finish_reason": "stop"}]}

    answer, _ = await asked(gateway, says(gzip.compress(json.dumps(document).encode()), "gzip"))

    assert answer.json == document


async def test_a_refusal_is_read_too(gateway: GatewayUnderTest) -> None:
    """Its words decide who is asked next."""
    retired = gzip.compress(b'{"error":{"message":"The model has been deprecated","code":"model_not_found"}}')
    async with backend(says(retired, "gzip", 404)) as first, backend(answers()) as second:
        gateway.route(local=None, hosted=[first.hosted("first"), second.hosted("second")])

        assert (await gateway.post()).served_by == "hosted/second"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br"])
async def test_a_coding_that_nobody_can_unpack_is_named(
    gateway: GatewayUnderTest, coding: str, *, stream: bool
) -> None:
    """Once: the next answer would be the same and cost as much. Another backend is asked."""
    answer, times = await asked(gateway, says(b"packed", coding), stream=stream)
    async with backend(says(b"packed", coding)) as first, backend(scripts.good) as second:
        gateway.route("two", local=None, hosted=[first.hosted("first"), second.hosted("second")])
        other = await gateway.post("two", stream=stream)

    assert (answer.status, times) == (502, 1)
    assert f"content-encoding '{coding}'" in answer.error["message"]
    assert other.served_by == "hosted/second"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (json.dumps(ANSWER).encode(), "is not packed so"),
        (gzip.compress(json.dumps(ANSWER).encode(), mtime=0)[:-9], "lacks its end"),
        (gzip.compress(b'{"error":{"message":"no luck"}}', mtime=0), "no luck"),
        (b"", "lacks its end"),
    ],
)
async def test_what_is_packed_wrongly_is_a_failure(gateway: GatewayUnderTest, body: bytes, why: str) -> None:
    """Of the answer, by name; so is an error in it."""
    answer, _ = await asked(gateway, says(body, "gzip"))

    assert answer.status == 502
    assert why in answer.error["message"]


async def test_no_answer_fills_the_memory(gateway: GatewayUnderTest) -> None:
    """Blanks that unpack to far more than an answer may be: refused at that bound, others being served meanwhile."""
    bomb = gzip.compress(b" " * (1 << 26), 9)
    body = b'{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object"}}}'
    async with backend(says(bomb, "gzip")) as hosted, backend(answers()) as other:
        gateway.route(local=None, hosted=[hosted.hosted()], validate_structured_output=True, retry_attempts=0)
        gateway.route("other", local=None, hosted=[other.hosted()])

        bombed = asyncio.ensure_future(gateway.post(response_format=json.loads(body)))
        served = await gateway.post("other")
        answer = await bombed

    assert served.status == 200
    assert (answer.status, "longer than 16 MiB" in answer.error["message"]) == (502, True)


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6), st.sampled_from(sorted(PACKERS)))
def test_however_it_is_cut_it_is_the_same(data: bytes, cuts: list[int], name: str) -> None:
    """For any bytes, any cuts and each coding."""
    coding, pack = PACKERS[name]
    packed = pack(data)
    unpacker = Unpacker(coding_of([(b"content-encoding", coding.encode())]))
    places = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    found = b""

    for start, stop in itertools.pairwise(places):
        unpacker.feed(packed[start:stop])
        while unpacker.has_more:
            found += unpacker.slice()
    unpacker.close()

    assert (found, unpacker.fault) == (data, None)


def test_a_slice_is_bounded() -> None:
    """However much there is in what has come."""
    unpacker = Unpacker("gzip")
    unpacker.feed(gzip.compress(b"x" * (8 << 20)))
    slices = []

    while unpacker.has_more:
        slices.append(len(unpacker.slice()))

    assert max(slices) <= SLICE_BYTES_MAX
    assert sum(slices) == 8 << 20

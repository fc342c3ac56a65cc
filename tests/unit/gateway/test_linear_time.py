"""No input holds the event loop: reading takes time in proportion to length, for every parser and known shape."""

from __future__ import annotations

import pytest

from fuzz.complexity import GROWTH_MAX, PARSERS, complexity, growth

CHAT_TEXT = (b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"', b'"}]}]}')
CHAT_PARTS = (b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}', b"]}]}")
CHAT_FIELD = (b'{"model":"m","messages":[],"x":"', b'"}')
TEXTS = [
    b";base64,", b'\\"data\\"', b"\\\\", b'\\"url\\":\\"data:image/png;base64,', b"\\n", b"\\ud83d", b"\\ud83d\\ude00",
    b'\\"usage\\"', b" ", b"\xf0\x9f\x98\x80", b"data:", b"assistant}", b"\\u0000",
]  # fmt: skip
"""What is repeated inside a string."""
PARTS = [
    b',{"type":"text","text":";base64,"}', b',{"type":"image_url","image_url":{"url":"data:image/png;base64,aa"}}',
    b',{"data":"', b',{"data"  :  "a"}',
    b',{"type":"image","source":{"type":"base64","media_type":"image/png","data":"a"}}',
    b',{"type"   :   "text","text":"a"}', b',{"a\\n" :1}', b",[", b"   ", b',{"usage":1}', b',"role":"assistant"',
]  # fmt: skip
"""What is repeated as a part of a message's content, well formed or not."""
BODIES = ["chat", "responses", "messages", "embeddings", "completions", "translation", "continuation", "answer"]
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"'
TOOL = b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"'
LONG_CHOICE = b'{"index":0,"delta":{"content":"' + b"a" * 100 + b'"}},'
STREAMS = ["chat stream", "responses stream", "messages stream", "translated stream", "stream as answer"]
EVENTS = [
    (b"", EVENT + b'x"}}]}\n\n', b"data: [DONE]\n\n"),
    (b"", EVENT + b'\\ud83d"}}]}\n\n', b"data: [DONE]\n\n"),
    (b"", TOOL + b'x"}}]}}]}\n\n', b"data: [DONE]\n\n"),
    (b"", TOOL + b'{"}}]}}]}\n\n', b""),
    (b"", TOOL + b"a" * 100 + b'"}}]}}]}\n\n', b"data: [DONE]\n\n"),
    (EVENT, b"x", b'"}}]}\n\n'),
    (EVENT, b"\\n", b'"}}]}\n\n'),
    (EVENT, b"\\ud83d", b'"}}]}\n\n'),
    (b"", b"\n", b""),
    (b"", b"\r", b""),
    (b"", b"\r\n", b""),
    (b"", b": a\n\n", b""),
    (b"", b": a\r\n", b"\r\n"),
    (b"", b"data: a\n", b"\n"),
    (b"", b"data:\r", b"\r"),
    (b'data: {"choices":[', b'{"index":0,"delta":{"content":"a"}},', b"{}]}\n\n"),
    (b'data: {"choices":[', LONG_CHOICE, b"{}]}\n\n"),
    (b'data: {"choices":[', b"[", b"]}\n\n"),
    (b"data: ", b'{"usage":', b"1}\n\n"),
    (b"", b'data: {"usage":{"prompt_tokens":1}}\n\n', b""),
]
HEAD = b"GET / HTTP/1.1\r\nhost: a\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
FORM = (
    b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n'
    b'--b\r\ncontent-disposition: form-data; name="f"\r\n\r\n'
)
OTHERS = [
    ("head", HEAD, b"a: b\r\n", b""),
    ("head", HEAD + b"a: ", b" ", b""),
    ("head", HEAD + b"a: ", b"\t,", b""),
    ("head", b"GET /", b"%41", b" HTTP/1.1\r\nhost: a"),
    ("head", b"GET /?", b"a&", b" HTTP/1.1\r\nhost: a"),
    ("request", CHUNKED, b"1\r\na\r\n", b"0\r\n\r\n"),
    ("request", CHUNKED + b"1;a=", b'\\"', b"\r\n"),
    ("request", POST + b"content-length: 60000000\r\n\r\n", b"x", b""),
    ("request", HEAD, b"a: b\r\n", b"\r\n"),
    ("request", b"", b"\r\n", HEAD + b"\r\n"),
    ("form", FORM, b"\r\n--", b"\r\n--b--\r\n"),
    ("form", FORM, b"\r\n-", b""),
    ("form", b"", b'--b\r\ncontent-disposition: form-data; name="f"\r\n\r\n\r\n', b"--b--\r\n"),
    ("form", b"--b\r\n", b"content-disposition: form-data;\r\n", b"\r\n\r\n\r\n--b--\r\n"),
    ("completions", b'{"model":"m","prompt":[', b'"a",', b'"a"]}'),
    ("completions", b'{"model":"m","prompt":[', b"1,", b"1]}"),
    ("chat", b'{"model":"m"', b',"a":1', b"}"),
    ("chat", b'{"model":"m","messages":', b"[", b"}"),
    ("answer", b'{"choices":[', b'{"message":{"content":"a"}},', b"{}]}"),
    ("answer", b"", b'"usage":', b""),
    ("answer", b"", b'"usage"   ', b""),
    ("answer", b"", b'"usage":{"prompt_tokens":1},', b""),
    ("answer", b"", b'"usage":[', b""),
    ("answer", b'{"error":{"message":"', b"<a", b'"}}'),
    ("repeating stream", b"", b" ", b""),
]


def shapes() -> list[tuple[str, bytes, bytes, bytes]]:
    """Parser, beginning, what is repeated, end."""
    texts = [(name, CHAT_TEXT[0], unit, CHAT_TEXT[1]) for name in BODIES for unit in TEXTS]
    fields = [(name, CHAT_FIELD[0], unit, CHAT_FIELD[1]) for name in BODIES for unit in TEXTS[:4]]
    parts = [(name, CHAT_PARTS[0], unit, CHAT_PARTS[1]) for name in BODIES for unit in PARTS]
    streams = [(name, *event) for name in STREAMS for event in EVENTS]
    for_input = [
        (name, before.replace(b'"messages"', b'"input"'), unit, after)
        for name, before, unit, after in [*texts, *parts]
        if name in {"responses", "embeddings"}
    ]
    return [*texts, *fields, *parts, *for_input, *streams, *OTHERS]


def test_a_text_full_of_marks_is_looked_through_once() -> None:
    """Each mark of base64 once led to a search through all that follows: a megabyte took a second."""
    grown = {name: growth(PARSERS[name], CHAT_TEXT[0], b";base64,", CHAT_TEXT[1]) for name in ("chat", "messages")}

    assert max(grown.values()) <= GROWTH_MAX


@pytest.mark.parametrize(
    ("name", "before", "unit", "after"),
    [
        ("chat stream", b'data: {"choices":[', LONG_CHOICE, b"{}]}\n\n"),
        pytest.param(
            "stream as answer", b"", TOOL + b"a" * 100 + b'"}}]}}]}\n\n', b"data: [DONE]\n\n",
            marks=pytest.mark.exhaustive,
        ),
        pytest.param("repeating stream", b"", b" ", b"", marks=pytest.mark.exhaustive),
    ],
)  # fmt: skip
def test_text_that_comes_in_pieces_is_joined_once(name: str, before: bytes, unit: bytes, after: bytes) -> None:
    """Each piece once led to a copy of all that had come before it: of a chunk's choices, a call's, a repetition's."""
    assert growth(PARSERS[name], before, unit, after, 1 << 20) <= GROWTH_MAX


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", PARSERS)
def test_four_times_the_length_takes_about_four_times_the_time(name: str) -> None:
    """Each known shape: a square would take sixteen times as long, and hold every other client meanwhile."""
    known = [shape for shape in shapes() if shape[0] == name]
    assert known

    slow = {shape: growth(PARSERS[name], *shape[1:]) for shape in known}

    assert {shape: grown for shape, grown in slow.items() if grown > GROWTH_MAX} == {}


@pytest.mark.exhaustive
def test_a_square_is_told() -> None:
    """The measure sees what it is made for."""

    def square(data: bytes) -> None:
        for at in range(0, len(data), 64):
            data.find(b"\xff", at)

    assert growth(square, b"", b"a", b"") > GROWTH_MAX


def test_the_fuzz_target_takes_any_bytes() -> None:
    """What comes without a unit is no input; one with it is measured."""
    for data in (b"", b"\0", b"\0a\0b\0c", b"\x05{\0[\0}"):
        complexity(data)

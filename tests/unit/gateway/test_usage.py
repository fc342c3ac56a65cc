"""Token counts in every dialect, plain and streamed, as real servers write them; and what is not to be believed."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.answers.usage import (
    OUTPUT_TOKENS_MAX,
    Price,
    Report,
    Usage,
    UsageFinder,
    cost_nano_usd,
    report_of_answer,
    report_of_event,
)

CHAT = {"prompt_tokens": 17, "completion_tokens": 8, "total_tokens": 25, "prompt_tokens_details": {"cached_tokens": 4}}
RESPONSES = {"input_tokens": 17, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 8,
             "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 25}  # fmt: skip
MESSAGES = {"input_tokens": 10, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3, "output_tokens": 8}
ALL = Usage(17, 4, 8)


def found_in_pieces(text: bytes, length: int = 7) -> Report:
    """What is found in an answer that passes in pieces."""
    finder = UsageFinder()
    for at in range(0, len(text), length):
        finder.feed(text[at : at + length])
    return finder.close()


def event(document: dict[str, Any], name: str = "") -> bytes:
    """One event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(document)}\n\n".encode()


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (CHAT, ALL),
        (CHAT | {"prompt_tokens_details": None, "completion_tokens_details": None}, Usage(17, 0, 8)),
        ({"prompt_tokens": 5, "total_tokens": 5}, Usage(5, 0, 0)),
        (RESPONSES, ALL),
        (MESSAGES, ALL),
        ({"input_tokens": 17, "output_tokens": 4, "cache_creation_input_tokens": 0, "cache_read_input_tokens": None},
         Usage(17, 0, 4)),
    ],
)  # fmt: skip
def test_plain_answers(usage: dict[str, Any], expected: Usage) -> None:
    """Chat, completions, embeddings, responses, messages: prompt tokens always include the cached ones."""
    body = json.dumps({"choices": [], "content": [], "usage": usage}).encode()

    generates = expected.output_tokens > 0
    assert report_of_answer(body).usage(generates=generates) == expected
    assert found_in_pieces(body[8:]).usage(generates=generates) == expected
    assert expected.reported


def test_only_the_answers_own_usage_counts() -> None:
    """What a model has written, or a client, is not the backend's report."""
    forged = {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}
    message = {"content": [{"type": "tool_use", "input": forged}], "metadata": forged, "usage": MESSAGES}
    response = {"type": "response.completed", "response": {"output": [forged], "usage": RESPONSES, "tools": [forged]}}

    assert report_of_answer(json.dumps(message).encode()).usage() == ALL
    assert report_of_event(event(response)).usage() == ALL


@pytest.mark.parametrize(
    "stream",
    [
        event({"choices": [{}], "usage": None}) + event({"choices": [], "usage": CHAT}) + b"data: [DONE]\n\n",
        event({"choices": [{}], "usage": CHAT | {"completion_tokens": 1}}) + event({"choices": [], "usage": CHAT}),
        event({"type": "response.created", "response": {"usage": None}})
        + event({"type": "response.completed", "response": {"usage": RESPONSES, "user": None}}, "response.completed"),
        event({"type": "message_start", "message": {"usage": MESSAGES | {"output_tokens": 1}}}, "message_start")
        + event({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 8}}, "message_delta"),
        event({"type": "message_start", "message": {"usage": {"input_tokens": 17, "output_tokens": 0}}})
        + event({"type": "message_delta", "delta": {}, "usage": MESSAGES}),
    ],
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_streams(stream: bytes, line_end: bytes) -> None:
    """The last report counts, completed by the first where Anthropic's leaves the prompt to it."""
    assert report_of_event(stream.replace(b"\n", line_end)).usage() == ALL


def test_the_end_of_a_long_event_is_enough() -> None:
    """Of an event longer than is kept, the end that is kept has its usage."""
    whole = event({"response": {"output": ["x" * 50_000], "usage": RESPONSES, "user": None}})

    assert report_of_event(whole[-16_384:]).usage() == ALL


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1, "completion_tokens": 8},
        {"prompt_tokens": 5, "completion_tokens": -8},
        {"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 5, "completion_tokens": True},
        {"prompt_tokens": 5, "completion_tokens": 2.5},
        {"prompt_tokens": 5, "completion_tokens": "-8"},
        {"prompt_tokens": 5, "completion_tokens": "8.5"},
        {"prompt_tokens": 5, "completion_tokens": "8,000"},
        {"prompt_tokens": 5, "completion_tokens": "eight"},
        {"prompt_tokens": 5, "completion_tokens": "\u0668"},
        {"prompt_tokens": 5, "completion_tokens": ""},
        {"prompt_tokens": 5, "completion_tokens": "nan"},
        {"prompt_tokens": 5, "completion_tokens": [8]},
        {"prompt_tokens": 5, "completion_tokens": 8, "total_tokens": "9" * 400},
        {"prompt_tokens": 5, "completion_tokens": 8, "total_tokens": "1e300"},
        {"prompt_tokens": 5, "completion_tokens": 2**64 - 1},
        {"prompt_tokens": 10**30, "completion_tokens": 8},
        {"prompt_tokens": 5, "completion_tokens": 8, "total_tokens": 1e300},
        {"input_tokens": -10, "cache_read_input_tokens": 20, "output_tokens": 1},
        {"output_tokens": 5},
        {"prompt_tokens": "5"},
        {"prompt_tokens": "-5", "completion_tokens": 8},
        {"input_tokens": "", "output_tokens": "8"},
        {},
        [],
    ],
)
def test_numbers_that_make_no_sense_are_none(usage: Any) -> None:
    """A negative count would lower what is owed; a missing prompt would leave it out."""
    body = json.dumps({"usage": usage}).encode()

    assert report_of_answer(body).usage() is None
    assert report_of_event(event({"usage": usage})).usage() is None
    assert found_in_pieces(body).usage() is None


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,usage \n0', max_size=200).map(str.encode))
def test_no_bytes_make_it_fail(junk: bytes) -> None:
    """Whatever a backend sends, reading its usage ends with counts or with none."""
    for text in (junk, b'{"usage":' + junk, b'data: {"usage":' + junk):
        for report in (report_of_answer(text), found_in_pieces(text, 50), report_of_event(text)):
            found = report.usage()
            assert found is None or found.prompt_tokens >= found.cached_tokens >= 0


@pytest.mark.parametrize(
    ("usage", "output"),
    [
        ({"prompt_tokens": 14, "completion_tokens": 2, "total_tokens": 333,
          "completion_tokens_details": {"reasoning_tokens": 317}}, 319),
        ({"prompt_tokens": 14, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 317}}, 319),
        ({"input_tokens": 14, "output_tokens": 2, "total_tokens": 333}, 319),
        ({"prompt_tokens": 14, "total_tokens": 333}, 319),
        ({"prompt_tokens": 14, "completion_tokens": 400, "total_tokens": 333}, 400),
        ({"prompt_tokens": 14, "completion_tokens": 319, "completion_tokens_details": {"reasoning_tokens": 317}}, 319),
        ({"prompt_tokens": 14.0, "completion_tokens": 319.0}, 319),
        ({"prompt_tokens": 0, "completion_tokens": 0, "input_tokens": 14, "output_tokens": 319}, 319),
        ({"completion_tokens": 319, "total_tokens": 333}, 319),
    ],
)  # fmt: skip
def test_output_is_at_least_what_the_total_leaves_for_it(usage: dict[str, Any], output: int) -> None:
    """Reasoning that is counted apart is output; a counter of another name or form counts as well."""
    assert report_of_answer(json.dumps({"usage": usage}).encode()).usage() == Usage(14, 0, output)


@pytest.mark.parametrize("spelling", ['"%s"', '" %s "', '"%s.0"', '"%se0"', '"00%s"', '"+%s"', "%s.0", "%se0"])
@pytest.mark.parametrize("usage", [CHAT, RESPONSES, MESSAGES], ids=["chat", "responses", "messages"])
def test_a_counter_is_its_number_however_it_is_spelled(usage: dict[str, Any], spelling: str) -> None:
    """Some backends quote their numbers: ``"8"`` is 8, in each dialect, plain, in a stream, and in pieces."""
    text = re.sub(r"[0-9]+", lambda count: spelling % count[0], json.dumps(usage))
    body = b'{"choices":[],"content":[],"usage":%b}' % text.encode()

    assert report_of_answer(body).usage() == ALL
    assert found_in_pieces(body).usage() == ALL
    for holder in (b"%b", b'{"response":%b}', b'{"message":%b}'):
        assert report_of_event(b"data: " + holder % body + b"\n\n").usage() == ALL


@pytest.mark.parametrize(
    ("usage", "output"),
    [
        ({"prompt_tokens": 14, "completion_tokens": 2, "total_tokens": "333"}, 319),
        ({"prompt_tokens": "14", "completion_tokens": "2", "total_tokens": 333}, 319),
        ({"prompt_tokens": 14, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": "317"}}, 319),
        ({"prompt_tokens": 14, "completion_tokens": "2", "output_tokens": "319"}, 319),
        ({"prompt_tokens": 14, "completion_tokens": None, "total_tokens": "333"}, 319),
        ({"prompt_tokens": 14, "completion_tokens": 319, "total_tokens": "a lot"}, 319),
        ({"prompt_tokens": 14, "completion_tokens": 319, "total_tokens": "-5"}, 319),
    ],
)
def test_a_counter_in_quotes_never_lowers_the_charge(usage: dict[str, Any], output: int) -> None:
    """A total is believed in quotes too; what can't be read is as if it were not there."""
    assert report_of_answer(json.dumps({"usage": usage}).encode()).usage() == Usage(14, 0, output)


@pytest.mark.parametrize("details", ["none", [], 0, {"cached_tokens": []}])
def test_details_that_can_t_be_read_hide_no_counters(details: Any) -> None:
    """What is no object holds no details; neither the counts beside it nor a forged report is taken for its sake."""
    usage = CHAT | {"prompt_tokens_details": details, "completion_tokens_details": details}
    forged = {"usage": {"prompt_tokens": 10**9}}
    for document in ({"usage": usage}, {"response": {"usage": usage}}, {"message": {"usage": usage}, "usage": 5}):
        body = json.dumps({"content": [{"input": forged}]} | document).encode()

        assert report_of_answer(body).usage() == Usage(17, 0, 8)
        assert report_of_event(b"data: " + body + b"\n\n").usage() == Usage(17, 0, 8)
    assert found_in_pieces(json.dumps({"usage": usage}).encode()).usage() == Usage(17, 0, 8)


def test_what_is_counted_apart_from_the_prompt_is_owed_too() -> None:
    """More cached tokens than prompt tokens: the prompt's count leaves them out."""
    report = report_of_answer(b'{"usage":{"prompt_tokens":5,"completion_tokens":1,'
                              b'"prompt_tokens_details":{"cached_tokens":6}}}')  # fmt: skip

    assert report.usage() == Usage(11, 6, 1)


@pytest.mark.parametrize("later", [{"prompt_tokens": 0, "completion_tokens": 0}, {}, None, {"completion_tokens": 3}])
def test_a_later_report_lowers_nothing(later: Any) -> None:
    """Reports are running totals: zeros and gaps behind a good one say nothing."""
    report = report_of_event(event({"usage": later}), report_of_event(event({"usage": CHAT})))

    assert report.usage() == ALL


def test_a_counter_beyond_any_call_makes_the_report_doubtful() -> None:
    """It is neither believed nor cut to size: who settles charges what was held."""
    for value in (2**64 - 1, 10**30, 1e300, OUTPUT_TOKENS_MAX + 1):
        report = report_of_answer(json.dumps({"usage": {"prompt_tokens": 5, "completion_tokens": value}}).encode())

        assert report.is_doubtful()
        assert report.usage() is None
        assert report.is_doubtful(3) == (value > 3 * OUTPUT_TOKENS_MAX)


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_an_answer_that_is_still_to_come_is_not_counted(status: str) -> None:
    """Its backend goes on when it has been given: whatever it reports is not all."""
    for document in ({"status": status, "usage": RESPONSES}, {"response": {"status": status, "usage": RESPONSES}}):
        assert report_of_answer(json.dumps(document).encode()).usage() is None


@pytest.mark.parametrize("filler", [0, 5_000, 400_000])
@pytest.mark.parametrize("first", [True, False])
def test_usage_is_found_wherever_in_a_long_answer_it_stands(filler: int, *, first: bool) -> None:
    """Before the choices or behind them, cut anywhere."""
    parts = [f'"usage":{json.dumps(CHAT)}', f'"choices":"{"x" * filler}"']
    text = ("{" + ",".join(parts if first else parts[::-1]) + "}").encode()

    for length in (11, 4096, 1 << 20):
        assert found_in_pieces(text, length).usage() == ALL


def test_cost_is_rounded_up() -> None:
    """Money owed is never rounded away."""
    assert cost_nano_usd(Usage(1, 0, 0), Price(1, 0, 0)) == 1
    assert cost_nano_usd(ALL, Price(150_000_000, 75_000_000, 600_000_000)) == 13 * 150 + 4 * 75 + 8 * 600


def test_of_many_reports_in_one_piece_the_last_ones_are_read() -> None:
    """A provider that writes nothing but reports does not hold the event loop: a quarter of a megabyte took 60 ms."""
    finder = UsageFinder()
    finder.feed(
        b'{"usage":{"prompt_tokens":99}}' + b'{"usage":{"prompt_tokens":1}}' * 500 + b'{"usage":{"prompt_tokens":7}}'
    )
    finder.feed(b" " * 5000)

    assert finder.close().prompt_tokens == 7

"""What gateways recorded, read again: of one route among several, from several files, with its replicas over time."""

import json
from pathlib import Path
from typing import Any

import pytest

from overspill_planner.traces.arrival import Arrival, TraceError
from overspill_planner.traces.reading import read_trace
from overspill_planner.traces.recordings import read_recording


def request(seconds: float, **changes: Any) -> dict[str, Any]:
    """One line of a request."""
    return {
        "seconds": seconds, "route": "chat/llama", "prompt_tokens": 100, "output_tokens": 20,
        "served_by": "local/10.0.0.1:8000", "reason": "local", "nano_usd": 0, "first_token_seconds": 0.5,
        "served": True, "end_seconds": 1.45,
    } | changes  # fmt: skip


def replicas(seconds: float, count: int, route: str = "chat/llama") -> dict[str, Any]:
    """One line of replicas."""
    return {"seconds": seconds, "route": route, "replicas": count, "ready": max(count - 1, 0)}


def recorded(path: Path, *lines: dict[str, Any]) -> Path:
    """A file with these lines."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_requests_are_sorted_by_when_they_came(tmp_path: Path) -> None:
    """They stand there in the order in which they were over."""
    file = recorded(
        tmp_path / "r", replicas(1000.0, 1), request(1003.0),
        request(1001.0, nano_usd=2_000_000_000), replicas(1010.0, 1),
    )  # fmt: skip
    recording = read_recording([file])

    assert (recording.route, recording.begins, recording.ends) == ("chat/llama", 1000.0, 1010.0)
    assert recording.seconds == 10.0
    assert recording.requests[0].inter_token_seconds == pytest.approx(0.05), "nineteen times within 0.95 s"
    assert [(one.seconds, one.usd, one.first_token_seconds) for one in recording.requests] == [
        (1001.0, pytest.approx(2.0), 0.5),
        (1003.0, 0.0, 0.5),
    ]
    assert recording.arrivals() == [Arrival(1.0, 100, 20), Arrival(3.0, 100, 20)]


def test_a_request_is_a_trace_s_once_whoever_was_charged_for_it(tmp_path: Path) -> None:
    """An attempt that was charged and served nothing is money, and no request; one that nobody served is one."""
    file = recorded(
        tmp_path / "r",
        request(1.0, served=False, nano_usd=5, served_by="hosted/api"),
        request(1.0, served_by="hosted/other", nano_usd=7),
        request(2.0, served=False, served_by="none", first_token_seconds=None),
    )
    recording = read_recording([file])

    assert [arrival.seconds for arrival in recording.arrivals()] == [0.0, 1.0]
    assert sum(one.usd for one in recording.requests) == pytest.approx(12e-9)


def test_replicas_count_from_when_they_were_listed(tmp_path: Path) -> None:
    """Two of them for six seconds, one for four; the number that is said again is no change."""
    file = recorded(
        tmp_path / "r", replicas(0.0, 2), replicas(4.0, 2), replicas(6.0, 1), replicas(8.0, 1), replicas(10.0, 1)
    )  # fmt: skip
    recording = read_recording([file])

    assert [(step.replicas, step.ready) for step in recording.replicas] == [(2, 1), (1, 0)]
    assert recording.replica_seconds() == pytest.approx(16.0)
    assert recording.starts() == 0


def test_several_gateways_list_the_same_replicas(tmp_path: Path) -> None:
    """One a moment later; one that is gone counts no more after two minutes; older files are their gateway's."""
    older = recorded(tmp_path / "a.jsonl.1", replicas(0.0, 1), request(1.0))
    newer = recorded(
        tmp_path / "a.jsonl", replicas(60.0, 2), replicas(120.0, 2), replicas(180.0, 2), replicas(240.0, 0)
    )
    other = recorded(tmp_path / "b.jsonl", replicas(0.5, 1), replicas(61.0, 2), request(2.0), replicas(62.0, 2))

    recording = read_recording([newer, other, older])

    assert [(step.seconds, step.replicas) for step in recording.replicas] == [(0.0, 1), (60.0, 2), (240.0, 0)]
    assert recording.starts() == 1
    assert len(recording.requests) == 2


def test_of_several_routes_one_is_chosen(tmp_path: Path) -> None:
    """By its name; without one, or with one that is not there, the message says which there are."""
    file = recorded(tmp_path / "r", request(1.0), request(2.0, route="chat/other"))

    assert len(read_recording([file], "chat/other").requests) == 1
    assert read_trace(file, route="chat/other") == [Arrival(0.0, 100, 20)]
    with pytest.raises(TraceError, match="one route is wanted, and it has chat/llama, chat/other; name the route"):
        read_recording([file])
    with pytest.raises(TraceError, match="nothing of chat/gone is recorded there, but of chat/llama, chat/other"):
        read_recording([file], "chat/gone")
    with pytest.raises(TraceError, match="nothing of chat/gone"):
        read_trace(file, route="chat/gone")


def test_a_recording_is_a_trace(tmp_path: Path) -> None:
    """Known by its first line; the only route of a file need not have the route's name."""
    file = recorded(tmp_path / "r", replicas(10.0, 0), request(13.0), request(12.0))

    assert read_trace(file, route="default/another") == [Arrival(2.0, 100, 20), Arrival(3.0, 100, 20)]


def test_half_a_line_of_a_gateway_that_was_killed_is_left_out(tmp_path: Path) -> None:
    """What came before and after it counts."""
    half = json.dumps(request(2.0))[:40]
    file = recorded(tmp_path / "r", request(1.0))
    file.write_text(f"{file.read_text()}{half}\n{json.dumps(request(3.0))}\n{half}")

    assert [one.seconds for one in read_recording([file]).requests] == [1.0, 3.0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seconds,1", "this is no JSON; a line of a recording is such as"),
        ('{"seconds": 1}', "this is no line of a recording"),
        (json.dumps(request(1.0, prompt_tokens="many")), "prompt_tokens: a number is wanted here"),
        (json.dumps(request(1.0, nano_usd=-1)), "nano_usd: '-1' is no number of at least 0"),
        (json.dumps(request(1.0, nano_usd=1e308)), "nano_usd: nobody charges so much for a request"),
        (json.dumps(request(-1.0)), "seconds: '-1.0' is no number of at least 0"),
        (json.dumps(replicas(1.0, -1)), "replicas: a whole number from 0 to 1000 is wanted here"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, line: str, message: str) -> None:
    """Somebody may have cut it, or written into it."""
    file = recorded(tmp_path / "r", request(1.0))
    file.write_text(file.read_text() + line + "\n")

    with pytest.raises(TraceError) as told:
        read_recording([file])
    assert str(told.value).startswith(f"{file}:2: ")
    assert message in str(told.value)


@pytest.mark.parametrize("changes", [{"first_token_seconds": None}, {"end_seconds": None}, {"output_tokens": 1}])
def test_an_answer_that_came_whole_has_no_pace(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Nor one of which the end is not known, or that has one token."""
    recording = read_recording([recorded(tmp_path / "r", request(1.0, **changes))])

    assert recording.requests[0].inter_token_seconds is None


def test_requests_that_differ_in_little_else_than_a_first_token_have_an_order(tmp_path: Path) -> None:
    """One of two that came at once is a stream, the other is not."""
    file = recorded(tmp_path / "r", request(1000.0), request(1000.0, first_token_seconds=None))
    assert [one.first_token_seconds for one in read_recording([file]).requests] == [0.5, None]


@pytest.mark.parametrize("seconds", [0.0, 1e12, 1e300])
def test_a_line_of_a_clock_that_was_not_set_is_told(tmp_path: Path, seconds: float) -> None:
    """A replay of all the years between would not come to an end."""
    file = recorded(tmp_path / "r", request(1.8e9), request(seconds))
    with pytest.raises(TraceError, match="a clock that was not set"):
        read_recording([file])

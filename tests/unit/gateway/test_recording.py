"""What a gateway writes down of its requests for the planner: tokens, money and times, never content, within bounds."""

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from overspill_gateway.clock import Clock
from overspill_gateway.money import recording as recording_module
from overspill_gateway.money.recording import FILES, Recording
from overspill_gateway.settings import SettingsError, read_settings
from unit.gateway.backends import answers, backend, streams, then
from unit.gateway.generated import ROLE, said
from unit.gateway.harness import MESSAGES, running_gateway
from unit.gateway.test_going_on import GOES_ON, REST, writes
from unit.gateway.test_money import PRICE, REPORTED

CLOCK = Clock(lambda: 100.0, lambda: 1_800_000_000.0)


def lines(path: Path) -> list[dict[str, Any]]:
    """All that was written."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def served(recording: Recording, **changes: Any) -> None:
    """One request was served."""
    recording.served("ns/tiny", "local/a", "local", **{
        "arrived_at": 99.0, "first_token_at": 99.5, "ended_at": 99.75, "prompt_tokens": 10, "output_tokens": 2,
        "nano_usd": 0, "whole": True, **changes,
    })  # fmt: skip


def test_a_line_has_when_a_request_came_and_what_it_took(tmp_path: Path) -> None:
    """In seconds since 1970, whatever the process's clock counts from."""
    recording = Recording(tmp_path / "r", CLOCK, 1 << 20)
    served(recording)
    served(recording, first_token_at=0.0, whole=False, nano_usd=7)
    recording.unserved("ns/tiny", arrived_at=100.0, prompt_tokens=5, output_tokens=6)
    recording.close()

    first, charged, nobody = lines(tmp_path / "r")
    assert first == {
        "seconds": 1_799_999_999.0, "route": "ns/tiny", "prompt_tokens": 10, "output_tokens": 2, "served_by": "local/a",
        "reason": "local", "nano_usd": 0, "first_token_seconds": 0.5, "end_seconds": 0.75, "served": True,
    }  # fmt: skip
    assert (charged["first_token_seconds"], charged["served"], charged["nano_usd"]) == (None, False, 7)
    assert (nobody["served_by"], nobody["served"], nobody["seconds"]) == ("none", False, 1_800_000_000.0)


def test_replicas_are_written_when_their_number_changes_and_once_a_minute(tmp_path: Path) -> None:
    """None at all is said once; a route that is gone has none; the end says how many there were until then.

    Of one that is gone nothing is kept: names may come and go for as long as the gateway runs.
    """
    now = [0.0]
    recording = Recording(tmp_path / "r", Clock(lambda: now[0], lambda: now[0]), 1 << 20)
    for at, counts in ((1.0, {"a": 1}), (2.0, {"a": 1}), (61.0, {"a": 1}), (62.0, {"a": 0}), (130.0, {"a": 0}),
                       (131.0, {"a": 2}), (132.0, {}), (135.0, {"b": 1})):  # fmt: skip
        now[0] = at
        recording.tick((route, count, 0) for route, count in counts.items())
    now[0] = 140.0
    recording.close()

    written = lines(tmp_path / "r")
    assert [(line["seconds"], line["replicas"]) for line in written if line["route"] == "a"] == [
        (1.0, 1), (61.0, 1), (62.0, 0), (131.0, 2), (132.0, 0)
    ]  # fmt: skip
    assert [(line["seconds"], line["replicas"]) for line in written if line["route"] == "b"] == [(135.0, 1), (140.0, 1)]


def test_files_are_bounded_and_the_newest_lines_stay(tmp_path: Path) -> None:
    """Four of them at most, together not larger than they may be."""
    recording = Recording(tmp_path / "r", CLOCK, 8000)
    for number in range(200):
        served(recording, prompt_tokens=number)
    recording.close()

    files = sorted(tmp_path.iterdir())
    assert len(files) == FILES
    assert sum(file.stat().st_size for file in files) <= 8000
    assert lines(tmp_path / "r")[-1]["prompt_tokens"] == 199


def test_lines_that_come_faster_than_the_disk_are_lost_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is not a disk."""
    monkeypatch.setattr(recording_module, "LINES_MAX", 3)
    recording = Recording(tmp_path / "r", CLOCK, 1 << 20)
    for _ in range(5):
        served(recording)

    assert recording.lost == 2
    recording.close()
    assert len(lines(tmp_path / "r")) == 3


@pytest.mark.parametrize(("before", "after"), [('{"seconds":1', '{"seconds":1\n'), ("{}\n", "{}\n"), ("", "")])
def test_half_a_line_of_a_process_that_was_killed_is_ended(tmp_path: Path, before: str, after: str) -> None:
    """What comes after it is not written behind it."""
    path = tmp_path / "recording.jsonl"
    path.write_text(before)
    recording = Recording(path, Clock(), 10**6)
    recording.tick([("ns/r", 1, 1)])
    recording.close()

    text = path.read_text()
    assert text.startswith(after)
    assert all(json.loads(line)["route"] == "ns/r" for line in text.removeprefix(after).splitlines())


def test_a_disk_that_refuses_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Requests go on; what can't be written is lost."""
    recording = Recording(tmp_path / "gone" / "r", CLOCK, 1 << 20)
    served(recording)
    served(recording)
    with caplog.at_level(logging.ERROR):
        recording.close()

    assert [record.message for record in caplog.records] == ["the recording can't be written: its lines are lost"]


def test_its_thread_ends_with_it(tmp_path: Path) -> None:
    """Nothing is left behind."""
    recording = Recording(tmp_path / "r", CLOCK, 1 << 20)
    recording.close()

    assert "recording" not in {thread.name for thread in threading.enumerate()}


async def recorded_of(path: Path, *, script: Any, local: bool, posts: Callable[[Any], Any]) -> list[dict[str, Any]]:
    """What a whole gateway wrote of its requests, without replicas."""
    async with backend(script) as there, running_gateway(recording=path) as gateway:
        if local:
            gateway.route()
            gateway.endpoints(there.fact())
        else:
            gateway.route(local=None, hosted=[there.hosted("api", **PRICE)], overflow={"on_cold_start": "Hosted"})
        await posts(gateway)
    return [line for line in lines(path) if "replicas" not in line]


async def test_a_gateway_writes_what_a_hosted_api_was_charged(tmp_path: Path) -> None:
    """The tokens that it reported, and nothing of what was said."""
    (line,) = await recorded_of(
        tmp_path / "r", script=answers(), local=False, posts=lambda gateway: gateway.post()
    )  # fmt: skip

    assert (line["route"], line["served_by"], line["served"]) == ("ns/tiny", "hosted/api", True)
    assert (line["prompt_tokens"], line["output_tokens"], line["nano_usd"]) == (17, 8, REPORTED)
    assert MESSAGES[0]["content"] not in (tmp_path / "r").read_text()


async def test_a_stream_has_the_time_of_its_first_token(tmp_path: Path) -> None:
    """Since the request came."""
    (line,) = await recorded_of(
        tmp_path / "r", script=streams(), local=True, posts=lambda gateway: gateway.post(stream=True)
    )  # fmt: skip

    assert line["served_by"].startswith("local/")
    assert line["nano_usd"] == 0
    assert 0.0 < line["first_token_seconds"] < 5.0


async def test_what_nobody_served_is_demand_and_a_mistake_of_the_client_s_is_none(tmp_path: Path) -> None:
    """A request that every backend failed is written; one that a backend refused as wrong is not."""
    refusing = await recorded_of(
        tmp_path / "a", script=answers(status=400), local=True, posts=lambda gateway: gateway.post()
    )  # fmt: skip
    failing = await recorded_of(
        tmp_path / "b", script=answers(status=500), local=True, posts=lambda gateway: gateway.post()
    )  # fmt: skip

    assert refusing == []
    assert [(line["served_by"], line["served"]) for line in failing] == [("none", False)]


async def test_replicas_are_in_it_from_the_start(tmp_path: Path) -> None:
    """So many as are listed; without a recording nothing is written anywhere."""
    async with backend(answers()) as engine, running_gateway(recording=tmp_path / "r") as gateway:
        gateway.route()
        gateway.endpoints(engine.fact())
        await gateway.post()
    assert [line["replicas"] for line in lines(tmp_path / "r") if "replicas" in line] == [1, 1]

    async with running_gateway() as gateway:
        assert gateway.gateway.shared.metering.recording is None


def test_its_settings_are_read() -> None:
    """A file by flag or variable; a bound that bounds nothing is refused."""
    environment = {"OVERSPILL_KEY_PEPPER": "p", "OVERSPILL_RECORDING": "/r"}
    given = read_settings(["--recording-mib-max", "8"], environment)

    assert (given.recording, given.recording_bytes_max) == (Path("/r"), 8 << 20)
    assert read_settings([], {"OVERSPILL_KEY_PEPPER": "p"}).recording is None
    with pytest.raises(SettingsError, match="--recording-mib-max is 0: write a number of at least 1"):
        read_settings(["--recording-mib-max", "0"], environment)


def test_a_replica_that_becomes_ready_is_a_change(tmp_path: Path) -> None:
    """A load takes minutes: who serves changes at its end, and it is paid for from its beginning."""
    recording = Recording(tmp_path / "r", CLOCK, 1 << 20)
    for ready in (0, 0, 1):
        recording.tick([("ns/tiny", 1, ready)])
    recording.close()

    assert [(line["replicas"], line["ready"]) for line in lines(tmp_path / "r")] == [(1, 0), (1, 1), (1, 1)]


async def test_an_answer_that_went_on_elsewhere_is_one_request(tmp_path: Path) -> None:
    """Both replicas have worked; whoever reads it as demand sees one."""
    script = then(writes(ROLE, said("The sky"), breaks=True), writes(*REST))
    async with (
        backend(script) as first,
        backend(script) as second,
        running_gateway(recording=tmp_path / "r") as gateway,
    ):
        gateway.route(**GOES_ON)
        gateway.endpoints(first.fact("tiny-0"), second.fact("tiny-1"))
        await gateway.post(stream=True)

    recorded = [line for line in lines(tmp_path / "r") if "replicas" not in line]
    assert len(recorded) == 2
    assert [line["served"] for line in recorded if line["reason"] == "Continued"] == [False]
    assert [line["served"] for line in recorded if line["reason"] != "Continued"] == [True]

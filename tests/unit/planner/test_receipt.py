"""What a recorded period cost, its replay, and what it would have cost otherwise."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from overspill_gateway import gateway as gateway_module
from overspill_planner.comparison import OPTIMAL
from overspill_planner.receipt import NAMES, Receipts
from overspill_planner.receipt_report import receipt_heading, receipt_json, receipt_table, verdict
from overspill_planner.route import Assumptions
from overspill_planner.traces.recordings import RecordedRequest, Recording, ReplicaCount, read_recording
from unit.gateway.backends import backend, streams
from unit.gateway.harness import GatewayUnderTest, eventually, running_gateway
from unit.planner.routes import SPEC, a_route

MILLION = {"input_nano_usd_per_million": 10**11, "output_nano_usd_per_million": 10**12}
"""Dollars for a million tokens, a hundred and a thousand."""
PRICE = {"input": "100", "output": "1000"}
"""The same, as a route has it."""


def request(seconds: float, served_by: str = "local/a", usd: float = 0.0, **changes: Any) -> RecordedRequest:
    """One request of 900 and 120 tokens."""
    return RecordedRequest(seconds, 900, 120, served_by, usd, 0.4, served=True, end_seconds=0.4 + 119 * 0.02)._replace(
        **changes
    )


USD = (900 * 0.3 + 120 * 1.2) / 1e6
"""What the route's hosted API charges for it."""
RECORDING = Recording(
    "ns/chat",
    [
        *(request(1000.0 + second, "hosted/api", USD) for second in range(20)),
        *(request(1020.0 + second) for second in range(30)),
        request(1050.0, "hosted/api", USD, served=False),
        request(1050.0, "none", first_token_seconds=None, served=False),
    ],
    [ReplicaCount(1000.0, 0, 0), ReplicaCount(1008.0, 1, 0), ReplicaCount(1019.5, 1, 1)],
    1000.0,
    1108.0,
)
"""Twenty requests at hosted APIs while a replica loads, thirty there, one that failed and was charged."""


def receipts_of(recording: Recording = RECORDING, **assumptions: Any) -> Receipts:
    """With the route of these tests."""
    return Receipts(a_route(assumptions=Assumptions(begins_unix=recording.begins, **assumptions)), recording)


def test_what_was_charged_is_what_was_recorded() -> None:
    """Replicas from when they were listed, to the end; money of failed attempts; each request once."""
    charged = receipts_of().truth().charged

    assert charged.replica_usd == pytest.approx(0.81 * 100 / 3600)
    assert charged.hosted_usd == pytest.approx(21 * USD)
    assert charged.starts == 1
    outcome = charged.outcome
    assert outcome is not None
    assert (outcome.requests, dict(outcome.outcomes)) == (51, {"local": 30, "hosted": 20, "refused": 1})
    assert outcome.slo_share == pytest.approx(50 / 51)
    assert (outcome.first_token.p50, outcome.first_token.p99) == (0.4, 0.4)
    assert outcome.inter_token.p50 == pytest.approx(0.02)
    assert outcome.tokens == 50 * 1020


def test_the_replay_has_the_replicas_of_then() -> None:
    """They serve from when they could; until then the hosted API does. The last request is served as well."""
    truth = receipts_of().truth()
    replayed = truth.replayed.outcome

    assert replayed is not None
    assert dict(replayed.outcomes) == {"hosted": 20, "local": 31}
    assert truth.replayed.replica_usd == truth.charged.replica_usd
    assert truth.error == pytest.approx((20 / 21 - 1) * 21 * USD / truth.charged.usd)


def test_everything_else_is_paid_for_as_long() -> None:
    """Also while nothing came, at the end."""
    receipts = receipts_of()
    (fixed, optimal) = receipts.others(["static", "optimal"])

    assert receipts.comparison.seconds >= 108.0
    assert fixed.replica_hours * 3600.0 in (0.0, pytest.approx(receipts.comparison.seconds))
    assert optimal.usd <= fixed.usd


def test_a_period_that_cost_nothing_has_no_share() -> None:
    """Nothing is nothing; a replay that costs something is all wrong."""
    free = replace(RECORDING, requests=[request(1000.0)], replicas=[])
    truth = receipts_of(free).truth()

    assert truth.charged.usd == 0.0
    assert truth.error == 1.0, "without a replica the hosted API serves"


def test_the_table_says_how_much_more_or_less(capsys: pytest.CaptureFixture[str]) -> None:
    """Against what it really cost; the rows are called as people call them."""
    receipts = receipts_of()
    truth, others = receipts.truth(), list(receipts.others(NAMES))
    head, *lines = receipt_table(truth, others)

    assert head.split()[:3] == ["what", "cost", "against"]
    assert [line.split("  ")[0] for line in lines[:8]] == [
        "as it was", "its replay", "hosted APIs alone", "best fixed number", "HPA", "KubeAI", "Overspill, by this YAML",
        "clairvoyant",
    ]  # fmt: skip
    alone = next(row for row in others if row.name == "api-only")
    assert f"{alone.usd / truth.charged.usd - 1.0:+.1%}" in lines[2].split()
    (first, _) = receipt_heading(receipts.recording, a_route())
    assert first == (
        "ns/chat from 1970-01-01T00:16:40Z to 1970-01-01T00:18:28Z (2 minutes): 51 requests, "
        "0.03 replica-hours at 0.81 USD"
    )
    figures = receipt_json(receipts.recording, truth, others)
    assert figures["rows"]["charged"]["cost_usd"] == truth.charged.usd
    assert figures["replay_error"] == truth.error
    assert "spilled_share" not in figures["rows"][OPTIMAL]
    assert capsys.readouterr().out == ""


def test_a_replay_that_is_far_off_is_told() -> None:
    """Above 5 % the engines are others than those that are simulated."""
    truth = receipts_of().truth()
    near = replace(truth, replayed=replace(truth.replayed, usd=truth.charged.usd * 1.049))
    far = replace(truth, replayed=replace(truth.replayed, usd=truth.charged.usd * 0.94))

    assert verdict(near)[-1].endswith("USD, +4.9%: so near are the simulated figures above.")
    assert "-6.0%: the simulated engines or prices are not those that served." in verdict(far)[1]
    assert verdict(far)[-1].startswith("Yours took 20.0 ms between two tokens")
    unknown = replace(far, replica_pace_seconds=None)
    assert verdict(unknown)[-1].startswith("Give the speed of yours by --engine")


@pytest.fixture
def quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that writes down its replicas as soon as they change."""
    monkeypatch.setattr(gateway_module, "TICK_SECONDS", 0.01)


async def posted(gateway: GatewayUnderTest, count: int) -> None:
    """So many requests, one after the other."""
    for _ in range(count):
        answer = await gateway.post(stream=True)
        assert answer.status == 200


def says(path: Path, text: str) -> Callable[[], bool]:
    """Whether a line of the recording has this text."""
    return lambda: path.exists() and text in path.read_text()


@pytest.mark.usefixtures("quick_ticks")
async def test_the_replay_of_a_real_gateway_costs_what_was_charged(tmp_path: Path) -> None:
    """Within 5 %: requests to a hosted API before there is a replica, to the replica, and back when it is gone."""
    path = tmp_path / "recording.jsonl"
    script = streams(usage=True)
    async with backend(script) as engine, backend(script) as api, running_gateway(recording=path) as gateway:
        gateway.route(hosted=[api.hosted("api", **MILLION)], overflow={"on_cold_start": "Hosted"})
        await eventually(says(path, '"replicas":0'))
        await posted(gateway, 30)
        gateway.endpoints(engine.fact())
        await eventually(says(path, '"ready":1'))
        await posted(gateway, 60)
        gateway.endpoints()
        await eventually(lambda: path.read_text().count('"replicas":0') == 2)
        await posted(gateway, 10)
        charged = gateway.gateway.catalog.routes["ns/tiny"].tally.spilled_nano_usd

    recording = read_recording([path], "ns/tiny")
    hosted = [{**SPEC["hosted"][0], "price": PRICE}]
    assumed = Assumptions(
        begins_unix=recording.begins, replica_usd_per_hour=36.0, engine="step_ms=1,prompt_tokens_per_second=100000"
    )
    truth = Receipts(a_route({"hosted": hosted}, assumed), recording).truth()

    assert len(recording.arrivals()) == 100
    assert truth.charged.hosted_usd == pytest.approx(charged * 1e-9)
    assert truth.charged.hosted_usd > 0.2
    assert truth.charged.replica_usd > 0.0
    assert truth.replayed.hosted_usd == pytest.approx(truth.charged.hosted_usd, rel=0.05)
    assert abs(truth.error) <= 0.05

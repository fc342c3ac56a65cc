"""Demand from Prometheus: what is asked for, what is made of it, and what is said where there is nothing to make."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from overspill_cli.errors import CommandError
from overspill_cli.main import main
from overspill_cli.prometheus_trace import asked, lengths_around, trace_from
from unit.cli.test_simulating import ROUTE

NOW = 1_800_000_000.0


class Known:
    """A Prometheus that has these values."""

    def __init__(self, rates: list[tuple[float, str]], tokens: dict[str, str], requests: str | None) -> None:
        self.rates, self.tokens, self.requests = rates, tokens, requests
        self.asked: list[str] = []

    def custom_query_range(self, query: str, start_time: datetime, end_time: datetime, step: str) -> Any:
        """Rates."""
        self.asked.append(f"{query} {start_time.timestamp():.0f} {end_time.timestamp():.0f} {step}")
        return [{"metric": {}, "values": [[at, text] for at, text in self.rates]}] if self.rates else []

    def custom_query(self, query: str) -> Any:
        """Sums."""
        self.asked.append(query)
        if "tokens" in query:
            return [{"metric": {"token_type": kind}, "value": [NOW, text]} for kind, text in self.tokens.items()]
        return [{"metric": {}, "value": [NOW, self.requests]}] if self.requests is not None else []


def test_rates_by_the_minute_and_mean_lengths_are_asked_for() -> None:
    """Of the route's own series, for the days until now."""
    known = Known([(NOW - 120.0, "2.5"), (NOW - 60.0, "0"), (NOW, "NaN")], {"input": "9000", "output": "900"}, "10")
    trace = trace_from(known, "chat/llama", 0.5, NOW)

    assert known.asked == [
        'sum(rate(overspill_arrivals_total{route="chat/llama"}[2m])) 1799956800 1800000000 60s',
        'sum by (token_type) (increase(overspill_tokens_total{route="chat/llama"}[43200s]))',
        'sum(increase(overspill_arrivals_total{route="chat/llama"}[43200s]))',
    ]
    (window,) = trace.windows
    assert (window.begins, window.seconds, window.per_second) == (43_200.0 - 120.0, 60.0, 2.5)
    assert trace.begins_unix == NOW - 43_200.0
    assert trace.lengths == lengths_around(900.0, 90.0)


def test_lengths_that_are_drawn_have_the_mean_that_was_counted() -> None:
    """A log-normal distribution, cut off far out."""
    random, lengths = Random(1), lengths_around(900.0, 90.0)
    drawn = [lengths(random) for _ in range(20_000)]

    assert sum(prompt for prompt, _ in drawn) / len(drawn) == pytest.approx(900.0, rel=0.05)
    assert sum(output for _, output in drawn) / len(drawn) == pytest.approx(90.0, rel=0.05)


@pytest.mark.parametrize(
    "known", [Known([], {}, None), Known([(NOW, "1")], {}, "0"), Known([(NOW, "NaN")], {"input": "1"}, "5")]
)
def test_a_route_that_prometheus_does_not_know_is_told(known: Known) -> None:
    """With what to look at."""
    with pytest.raises(CommandError, match="Prometheus knows of no requests of chat/llama in 1 days; see that it"):
        trace_from(known, "chat/llama", 1.0, NOW)


@pytest.mark.parametrize(
    ("days", "url", "message"),
    [
        (0.0, "http://localhost", "--days is 0; write a number above 0, and at most 7"),
        (8.0, "http://localhost", "--days is 8;"),
        (1.0, "localhost:9090", "--from-prometheus is 'localhost:9090'; write a URL such as"),
        (1.0, "http://127.0.0.1:1", "Prometheus at http://127.0.0.1:1 gave no answer that can be used: "),
    ],
)
def test_wrong_options_are_told(days: float, url: str, message: str) -> None:
    """And so is a Prometheus that is not there."""
    with pytest.raises(CommandError) as told:
        asked(argparse.Namespace(days=days, from_prometheus=url), "chat/llama")
    assert message in str(told.value)


@contextmanager
def served(status: int = 200) -> Iterator[str]:
    """A server that answers as Prometheus does, three minutes of one request a second; its URL."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """One query."""
            address = urlparse(self.path)
            query = parse_qs(address.query)["query"][0]
            result: list[dict[str, Any]] = [{"metric": {}, "value": [0, "180"]}]
            if address.path.endswith("query_range"):
                end = float(parse_qs(address.query)["end"][0])
                result = [{"metric": {}, "values": [[end - 60.0 * ago, "1"] for ago in (3, 2, 1)]}]
            elif "tokens" in query:
                kinds = {"input": "90000", "output": "9000"}
                result = [{"metric": {"token_type": kind}, "value": [0, text]} for kind, text in kinds.items()]
            body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_plan_is_made_from_what_prometheus_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the library that asks it, over HTTP; an error of Prometheus' is told."""
    route, other = tmp_path / "route.yaml", tmp_path / "other.yaml"
    route.write_text(ROUTE)
    other.write_text(ROUTE)
    with served() as url:
        # The whole time is a day, of which all but three minutes are empty: half an hour is enough here.
        arguments = ["plan", str(route), "--against", str(other), "--from-prometheus", url, "--days", "0.02"]
        assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "**±0 USD a month, p99 TTFT ±0 ms, spills ±0 %**" in text
    assert "(`Prometheus, the last 0.02 days`)" in text

    with served(status=503) as url:
        assert main(["plan", str(route), "--from-prometheus", url]) == 1
    assert f"Prometheus at {url} gave no answer that can be used: HTTP Status Code 503" in capsys.readouterr().err


def test_without_the_library_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no part of the smallest installation."""
    route = tmp_path / "route.yaml"
    route.write_text(ROUTE)
    monkeypatch.setitem(sys.modules, "prometheus_api_client", None)

    assert main(["plan", str(route), "--from-prometheus", "http://127.0.0.1:1"]) == 1
    assert "prometheus_api_client is not installed: pip install 'overspill[prometheus]'" in capsys.readouterr().err

"""The page on the gateway is complete, and has nothing that is not: metrics, settings, ports, lines of the log."""

import ast
import logging
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from overspill_api.compiled import CompiledConsumer, CompiledRoute
from overspill_api.log_levels import LOG_LEVELS
from overspill_gateway.settings import command_line
from overspill_gateway.sources.documents_by_object import Document, DocumentsByObject, Subject
from unit.gateway.backends import answers, backend, resets_before_head, then
from unit.gateway.harness import GatewayUnderTest

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "inference" / "src" / "overspill_gateway"
PAGE = (ROOT / "docs" / "reference" / "gateway.md").read_text()
Row = tuple[str, ...]
LOCAL = {"service": "tiny-engine", "port": 8000, "served_model": "tiny"}
BUDGET = {"limit_nano_usd": 50_000_000, "alerts": (1,)}
PRICES: dict[str, Any] = {
    "input_nano_usd_per_million": 15_000_000_000,
    "output_nano_usd_per_million": 60_000_000_000,
    "price_version": "v1",
}


def rows(heading: str) -> list[Row]:
    """The cells of all tables under a heading, without their heads and without backticks."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert section, f"the page has no heading {heading!r}"
    tables = re.findall(r"(?:^\|.*\n?)+", section, re.MULTILINE)
    lines = [line for table in tables for line in table.strip().splitlines()[2:]]
    return [tuple(cell.strip().replace("`", "") for cell in line.strip("|").split("|")) for line in lines]


def by_name(table: list[Row]) -> dict[str, Row]:
    """Rows by their first cell, each of which comes once."""
    named = {name: tuple(cells) for name, *cells in table}
    assert len(named) == len(table), "a row comes twice"
    return named


async def seen_metrics(gateway: GatewayUnderTest) -> dict[str, Row]:
    """Type and labels of each metric of a gateway that has served, by its name as Prometheus has it."""
    text = (await gateway.admin("/metrics")).body.decode()
    seen: dict[str, Row] = {name: (kind,) for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert family.samples, f"the test gives {name} nothing to count, so that its labels are not seen"
        seen[name] = (*seen[name], ", ".join(sorted(labels)))
    return seen


async def test_every_metric_is_there_with_its_type_and_labels(gateway: GatewayUnderTest) -> None:
    """Of routes of each kind, after answers, failures and refusals; and the page has none that is not."""
    async with backend(then(resets_before_head, answers())) as engine, backend(answers()) as api:
        gateway.route("local")
        gateway.endpoints(engine.fact(), route="local")
        gateway.route("hosted", local=None, hosted=[api.hosted(**PRICES)], budget=BUDGET)
        gateway.route(
            "both", hosted=[api.hosted(**PRICES)], overflow={"on_cold_start": "Hosted"},
            per_consumer={"requests_per_minute": 1},
        )  # fmt: skip
        for name in ("local", "hosted", "both", "both"):
            await gateway.post(name, max_tokens=10)
        client = await gateway.client()
        client.send("POST", "/v1/chat/completions", b"{}")
        assert (await client.answer()).status == 401

        seen = await seen_metrics(gateway)

    told = {
        name: (kind, ", ".join(sorted(labels.split(", "))))
        for name, (kind, labels, _) in by_name(rows("Metrics")).items()
    }
    assert told == seen


def test_every_flag_is_there_with_its_variable_and_default() -> None:
    """As the command has them, and none that it has not."""
    told = by_name(rows("Settings"))
    bare = command_line({})
    takes_value = dict(re.findall(r"(--[a-z-]+)( [A-Z_{])?", bare.format_usage()))
    assert set(told) == set(takes_value)
    for flag, (variable, default, _) in told.items():
        name = flag.removeprefix("--").replace("-", "_")
        assert default == str(bare.get_default(name) or ""), flag
        text = "marked" if takes_value[flag] else "true"
        marked = command_line({variable: text}).get_default(name)
        assert str(marked).lower() == text, f"{variable} does not set {flag}"


async def test_every_path_of_the_admin_port_is_there(gateway: GatewayUnderTest) -> None:
    """What it serves, and what it says that it serves."""
    told = {path for path in by_name(rows("Ports")) if path.startswith("/")}

    refused = await gateway.admin("/")

    assert set(re.findall(r"/[a-z/]+", refused.error["message"])) == told


def test_every_level_of_the_log_is_there() -> None:
    """Those that the setting takes; CRITICAL has no lines of its own."""
    assert {*by_name(rows("Levels"))} == {*LOG_LEVELS} - {"CRITICAL"}


class Nobody:
    """Takes routes and consumers, and does nothing with them."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def _as_read(document: Document) -> Document:
    return document


def lines_of_documents(caplog: pytest.LogCaptureFixture) -> set[str]:
    """What is said of a route and a consumer that come, change and go."""
    documents = DocumentsByObject(Nobody())
    common = {"namespace": "ns", "name": "tiny", "uid": "u"}
    with caplog.at_level(logging.INFO):
        for generation in (1, 2):
            known = common | {"generation": generation}
            route = CompiledRoute.model_validate(
                known | {"model": "tiny", "overflow": {"on_cold_start": "Hold"}, "local": LOCAL}
            )
            consumer = CompiledConsumer.model_validate(known | {"keys": [], "routes": []})
            documents.take("route.json", Subject("route", "ns/tiny"), partial(_as_read, route))
            documents.take("consumer.json", Subject("consumer", "ns/tiny"), partial(_as_read, consumer))
        documents.drop("route.json")
        documents.drop("consumer.json")
    return {record.getMessage() for record in caplog.records}


def lines_of_source() -> set[str]:
    """The texts of all ``logger.info`` in the package that name what they are about."""
    calls = [
        node for path in SOURCE.rglob("*.py") if "logger.info(" in (text := path.read_text())
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "logger.info"
    ]  # fmt: skip
    texts = {ast.literal_eval(call.args[0]) for call in calls}
    return {text.replace(" %s", " ...") for text in texts if not text.startswith("%s")}


def test_every_line_at_info_is_there(caplog: pytest.LogCaptureFixture) -> None:
    """They tell a gateway's story; the page has each, and none that the gateway never says."""
    assert set(by_name(rows("Lines at INFO"))) == lines_of_source() | lines_of_documents(caplog)

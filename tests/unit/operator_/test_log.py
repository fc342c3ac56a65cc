"""The log at INFO, its default: what becomes of each ModelRoute, once a change, and nothing while nothing happens."""

import logging
from pathlib import Path
from typing import Any

import pytest

from overspill_operator.app.route_teller import ROUTE
from overspill_operator.parts import Parts
from overspill_operator.settings import Settings
from unit.operator_.core.builders import raw_route
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock

GOOD = "hosted: [{name: a, baseURL: 'https://x.test/v1', model: m}]"
BETTER = "hosted: [{name: a, baseURL: 'https://x.test/v1', model: n}]"
BROKEN = f"""
{GOOD}
scaling: {{windows: [{{name: w, from: "00:00", to: "01:00", timeZone: Mars/Base, maxReplicas: 1}}]}}
"""


class World(FakeCluster):
    """An API server with one ModelRoute, and an operator that has seen it; nothing but the log is looked at."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        profiles = folder / "profiles.yaml"
        profiles.write_text("cpu: {image: 'example.test/engine:1'}")
        self.parts = Parts(
            Settings.from_environment({"POD_NAMESPACE": "system", "OVERSPILL_PROFILES": str(profiles)}),
            self,
            VirtualClock(),
        )
        for cache in self.parts.caches.all:
            cache.synced.set()
        self.route: dict[str, Any] = {"status": {}}
        self.generation = 0

    async def merge_patch(self, path: str, patch: Any) -> Any:
        """A status is written to the route."""
        if not path.endswith("/modelroutes/tiny/status"):
            return await super().merge_patch(path, patch)
        self.route = {**self.route, "status": {**self.route["status"], **patch["status"]}}
        return self.route

    async def write(self, spec: str) -> None:
        """Somebody writes another spec."""
        self.generation += 1
        raw = raw_route(spec)
        raw["metadata"]["generation"] = self.generation
        self.route = {**raw, "status": self.route["status"]}
        self.parts.routes.put(self.route)
        await self.reconcile()

    async def reconcile(self) -> None:
        """One round over the route as it is."""
        await self.parts.reconcile((ROUTE, "chat/tiny"))


@pytest.fixture
async def world(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> World:
    """Nothing is written yet, and nothing said."""
    made = World(tmp_path)
    caplog.set_level(logging.INFO)
    caplog.clear()
    return made


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and message of each line since the last look; each names its route."""
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert all(getattr(record, "route", None) == "chat/tiny" for record in caplog.records)
    caplog.clear()
    return lines


async def test_a_route_that_is_accepted_and_then_changed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """One line each, with what has come of it; another round over the same has none."""
    await world.write(GOOD)
    assert said(caplog) == [("INFO", "route new: Ready is True (HostedAvailable)")]
    await world.reconcile()
    assert said(caplog) == []
    await world.write(BETTER)
    (record,) = caplog.records
    assert (record.generation, record.model) == (2, "tiny")  # type: ignore[attr-defined]
    assert said(caplog) == [("INFO", "route changed: Ready is True (HostedAvailable)")]
    await world.reconcile()
    assert said(caplog) == []


async def test_a_change_that_is_refused_and_then_mended(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """That it is refused at INFO as every change, why as a WARNING with what mends it; the end of it at INFO."""
    await world.write(GOOD)
    said(caplog)
    await world.write(BROKEN)
    taken, *warnings = said(caplog)
    assert taken == ("INFO", "route changed: Ready is False (UnknownTimeZone)")
    assert [level for level, _ in warnings] == ["WARNING"]
    assert warnings[0][1].startswith("Ready is False. ")
    assert "Mars/Base" in warnings[0][1]
    await world.reconcile()
    assert said(caplog) == []

    await world.write(GOOD)
    lines = said(caplog)
    assert lines[0] == ("INFO", "route changed: Ready is True (HostedAvailable)")
    assert {level for level, _ in lines} == {"INFO"}
    assert any(message.startswith("Ready is True.") for _, message in lines)


async def test_a_route_that_is_refused_from_the_start(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A new one, and why it is not served."""
    await world.write(BROKEN)
    taken, *warnings = said(caplog)
    assert taken == ("INFO", "route new: Ready is False (UnknownTimeZone)")
    assert [level for level, _ in warnings] == ["WARNING"]

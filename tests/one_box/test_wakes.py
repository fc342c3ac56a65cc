"""Thirty wakes in a row, and `serve` killed at random moments, with engines that load fast."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from one_box import process_table
from one_box.client import FAILURES, RefusedError, wait_until
from one_box.conftest import OVERSPILL, route, standin_engine
from one_box.serving import Serve

pytestmark = pytest.mark.timeout(120)
WAKES = 30
KILLS = 4


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Path]:
    """A folder with two routes whose engines are small servers, with memory for one of them."""
    (tmp_path / "route.yaml").write_text(
        route("one", f"file://{tmp_path}/one", "llama") + route("two", f"file://{tmp_path}/two", "llama")
    )
    (tmp_path / "profiles.yaml").write_text(f"profiles:\n  llama: {standin_engine(load_ms=50)}\n")
    yield tmp_path
    left = process_table.processes(str(tmp_path))
    for one in left:
        process_table.kill(one)
    assert left == [], "a process was left behind"


def start(box: Path) -> Serve:
    """`overspill serve` on it."""
    options = (f"--profiles={box / 'profiles.yaml'}", "--no-auth", "--memory=1Gi")
    serve = Serve(OVERSPILL, [box / "route.yaml"], box, *options)
    serve.wait_until_listening()
    return serve


def running(box: Path) -> list[process_table.Running]:
    """Engines that run."""
    return process_table.processes("standin", f"{box}/")


def test_thirty_wakes_in_a_row(box: Path) -> None:
    """Each request wakes the model that was ended for the one before, is answered by it, and leaves one running."""
    serve = start(box)
    seconds = []
    for number in range(WAKES):
        name = ("one", "two")[number % 2]
        answer = serve.client.ask(name, tokens=4, seconds=30)
        assert answer.served_by == f"local/{name}-0"
        assert answer.text.startswith(name)
        seconds.append(answer.seconds)
        assert len(running(box)) <= 2, "one, and at most one that is ending"

    assert serve.end() == 0
    assert not running(box)
    assert serve.tail(10**6).count("engine is ready") == WAKES
    assert sorted(seconds)[WAKES // 2] < 5


def test_serve_killed_at_random_moments(box: Path) -> None:
    """Whatever it was at: its engines end, and the next one serves at once from the same state."""
    seed = int(os.environ.get("OVERSPILL_SEED", "1"))
    moments = random.Random(seed)
    for _ in range(KILLS):
        serve = start(box)
        end = time.monotonic() + moments.uniform(0.0, 1.2)
        number = 0
        while time.monotonic() < end:
            number += 1
            try:
                serve.client.ask(("one", "two")[number % 2], tokens=2, seconds=max(0.05, end - time.monotonic()))
            except (*FAILURES, RefusedError):
                break
        serve.popen.kill()
        serve.popen.wait()
        wait_until(f"its engines are gone (seed {seed})", lambda: not running(box), 20, pause_seconds=0.02)

    serve = start(box)
    assert serve.client.ask("one", seconds=30).served_by == "local/one-0"
    assert serve.end() == 0

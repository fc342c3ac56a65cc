"""The fuzz targets: their seeds hold, whatever is near them holds, and a short guided run finds nothing."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS

CHECKOUT = Path(__file__).resolve().parents[3]
CORPUS = CHECKOUT / "tests" / "fuzz" / "corpus"
SEEDS = {name: [path.read_bytes() for path in sorted((CORPUS / name).iterdir())] for name in TARGETS}
TOKENS = [
    re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), line[1:-1])
    for line in (CHECKOUT / "tests" / "fuzz" / "tokens.dict").read_bytes().splitlines()
    if line.startswith(b'"')
]
GUIDED_SECONDS = 5


@st.composite
def near_a_seed(draw: st.DrawFn, name: str) -> bytes:
    """A seed, or two spliced, with a few bytes changed, dropped, doubled, or tokens put in."""
    data = bytearray(draw(st.sampled_from(SEEDS[name])))
    if draw(st.booleans()):
        other = draw(st.sampled_from(SEEDS[name]))
        data[draw(st.integers(0, len(data))) :] = other[draw(st.integers(0, len(other))) :]
    for _ in range(draw(st.integers(0, 3))):
        position = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "drop", "double", "token"])):
            case "change":
                data[position : position + 1] = draw(st.binary(min_size=1, max_size=1))
            case "drop":
                del data[position : position + draw(st.integers(1, 20))]
            case "double":
                data[position:position] = data[position : position + draw(st.integers(1, 60))]
            case _:
                data[position:position] = draw(st.sampled_from(TOKENS))
    return bytes(data[:1500])


@pytest.mark.parametrize("name", ["requests", pytest.param("answers", marks=pytest.mark.interpreted), "events"])
def test_seeds_hold(name: str) -> None:
    """Every input that is kept, among them all that once broke a rule. The pool of answers is a double."""
    assert len(SEEDS[name]) > 10
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@given(near_a_seed("requests"))
@settings(max_examples=3 * settings().max_examples)
def test_requests_near_the_seeds_hold(data: bytes) -> None:
    """Read alike however split, and never otherwise than another parser reads them."""
    TARGETS["requests"](data)


@pytest.mark.interpreted  # its pool is a double
@given(near_a_seed("answers"))
@settings(max_examples=3 * settings().max_examples)
def test_answers_near_the_seeds_hold(data: bytes) -> None:
    """Read alike however split; exactly one end; no line of a head that was not one field."""
    TARGETS["answers"](data)


@given(near_a_seed("events"))
@settings(max_examples=3 * settings().max_examples)
def test_events_near_the_seeds_hold(data: bytes) -> None:
    """Passed on alike however split; whole or broken, never both."""
    TARGETS["events"](data)


@pytest.mark.exhaustive
@pytest.mark.interpreted  # it instruments the code
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this machine")
@pytest.mark.parametrize("name", TARGETS)
def test_a_short_guided_run_finds_nothing(name: str, tmp_path: Path) -> None:
    """libFuzzer sees the code's coverage, goes on from what reaches more of it, and no rule breaks."""
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(GUIDED_SECONDS), "--found", str(tmp_path)]
    run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=50, check=False)

    assert run.returncode == 0, run.stderr[-3000:]
    covered = [int(count) for count in re.findall(r"cov: (\d+)", run.stderr)]
    assert covered[-1] >= covered[0] > 50, "the code is not instrumented"
    assert any(tmp_path.iterdir()), "nothing new was reached: it is not guided"

"""vLLM's metrics, as real servers of several versions write them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overspill_api.engine_metrics import EngineFigures, read_figures

BUSY = (Path(__file__).parent / "data" / "vllm-0.32-metrics-busy.txt").read_bytes()
"""What a vLLM 0.32 with six running requests answered, shortened: names that begin alike and HELP lines are kept."""


def test_a_server_of_today() -> None:
    """Names that begin alike, and names in HELP and TYPE lines, are not mixed up."""
    assert b"vllm:num_requests_waiting_by_reason{" in BUSY
    assert read_figures(BUSY) == EngineFigures(waiting=0.0, running=6.0, kv_cache_usage=0.00036623329060614385)


def test_an_older_server() -> None:
    """The cache had another name."""
    text = b'vllm:gpu_cache_usage_perc{model_name="a"} 0.5\nvllm:num_requests_waiting{model_name="a"} 1.0\n'
    assert read_figures(text) == EngineFigures(waiting=1.0, kv_cache_usage=0.5)


def test_several_engines_in_one_pod() -> None:
    """Data parallel ranks are summed; of caches the fullest counts."""
    text = "\n".join(
        f'vllm:num_requests_waiting{{engine="{i}"}} {i}\nvllm:kv_cache_usage_perc{{engine="{i}"}} 0.{i}'
        for i in range(4)
    )
    assert read_figures(text.encode()) == EngineFigures(waiting=6.0, kv_cache_usage=0.3)


@pytest.mark.parametrize(
    ("line", "waiting"),
    [
        ("vllm:num_requests_waiting 3", 3.0),
        ('vllm:num_requests_waiting{a="1"} 3 1795221244000', 3.0),
        ('vllm:num_requests_waiting{a="} 9 "} 3', 3.0),
        ("xvllm:num_requests_waiting 3", None),
        ("# HELP vllm:num_requests_waiting 3", None),
        ("vllm:num_requests_waiting_total 3", None),
    ],
)
def test_a_line_is_read_as_the_format_says(line: str, waiting: float | None) -> None:
    """A name ends where its labels or its value begin; labels may hold anything; a timestamp may follow."""
    assert read_figures(line.encode()).waiting == waiting
    assert read_figures(f"up 1\n{line}\n".encode()).waiting == waiting


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "x", ""])
def test_what_is_no_number_is_missing(value: str) -> None:
    """Bad metrics never scale."""
    assert read_figures(f'vllm:num_requests_waiting{{engine="0"}} {value}'.encode()).waiting is None


def test_a_server_that_is_not_vllm() -> None:
    """Nothing is made up."""
    assert read_figures(b"up 1\n") == EngineFigures()


@settings(deadline=None)  # a busy machine is no counterexample
@given(st.binary(max_size=200), st.integers(0, len(BUSY)))
def test_no_answer_makes_reading_fail(noise: bytes, at: int) -> None:
    """Whatever a server says, figures are finite and not negative, or missing."""
    figures = read_figures(BUSY[:at] + noise + BUSY[at:])

    for value in (figures.waiting, figures.running, figures.kv_cache_usage):
        assert value is None or 0 <= value < float("inf")

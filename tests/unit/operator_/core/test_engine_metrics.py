"""vLLM's metrics, as real servers of several versions write them."""

import pytest

from overspill_operator.core.engine_metrics import EngineFigures, QueueReading, queue_reading, read_figures

V0_32 = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 6.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.00036623329060614385
"""


def test_a_server_of_today() -> None:
    """Names that begin alike are not mixed up."""
    assert read_figures(V0_32) == EngineFigures(waiting=2.0, running=6.0, kv_cache_usage=0.00036623329060614385)


def test_an_older_server() -> None:
    """The cache had another name."""
    text = 'vllm:gpu_cache_usage_perc{model_name="a"} 0.5\nvllm:num_requests_waiting{model_name="a"} 1.0\n'
    assert read_figures(text) == EngineFigures(waiting=1.0, kv_cache_usage=0.5)


def test_several_engines_in_one_pod() -> None:
    """Data parallel ranks are summed; of caches the fullest counts."""
    text = "\n".join(
        f'vllm:num_requests_waiting{{engine="{i}"}} {i}\nvllm:kv_cache_usage_perc{{engine="{i}"}} 0.{i}'
        for i in range(4)
    )
    assert read_figures(text) == EngineFigures(waiting=6.0, kv_cache_usage=0.3)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "x", ""])
def test_what_is_no_number_is_missing(value: str) -> None:
    """Bad metrics never scale."""
    assert read_figures(f'vllm:num_requests_waiting{{engine="0"}} {value}').waiting is None


def test_a_server_that_is_not_vllm() -> None:
    """Nothing is made up."""
    assert read_figures("up 1\n") == EngineFigures()


def test_replicas_that_do_not_answer_are_counted() -> None:
    """The sum is of those that did."""
    figures = [EngineFigures(waiting=3.0), None, EngineFigures()]
    assert queue_reading(figures) == QueueReading(asked=3, answered=1, waiting=3)

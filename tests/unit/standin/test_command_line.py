"""The stand-in as a process: vLLM's command line, load time, SIGTERM, sudden death."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from standin.settings import Settings, UsageError, from_command_line

VLLM = Path(__file__).parents[2] / "standin" / "vllm"


@contextmanager
def process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The real executable, killed at the end if it still runs."""
    started = subprocess.Popen(
        [str(VLLM), *arguments], stdout=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"], **environment}
    )
    with started:
        try:
            yield started
        finally:
            started.kill()


def listening_port(started: subprocess.Popen[str]) -> int:
    """Wait until it says that it listens."""
    assert started.stdout is not None
    return int(json.loads(started.stdout.readline())["listening"])


def test_vllm_s_own_command_line_is_taken() -> None:
    """Names, port and lengths are obeyed in both spellings; flags that mean nothing here are passed over."""
    line = (
        "serve /models/tiny --served-model-name a b --port 9000 --max-model-len=2048 --enforce-eager "
        "--gpu-memory-utilization 0.9 --tensor_parallel_size=2 --max-num-seqs 3 --api-key k"
    )
    settings = from_command_line(line.split(), {})
    assert settings == Settings(
        role="engine",
        root="/models/tiny",
        models=("a", "b"),
        port=9000,
        context_tokens=2048,
        concurrency=3,
        api_key="k",
    )


def test_without_a_served_name_the_model_is_the_name() -> None:
    """As in vLLM."""
    assert from_command_line(["serve", "org/model"], {}).models == ("org/model",)


def test_an_engine_s_name_is_its_pod_s() -> None:
    """So that answers of two replicas differ without telling them their names; a given name wins."""
    assert from_command_line(["serve", "m"], {"HOSTNAME": "pod-1"}).name == "pod-1"
    assert from_command_line(["serve", "m"], {"HOSTNAME": "pod-1", "STANDIN_NAME": "east"}).name == "east"
    assert from_command_line(["hosted"], {"HOSTNAME": "pod-1"}).name == "hosted"


def test_variables_win_over_flags_and_the_hosted_role_serves_every_name() -> None:
    """What a test sets in the pod's environment holds whatever the operator's command line says."""
    environment = {
        "STANDIN_NAME": "west",
        "STANDIN_TOKENS": "3",
        "STANDIN_ANSWER_DELAY_MS": "2.5",
        "STANDIN_LOAD_MS": "",
    }
    hosted = from_command_line(["hosted", "--port", "1"], environment)
    assert (hosted.role, hosted.name, hosted.tokens, hosted.models) == ("hosted", "west", 3, ())
    assert hosted.answer_delay_ms == 2.5
    assert from_command_line(["serve", "m", "--max-num-seqs", "9"], {"STANDIN_CONCURRENCY": "1"}).concurrency == 1


@pytest.mark.parametrize(
    ("line", "environment", "told"),
    [
        ("", {}, "vllm serve MODEL"),
        ("chat", {}, "vllm serve MODEL"),
        ("serve --port 1", {}, "needs a model"),
        ("serve m --port many", {}, "--port must be a whole number from 0 up, got 'many'"),
        ("serve m", {"STANDIN_TOKENS": "-1"}, "STANDIN_TOKENS must be a whole number"),
        ("serve m", {"STANDIN_LOAD_MS": "nan"}, "STANDIN_LOAD_MS must be a number"),
    ],
)
def test_what_cannot_be_understood_is_named(line: str, environment: dict[str, str], told: str) -> None:
    """The error names the flag or the variable and what would do."""
    with pytest.raises(UsageError, match=told):
        from_command_line(line.split(), environment)


def test_a_bad_command_line_ends_with_an_error() -> None:
    """Exit code 2 and one line, as command lines do."""
    ran = subprocess.run([str(VLLM), "serve"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: vllm serve needs a model")


def test_it_serves_then_ends_on_sigterm_with_the_answer_given() -> None:
    """SIGTERM in the middle of an answer: the answer arrives whole, then the process ends with 0."""
    with process("serve", "m", "--port", "0", "--host", "127.0.0.1", STANDIN_ANSWER_DELAY_MS="150") as started:
        port = listening_port(started)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            body = b'{"model":"m","prompt":"x"}'
            client.sendall(b"POST /v1/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            _wait_until_running(port)
            started.send_signal(signal.SIGTERM)
            got = b""
            while piece := client.recv(65536):
                got += piece
        assert got.startswith(b"HTTP/1.1 200 OK")
        assert got.endswith(b"}}")
        assert started.wait(timeout=5) == 0


def test_while_it_loads_connections_are_refused_and_sigterm_ends_it() -> None:
    """Like an engine that reads its weights: nothing listens before, and it can be told to go."""
    with process("serve", "m", "--port", "0", STANDIN_LOAD_MS="60000") as started:
        _wait_until(lambda: "SigCgt" in _status(started.pid) and _catches_sigterm(started.pid))
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=5) == 0
        assert started.stdout is not None
        assert started.stdout.read() == ""


def test_load_time_is_kept() -> None:
    """It listens no sooner than told."""
    begun = time.time()
    with process("hosted", "--port", "0", STANDIN_LOAD_MS="200") as started:
        listening_port(started)
        assert time.time() - begun >= 0.2


def test_die_ends_it_without_an_answer() -> None:
    """`vllm die` itself succeeds; then no drain, no answer to those who wait, an exit code that says killed."""
    with process("serve", "m", "--port", "0", STANDIN_ANSWER_DELAY_MS="60000") as started:
        port = listening_port(started)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(b'POST /v1/completions HTTP/1.1\r\ncontent-length: 26\r\n\r\n{"model":"m","prompt":"x"}')
            _wait_until_running(port)
            subprocess.run([str(VLLM), "die", "--port", str(port)], check=True, timeout=10)
            assert client.recv(100) == b""
        assert started.wait(timeout=5) == 137


def _wait_until_running(port: int) -> None:
    def runs() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/standin/requests", timeout=5) as response:
            return bool(json.load(response)["running"] == 1)

    _wait_until(runs)


def _wait_until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "did not happen within 10 s"


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def _catches_sigterm(pid: int) -> bool:
    caught = next(line for line in _status(pid).splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) & (1 << (signal.SIGTERM - 1)))

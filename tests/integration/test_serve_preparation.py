"""``overspill serve`` on a machine without vLLM: the first request has its environment made, and says why it waits."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve_rig import TESTS, Serve, hosted_api, route, wait_for

HOSTED = '  hosted: [{{name: api, baseURL: "{url}", model: m, price: {{input: "1", output: "1"}}}}]\n'
FREE_GIGABYTES = 17.0


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """One that has not been started."""
    if shutil.disk_usage(tmp_path).free < FREE_GIGABYTES * 1e9:
        pytest.skip(f"the environment is made where {FREE_GIGABYTES:g} GB are free only")
    made = Serve(tmp_path)
    made.write("profiles.yaml", f'engine: {{startupTimeout: 20s, env: {{RIG: "{tmp_path}"}}}}\n')
    made.write("route.yaml", route())
    yield made
    made.kill_all()


def installer(folder: Path, script: str) -> dict[str, Any]:
    """What stands for uv; the variables with which it is found, with an empty cache."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "uv").write_text(f"#!/bin/sh\n{script}\n")
    (tools / "uv").chmod(0o755)
    return {"PATH": f"{tools}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(folder / "cache")}


def test_the_first_request_has_it_made_and_is_answered(serve: Serve) -> None:
    """Nothing is made before; meanwhile the route says what it waits for; then the engine starts."""
    os.mkfifo(serve.folder / "go")
    # What it installs: a program `vllm` that is the stand-in.
    variables = installer(
        serve.folder,
        f'read line <{serve.folder}/go; bin=$(dirname "$5"); ln -s {TESTS}/standin/vllm "$bin/vllm"',
    )
    serve.start("--no-auth", "--vllm=gpu", **variables)
    assert not (serve.folder / "cache").exists()

    answer = serve.ask_meanwhile()
    why = wait_for("it says what it waits for", lambda: serve.route()["waitsFor"])
    assert "making the environment for vLLM" in why
    (serve.folder / "go").write_text("\n")

    assert answer().served_by == "local/tiny-0"
    assert serve.end() == 0


def test_why_it_can_not_be_made_is_one_sentence(serve: Serve) -> None:
    """In the log and at the route; meanwhile the hosted API serves."""
    variables = installer(serve.folder, "echo 'error: no space left on device (os error 28)' >&2; exit 2")
    with hosted_api() as url:
        serve.write("route.yaml", route(more=HOSTED.format(url=url)))
        serve.start("--no-auth", "--vllm=gpu", **variables)

        assert serve.ask().served_by == "hosted/api"
        wait_for("it says why", lambda: "The disk is full" in str(serve.route()["waitsFor"]))

        assert "--vllm PATH" in serve.said()
        assert serve.end() == 0


def test_a_vllm_that_is_not_there_ends_the_start(serve: Serve) -> None:
    """In one sentence."""
    done = serve.command("serve", str(serve.folder / "route.yaml"), "--state", str(serve.state), "--vllm", "/nowhere")

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("overspill serve: --vllm is /nowhere, where no program is: it takes the path of")

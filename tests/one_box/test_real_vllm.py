"""Real vLLM on this machine's CPU: models take turns in the memory for one of them, and people's SDKs talk to them.

One `overspill serve` runs through all of it, and each test goes on where the one before has ended: a start takes longer
than all that is asked of an engine.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from typing import Any

import anthropic
import openai
import pytest

from one_box import process_table
from one_box.client import RefusedError, wait_until
from one_box.conftest import OVERSPILL, World, gone, route
from one_box.serving import PROFILES, Serve, engines
from overspill_box.environments.making import made
from overspill_box.environments.recipes import VLLM_CPU, engines_folder

pytestmark = pytest.mark.timeout(300)
MESSAGES: Any = [{"role": "user", "content": "Tell me of the sea"}]
HELD_SECONDS = 200.0


def test_a_request_waits_for_the_model_that_it_has_woken(world: World) -> None:
    """Nothing runs before somebody asks; with a key of `overspill keys --local`, and without one nothing at all."""
    first, second = world.models
    assert not engines(first)
    with pytest.raises(RefusedError, match="401"):
        world.serve.client.ask("first")

    answer = world.client.ask("first", seconds=HELD_SECONDS)

    assert answer.served_by == "local/first-0"
    assert answer.pieces > 1
    assert engines(first)
    assert not engines(second)


def test_the_openai_sdk_talks_to_it(world: World) -> None:
    """Plain, streamed, and the list of models."""
    with openai.OpenAI(base_url=f"{world.client.url}/v1", api_key=world.key, max_retries=0, timeout=30) as client:
        plain = client.chat.completions.create(model="first", messages=MESSAGES, max_tokens=9, temperature=0)
        streamed = list(client.chat.completions.create(model="first", messages=MESSAGES, max_tokens=9, stream=True))
        models = [model.id for model in client.models.list()]

    assert plain.usage is not None
    assert plain.usage.completion_tokens == 9
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
    assert {"first", "second", "other"} <= set(models)


def test_the_anthropic_sdk_talks_to_it(world: World) -> None:
    """Plain and streamed."""
    with anthropic.Anthropic(base_url=world.client.url, api_key=world.key, max_retries=0, timeout=30) as client:
        message = client.messages.create(model="first", messages=MESSAGES, max_tokens=9)
        with client.messages.stream(model="first", messages=MESSAGES, max_tokens=9) as stream:
            text = "".join(stream.text_stream)

    assert message.usage.output_tokens
    assert text


def test_a_server_of_another_kind_runs_beside_it(world: World) -> None:
    """By the command line in its profile; it has room beside the first."""
    answer = world.client.ask("other", seconds=30)

    assert answer.served_by == "local/other-0"
    assert answer.text.startswith("other")
    assert engines(world.models[0]), "the first one still runs"


def test_the_second_model_takes_the_place_of_the_first(world: World) -> None:
    """There is memory for one of the two; never do both run."""
    first, second = world.models

    answer = world.client.ask("second", seconds=HELD_SECONDS)

    assert answer.served_by == "local/second-0"
    assert engines(second)
    assert not engines(first)
    assert world.watch.most == 1


def test_a_revoked_key_opens_nothing(world: World) -> None:
    """`overspill keys revoke --local` counts within seconds."""
    key = world.command("keys", "create", "other", "--local", f"--state={world.serve.state}")
    world.command("keys", "revoke", "other", key.split("-")[1], "--local", f"--state={world.serve.state}")

    def is_refused() -> bool:
        return type(world.client)(world.client.url, key).get("/v1/models")[0] == 401

    wait_until("the key is refused", is_refused, 15)


def test_whenever_serve_is_killed_no_engine_stays(world: World) -> None:
    """By SIGKILL at random moments of a real vLLM's start, and once when it served: it holds no memory afterwards."""
    second = world.models[1]
    began = gone_after_kill(world.serve, second)
    assert began < 15
    seed = int(os.environ.get("OVERSPILL_SEED", "1"))
    moments = random.Random(seed)
    for round_ in range(3):
        serve = Serve(
            OVERSPILL, [world.folder / "route.yaml"], world.folder,
            f"--profiles={world.folder / 'profiles.yaml'}", "--vllm=cpu", "--no-auth",
        )  # fmt: skip
        serve.wait_until_listening()
        asking = ask_in_background(serve, "second")
        wait_until("its engine is started", lambda: engines(second), 15, pause_seconds=0.01)
        wait = moments.uniform(0.0, 3.0)
        time.sleep(wait)
        seconds = gone_after_kill(serve, second)
        asking.kill()
        asking.wait()
        assert seconds < 15, f"seed {seed}, round {round_}: killed {wait:.2f} s after the start"


def test_sleep_mode_where_vllm_lacks_it(world: World) -> None:
    """vLLM 0.32 says on CPU that it has none, and serve says in a sentence what to do. Stand-ins try our side of it."""
    folder = world.folder / "sleeping"
    folder.mkdir()
    profiles, documents = folder / "profiles.yaml", folder / "route.yaml"
    profiles.write_text(PROFILES.replace("local: {", "local: {sleep: true, "))
    documents.write_text(route("first", f"file://{world.models[0]}"))
    serve = Serve(OVERSPILL, [documents], folder, f"--profiles={profiles}", "--vllm=cpu", "--no-auth")
    try:
        serve.wait_until_listening()
        asking = ask_in_background(serve, "first")
        wait_until("its engine has failed", lambda: "engine failed" in serve.tail(100_000), HELD_SECONDS)
        asking.kill()
        asking.wait()
    finally:
        serve.end()

    assert "Sleep mode is not supported on current platform" in (
        next((folder / "state" / "engines").glob("*.log")).read_text()
    )
    said = next(line for line in serve.tail(100_000).splitlines() if "engine failed" in line)
    assert "local.sleep" in said


def test_its_environment_has_what_serve_says() -> None:
    """The program that the log names runs."""
    folder = made(VLLM_CPU, engines_folder(os.environ))
    versions = subprocess.run(
        [str(folder / "bin" / "python"), "-c", "import importlib.metadata as m; print(m.version('vllm'))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert versions.stdout.strip() == "0.32.0+cpu"


def gone_after_kill(serve: Serve, model: Any) -> float:
    """Kill it; how long its engine stays."""
    serve.popen.kill()
    serve.popen.wait()
    seconds = gone(model, 30)
    assert not process_table.processes(str(serve.state)), "a guard was left behind"
    return seconds


def ask_in_background(serve: Serve, model: str) -> subprocess.Popen[bytes]:
    """A client that waits for an answer."""
    body = json.dumps({"model": model, "messages": MESSAGES})
    code = (
        "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], sys.argv[2].encode(),"
        " {'content-type': 'application/json'}), timeout=300).read()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, f"{serve.client.url}/v1/chat/completions", body],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

"""``overspill serve`` as people run it: one process, engines as processes, a client that knows nothing of either."""

import http.client
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from overspill_box.processes.free_port import free_port
from serve_rig import Serve, hosted_api, profile, route, wait_for

pytestmark = pytest.mark.timeout(240)  # a busy machine's: each test starts several processes

HOSTED = '  hosted: [{{name: api, baseURL: "{url}", model: m, price: {{input: "1", output: "1"}}}}]\n'


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """One that has not been started, with a profile whose engine loads for half a second."""
    made = Serve(tmp_path)
    made.write("profiles.yaml", f"engine: {profile(tmp_path, load_ms=500)}\n")
    yield made
    made.kill_all()


def test_a_cold_request_spills_and_the_engine_answers_the_next(serve: Serve) -> None:
    """Asleep the hosted API answers and the engine is woken; ready it answers itself; idle it goes to zero."""
    with hosted_api() as url:
        serve.write("route.yaml", route(idle_after="2s", more=HOSTED.format(url=url)))
        serve.start("--no-auth")

        assert serve.ask().served_by == "hosted/api"
        wait_for("the engine is ready", lambda: serve.route()["ready"] == 1)
        answer = serve.ask()
        assert answer.served_by == "local/tiny-0"
        assert answer.text.startswith("tiny")

        wait_for("the engine is at zero", lambda: not serve.route()["engines"])
        assert serve.route()["decisions"][0]["reason"] == "Idle"
        load_time = serve.route()["loadTime"]
        assert [phase["name"] for phase in load_time["lastStart"]["phases"]][-1] == "weights and engine start"
        assert load_time["seconds"] >= 0.5
        assert "EngineStarted" in [event["reason"] for event in serve.route()["events"]]
        assert serve.route()["servedBy"]
        assert not serve.engine_pids()
        assert serve.end() == 0


def test_a_held_request_is_answered_by_the_engine_that_it_woke(serve: Serve) -> None:
    """Without a hosted API it waits for the load, and no longer."""
    serve.write("route.yaml", route())
    serve.start("--no-auth")

    assert serve.ask().served_by == "local/tiny-0"


def test_two_models_take_turns_in_the_memory_of_one(serve: Serve) -> None:
    """Each request is answered by its own engine, and never two of them are loaded."""
    small = profile(serve.folder, local=", memory: 6Gi")
    serve.write("profiles.yaml", f"engine: {small}\n")
    serve.write("route.yaml", route("first") + route("second"))
    serve.start("--no-auth", "--memory", "8Gi")

    for model in ("first", "second", "first", "second"):
        answer = serve.ask(model)
        assert (answer.status, answer.text.split()[0]) == (200, model)
        assert len(serve.engine_pids()) <= 1


def test_a_model_sleeps_and_wakes_without_being_loaded_again(serve: Serve) -> None:
    """With sleep mode the process of a model that yields stays."""
    sleeper = profile(serve.folder, local=", memory: 6Gi, sleep: true, asleepMemory: 1Gi")
    serve.write("profiles.yaml", f"engine: {sleeper}\n")
    serve.write("route.yaml", route("first") + route("second"))
    serve.start("--no-auth", "--memory", "8Gi")

    assert serve.ask("first").status == 200
    [first] = serve.engine_pids()
    assert serve.ask("second").status == 200
    assert serve.route("first")["asleep"] == 1
    assert serve.ask("first").status == 200

    assert first in serve.engine_pids()
    assert len(serve.engine_pids()) == 2
    assert serve.route("second")["asleep"] == 1


def test_nobody_notices_that_an_engine_was_killed(serve: Serve) -> None:
    """The next request waits for another one; the log says why the first one ended."""
    serve.write("route.yaml", route())
    serve.start("--no-auth")
    serve.ask()
    [pid] = serve.engine_pids()

    os.kill(pid, signal.SIGKILL)

    assert serve.ask().status == 200
    assert [pid] != serve.engine_pids()
    assert "engine failed" in serve.said()


def test_a_restart_keeps_the_engine_where_it_is_told_to(serve: Serve) -> None:
    """The next process takes it over: nothing is loaded again."""
    serve.write("route.yaml", route())
    serve.start("--no-auth", "--keep-engines")
    serve.ask()
    pids = serve.engine_pids()

    assert serve.end() == 0
    assert serve.engine_pids() == pids
    serve.start("--no-auth")
    wait_for("the engine is ready", lambda: serve.route()["ready"] == 1)
    assert serve.ask().served_by == "local/tiny-0"

    assert serve.engine_pids() == pids
    assert serve.end() == 0
    wait_for("the engine has ended", lambda: not serve.engine_pids())


def test_an_interrupt_ends_the_engines(serve: Serve) -> None:
    """Ctrl-C at a terminal leaves nothing behind."""
    serve.write("route.yaml", route())
    serve.start("--no-auth")
    serve.ask()

    assert serve.end(signal.SIGINT) == 0

    wait_for("no engine is left", lambda: not serve.engine_pids(), 5)


def test_answers_are_finished_and_a_second_signal_ends_them(serve: Serve) -> None:
    """SIGTERM lets an answer finish; whoever says it twice does not want to wait."""
    slow = ', STANDIN_TOKEN_DELAY_MS: "300"'
    serve.write("profiles.yaml", f"engine: {profile(serve.folder, variables=slow)}\n")
    serve.write("route.yaml", route())
    serve.start("--no-auth")
    serve.ask(max_tokens=1)

    answer = serve.ask_meanwhile(max_tokens=5)
    wait_for("the request is at the engine", lambda: serve.route()["requests"]["atEngines"] == 1)
    assert serve.end() == 0
    assert len(answer().text.split()) == 5

    serve.start("--no-auth")
    serve.ask(max_tokens=1)
    answer = serve.ask_meanwhile(max_tokens=200)
    wait_for("the request is at the engine", lambda: serve.route()["requests"]["atEngines"] == 1)
    assert serve.process is not None
    serve.process.send_signal(signal.SIGTERM)
    wait_for("it drains", lambda: serve.said().count("draining") == 2)
    assert serve.end() == 0
    assert answer().status in (0, 200, 503)
    wait_for("no engine is left", lambda: not serve.engine_pids())


def test_a_killed_serve_leaves_no_engine(serve: Serve) -> None:
    """Whatever becomes of serve, what it has started ends with it."""
    serve.write("route.yaml", route())
    serve.start("--no-auth", "--keep-engines")
    serve.ask()

    serve.end(signal.SIGKILL)

    wait_for("no engine is left", lambda: not serve.engine_pids(), 10)


def test_files_are_read_again_when_they_change(serve: Serve) -> None:
    """A wrong one leaves what was in force; a new route is there, and one that is gone is not."""
    serve.write("route.yaml", route())
    serve.start("--no-auth")

    serve.write("route.yaml", route() + "  nonsense: true\n")
    wait_for("the log says so", lambda: "nonsense" in serve.said())
    assert serve.ask().status == 200
    serve.write("route.yaml", route("other"))
    wait_for("the other one is there", lambda: serve.ask("other").status == 200)
    wait_for("the first one is gone", lambda: serve.ask("tiny").status == 404)
    wait_for("so is its engine", lambda: len(serve.engine_pids()) == 1)


def test_hangup_looks_at_the_files_now(serve: Serve) -> None:
    """And ends nothing."""
    serve.write("route.yaml", route())
    serve.start("--no-auth")
    assert serve.process is not None

    serve.process.send_signal(signal.SIGHUP)

    wait_for("it says so", lambda: "files are looked at" in serve.said())
    assert serve.ask().status == 200


def test_an_engine_whose_spec_has_changed_is_replaced(serve: Serve) -> None:
    """No request gets less than an answer meanwhile."""
    serve.write("route.yaml", route())
    serve.start("--no-auth")
    serve.ask()
    [before] = serve.engine_pids()

    serve.write("route.yaml", route(more='  selfHosted: {source: "hf://test/next", profile: engine}\n').replace(
        '  selfHosted: {source: "hf://test/tiny", profile: engine}\n', ""))  # fmt: skip
    wait_for("the old one is gone", lambda: [serve.ask().status == 200, before not in serve.engine_pids()][1])

    assert serve.ask().served_by.startswith("local/tiny-")


def test_keys_of_this_machine(serve: Serve) -> None:
    """Without a key nothing; with one that the command made, within two seconds; revoked, nothing again."""
    serve.write("route.yaml", route())
    serve.start()
    local = ["--local", "--state", str(serve.state)]
    assert serve.ask().status == 401

    key = serve.command("keys", "create", "me", *local).stdout.strip()
    wait_for("the key is known", lambda: serve.ask(key=key).status == 200, 10)
    assert serve.command("keys", "revoke", "me", key, *local).returncode == 0
    wait_for("the key is not known any more", lambda: serve.ask(key=key).status == 401, 10)


def test_without_keys_strangers_are_kept_out(serve: Serve) -> None:
    """A page of another site, and a name that was made to lead here, get 403 with the way out."""
    serve.write("route.yaml", route())
    serve.start("--no-auth")

    assert serve.ask(key="sk-anything").status == 200
    assert serve.ask(headers={"Host": "evil.test"}).body["error"]["code"] == "foreign_host"
    assert serve.ask(headers={"Origin": "https://evil.test"}).status == 403


def test_no_web_page_reads_the_admin_port(serve: Serve) -> None:
    """Where keys are asked for as well: models, spending and why engines failed are none of a page's business."""
    serve.write("route.yaml", route())
    serve.start()
    address = serve.status()["admin"].removeprefix("http://")

    for header in ({"Host": "evil.test"}, {"Origin": "https://evil.test"}):
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.request("GET", "/status.json", headers=header)
        assert connection.getresponse().status == 403
        connection.close()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--no-auth", "--listen", "0.0.0.0:0"], "--no-auth lets in everybody"),
        (["--memory", "many"], "--memory:"),
        (["--profiles", "/nowhere.yaml"], "--profiles /nowhere.yaml: No such file"),
        (["--secrets", "/nowhere"], "--secrets /nowhere: there is no such folder"),
        (["--admin-listen", "9090"], "--admin-listen '9090' is not host:port"),
    ],
)
def test_what_is_typed_wrong_is_said_in_a_sentence(serve: Serve, arguments: list[str], sentence: str) -> None:
    """And nothing is begun."""
    path = serve.write("route.yaml", route())
    port = ["--listen", f"127.0.0.1:{serve.port}"] if "--listen" not in arguments else []

    ended = serve.command("serve", str(path), "--state", str(serve.state), *port, *arguments)

    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


def test_mistakes_in_files_come_all_at_once_with_their_lines(serve: Serve) -> None:
    """As overspill check has them."""
    path = serve.write("route.yaml", route() + "  nonsense: true\n  more: 1\n")

    ended = serve.command("serve", str(path), "--state", str(serve.state), "--listen", f"127.0.0.1:{serve.port}")

    assert ended.returncode == 1
    assert "route.yaml:8: ModelRoute default/tiny: spec.nonsense" in ended.stderr
    assert "route.yaml:9: ModelRoute default/tiny: spec.more" in ended.stderr


def test_a_second_one_is_told_whose_port_and_state_it_wants(serve: Serve) -> None:
    """Both in one sentence with the way out."""
    path = serve.write("route.yaml", route())
    serve.start("--no-auth")

    mine, other = ["--state", str(serve.state)], ["--state", str(serve.folder / "other")]
    taken = serve.command("serve", str(path), *other, "--listen", f"127.0.0.1:{serve.port}")
    used = serve.command("serve", str(path), *mine, "--listen", f"127.0.0.1:{free_port()}")
    absent = serve.command("serve", "/nowhere.yaml", *other, "--listen", f"127.0.0.1:{free_port()}")

    assert f"port {serve.port} of 127.0.0.1 is taken" in taken.stderr
    assert "another overspill serve (pid" in used.stderr
    assert "/nowhere.yaml: there is no such file" in absent.stderr


def test_the_table_for_people(serve: Serve) -> None:
    """A line for each route of the running one; without one a sentence."""
    serve.write("route.yaml", route())
    assert "no overspill serve runs" in serve.command("serve", "--status", "--state", str(serve.state)).stderr
    serve.start("--no-auth")
    serve.ask()

    table = serve.command("serve", "--status", "--state", str(serve.state)).stdout

    assert table.splitlines()[1].split()[:6] == ["default/tiny", "tiny", "Ready", "1", "1", "0"]

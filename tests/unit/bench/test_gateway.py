"""The gateway benchmark's own arithmetic and settings: what it says has to be what was measured."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from bench.gateway import endurance, figures, overspill_settings, peer_settings, processes, profiles, sent
from bench.gateway.comparison import Comparison, Series
from bench.gateway.driving import Cost
from bench.gateway.memory import Held
from pydantic import BaseModel

from overspill_api.compiled import CompiledConsumer, CompiledRoute


def _series(*plain: float, added: float = 10.0) -> Series:
    made = Series(version="1")
    for number, cpu_us in enumerate(plain):
        cost = Cost(cpu_us, 1e6 / cpu_us, 1.0, 1.0)
        made.plain[number] = made.stream[number] = made.many_streams[number] = cost
        made.differing[number] = cost
        made.added_p50[number] = made.added_p99[number] = added
    return made


def test_ratios_are_of_the_same_round_and_of_the_dearer_way() -> None:
    """Noise that slows a whole round leaves its ratio alone; the way that costs more is the one that counts."""
    local, hosted, envoy = _series(20, 200, 20), _series(30, 300, 30), _series(60, 600, 60)

    made = figures.summary(Comparison({"overspill": local, "envoy": envoy, "overspill-hosted": hosted}))

    assert made["ratios"]["envoy"]["cpu_per_request"] == 0.5
    assert made["gateways"]["overspill"]["cpu_us_per_request"] == 30
    assert made["gateways"]["overspill-local"]["cpu_us_per_request"] == 20
    assert made["bars"]["cpu_per_request_at_most_0.6_of_envoy"] is True
    assert made["bars"]["cpu_per_request_below_vllm_router"] is None


def test_the_bars_on_a_request_hold_for_requests_that_differ_too() -> None:
    """What only alike requests gain from is not enough."""
    ours, envoy = _series(50), _series(100)
    ours.differing[0] = Cost(70, 1e6 / 70, 1.0, 1.0)

    made = figures.summary(Comparison({"overspill": ours, "envoy": envoy}))

    assert made["gateways"]["overspill"]["cpu_us_per_differing_request"] == 70
    assert made["ratios"]["envoy"]["cpu_per_differing_request"] == 0.7
    assert made["bars"]["cpu_per_request_at_most_0.6_of_envoy"] is True
    assert made["bars"]["cpu_per_differing_request_at_most_0.6_of_envoy"] is False


def test_a_round_in_which_one_failed_is_left_out_of_their_ratio() -> None:
    """Two gateways are only compared where both were measured."""
    ours, envoy = _series(50, 50), _series(100, 10)
    del envoy.plain[1]

    made = figures.summary(Comparison({"overspill": ours, "envoy": envoy}))

    assert made["ratios"]["envoy"]["cpu_per_request"] == 0.5


def test_a_gateway_that_could_not_be_started_has_an_error_and_the_others_have_figures() -> None:
    """One peer that is missing does not take the run with it."""
    broken = Series(errors=["start: nginx is not installed"])

    made = figures.summary(Comparison({"overspill": _series(50), "nginx": broken}))

    assert "not installed" in made["gateways"]["nginx"]["error"]
    assert made["gateways"]["overspill"]["cpu_us_per_request"] == 50
    assert "not installed" in figures.table(made)
    json.dumps(made)


def test_memory_of_fewer_streams_is_scaled_above_what_the_process_has_anyway() -> None:
    """Only the streams' part grows with their number."""
    assert Held(idle_mb=100, mb=110, streams=1000, broken=0).mb_per_10000 == 200


def test_the_gateway_understands_every_field_of_its_settings(tmp_path: Path) -> None:
    """A gateway ignores fields that it does not know: a misspelt limit would be measured as none."""

    def check(document: object, model: type[BaseModel]) -> None:
        read = model.model_validate(document).model_dump(mode="json")
        _assert_within(document, read)

    overspill_settings.write(tmp_path / "routes", "127.0.0.1:9000")
    for path in (tmp_path / "routes").glob("route.*.json"):
        check(json.loads(path.read_text()), CompiledRoute)
    check(json.loads((tmp_path / "routes" / "consumer.bench.json").read_text()), CompiledConsumer)


def _assert_within(part: object, whole: object) -> None:
    if isinstance(part, dict):
        assert isinstance(whole, dict)
        assert part.keys() <= whole.keys()
        for key, value in part.items():
            _assert_within(value, whole[key])
    elif isinstance(part, list):
        assert isinstance(whole, list)
        assert len(part) == len(whole)
        for one, other in zip(part, whole, strict=True):
            _assert_within(one, other)
    else:
        assert part == whole


def test_every_gateway_is_sent_the_same_differing_requests() -> None:
    """They differ from each other in text, length and parameters, and between gateways in key and model alone."""
    mine, others = _bodies(sent.differing("key", "mine")), _bodies(sent.differing(None, "others"))

    assert len(set(mine)) == len(mine) == sent.DIFFERING
    assert [body.replace(b'"mine"', b'"others"') for body in mine] == others
    assert min(map(len, mine)) < 500
    assert max(map(len, mine)) > 2800
    assert len({frozenset(json.loads(body)) for body in mine}) > 100


def _bodies(requests: bytes) -> list[bytes]:
    bodies = []
    while requests:
        head, _, rest = requests.partition(b"\r\n\r\n")
        assert b"\r\nx-request-id: " in head
        assert b"\r\ntraceparent: 00-" in head
        length = re.search(rb"content-length: (\d+)$", head)
        assert length is not None
        bodies.append(rest[: int(length[1])])
        requests = rest[int(length[1]) :]
    return bodies


def test_envoys_settings_have_what_an_llm_gateway_needs_at_least() -> None:
    """The comparison is with a realistic Envoy, not with a bare one."""
    text = peer_settings.envoy(1, "127.0.0.1:2", Path("/log"))

    for name in ("json_to_metadata", "local_ratelimit", "retry_policy", "circuit_breakers", "outlier_detection"):
        assert name in text
    assert json.loads(text)["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] == 1


def test_cpu_of_a_tree_counts_its_children() -> None:
    """nginx and LiteLLM work in processes that they start."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdout.readline()  # the child runs

        tree = processes.tree(parent.pid)

        assert len(tree) == 2
        assert tree[0] == parent.pid
        parent.stdin.close()


def test_a_process_is_ended_with_its_children(tmp_path: Path) -> None:
    """Nothing of a benchmark stays behind, not even what a gateway has started and lost."""
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '1000']).pid, flush=True); sys.stdin.read()"
    line = [sys.executable, "-c", code]
    with processes.Process(line, tmp_path / "log", 0, tmp_path, takes_orders=True) as process:
        said = process.says(20)
        assert said is not None
        child = int(said)
        assert Path(f"/proc/{child}").exists()

    assert not _runs(child)
    assert not _runs(process.pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture(autouse=True)
def _affinity() -> None:
    if 0 not in os.sched_getaffinity(0):
        pytest.skip("CPU 0 is not ours")


def test_minutes_are_compared_by_what_the_machine_did_and_growth_after_the_warm_up() -> None:
    """A machine that got slower is no slower gateway; what pools take in the first seconds is no growth."""
    memory = [(0.0, 30.0), (25.0, 44.0), (45.0, 44.0), *((float(at), 44.4) for at in range(100, 200, 5))]
    minutes = [endurance.Minute(400_000, 0, rate, 1e6 / rate) for rate in (50_000, 45_000, 40_000)]

    slower = endurance.figures_of(minutes, memory, [100_000.0, 100_000.0, 80_000.0, 80_000.0])
    alike = endurance.figures_of(minutes, memory, [100_000.0] * 4)
    unknown = endurance.figures_of(minutes, memory, [None] * 4)

    assert slower["requests_per_second_by_minute"] == [50_000, 45_000, 40_000]
    assert slower["cpu_us_per_request_by_minute"] == [20.0, 22.2, 25.0]
    assert slower["mb_growth"] == pytest.approx(0.4)
    found = [
        (made["third_minute_over_first"], made["machine_over_first"], made["third_minute_over_first_by_machine"])
        for made in (slower, alike, unknown)
    ]
    assert found == [(0.8, 0.8, 1.0), (0.8, 1.0, 0.8), (0.8, 1.0, 0.8)]
    assert [made["bars"]["third_minute_no_slower_than_the_first"] for made in (slower, alike)] == [True, False]
    assert slower["bars"]["memory_does_not_grow"]
    assert slower["bars"]["a_million_requests_none_failed"]


def test_a_sample_belongs_to_the_innermost_module_of_the_gateway_or_to_the_kernel() -> None:
    """C that a module calls is the module's cost; a system call is the kernel's; other threads are left out."""
    package = "/x/overspill_gateway"
    main = f"main ({package}/main.py:31)"
    stacks = Counter(
        {
            f"{main};read_body ({package}/core/body.py:9);decode (msgspec/_core.cpython-311.so)": 2,
            f"{main};flush ({package}/wire/server.py:8);uv_write (libuv.so.1);write (libc.so.6)": 1,
            f"{main};uv_run (libuv.so.1)": 1,
            f"run ({package}/proxy/ledger.py:9);wait (libc.so.6)": 50,
        }
    )

    made = profiles.table_of("request", 40.0, stacks, sleeps=False)

    assert made["us_by_part"] == {"core.body": 20.0, "kernel: write": 10.0, "event loop (uvloop, libuv)": 10.0}

"""Where the gateway's CPU goes: samples of py-spy under load, by part, by function, and with all that it calls."""

import contextlib
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from bench.gateway.comparison import CONNECTIONS
from bench.gateway.driving import plain_requests, streams
from bench.gateway.gateways import kind_named
from bench.gateway.installing import environment_of
from bench.gateway.overspill_settings import HOSTED_MODEL
from bench.gateway.places import CHECKOUT, GATEWAY_CPU
from bench.gateway.running import Bench, Subject, bench

SECONDS: Final = 12
SAMPLES_PER_SECOND: Final = 400
ROWS: Final = 30
STREAMS: Final = 100
OWN: Final = "overspill_gateway"
WAITING: Final = "kernel: epoll"
"""A sampler does not tell it from sleep."""
_FRAME: Final = re.compile(r"(?P<name>.*) \((?P<file>[^:)]*)(:\d+)?\)$")
_COMPILED: Final = re.compile(r"CPy(?:Def|Py)_(?P<name>[a-z_]+?___.+)")
"""How mypyc names the C function of a function or method: its module, with folders only where two have one name."""
_SYSTEM_CALLS: Final = {
    "write": "write", "writev": "write", "sendmsg": "write", "read": "read", "recv": "read", "recvmsg": "read",
    "epoll_wait": "epoll", "epoll_pwait": "epoll", "epoll_ctl": "epoll",
}  # fmt: skip


class NotSampledError(Exception):
    """The gateway can't be looked into, for want of the right to, it may be (kernel.yama.ptrace_scope)."""


def measure() -> dict[str, Any]:
    """Requests that are alike and that differ, to a replica and hosted, and streams: each for some seconds."""
    results: dict[str, Any] = {}
    with bench() as made:
        local = made.start(kind_named("overspill"))
        hosted = made.other_model(local, HOSTED_MODEL)
        loads: list[tuple[str, Subject, Callable[[Bench, Subject, float], float]]] = [
            ("request", local, _requests),
            ("request_hosted", hosted, _requests),
            ("differing_request", local, _differing_requests),
            ("differing_request_hosted", hosted, _differing_requests),
            ("chunk", local, _chunks),
        ]
        for name, subject, load in loads:
            load(made, subject, 2.0)  # as it is when it has run for a while
            cost_us = load(made, subject, 4.0)  # not sampled
            results[name] = table_of(name, cost_us, _sample(made, subject, load), sleeps=load is _chunks)
    return results


def _requests(made: Bench, subject: Subject, seconds: float) -> float:
    return plain_requests(made, subject, connections=CONNECTIONS, seconds=seconds).cpu_us


def _differing_requests(made: Bench, subject: Subject, seconds: float) -> float:
    return plain_requests(made, subject, connections=CONNECTIONS, seconds=seconds, differing=True).cpu_us


def _chunks(made: Bench, subject: Subject, seconds: float) -> float:
    return streams(made, subject, connections=STREAMS, streams_each=max(1, round(seconds))).cpu_us


def _sample(made: Bench, subject: Subject, load: Callable[[Bench, Subject, float], float]) -> Counter[str]:
    """Samples by stack, outermost frame first, while a load runs."""
    output = made.folder / "samples.txt"
    line = [*_beside_the_gateway(), str(environment_of("profiler") / "bin" / "py-spy"), "record"]
    line += ["--pid", str(subject.process.pid), "--duration", str(SECONDS), "--rate", str(SAMPLES_PER_SECOND)]
    line += ["--format", "raw", "--native", "--output", str(output)]
    sampler = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(0.5)
        load(made, subject, SECONDS + 2.0)
        _, said = sampler.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            sampler.kill()
        sampler.wait()
    if not output.exists():
        raise NotSampledError(f"py-spy wrote nothing: {said.strip()[-400:]}")
    stacks: Counter[str] = Counter()
    for row in output.read_text().splitlines():
        stack, _, count = row.rpartition(" ")
        stacks[stack] += int(count)
    output.unlink()
    return stacks


def _beside_the_gateway() -> list[str]:
    """Runs a sampler on the gateway's own CPU, before it: it then stops the gateway wherever that is.

    On the other CPU it would run instead of the load, that is, when the gateway has nothing to do.
    """
    real_time = ["chrt", "--fifo", "1"]
    allowed = subprocess.run([*real_time, "true"], check=False, capture_output=True).returncode == 0
    return [*(real_time if allowed else []), "taskset", "--cpu-list", str(GATEWAY_CPU)]


def table_of(name: str, cost_us: float, stacks: Counter[str], *, sleeps: bool) -> dict[str, Any]:
    """Microseconds of each request or chunk; what a gateway that often sleeps spends on waiting is left out."""
    parts, own, within = Counter[str](), Counter[str](), Counter[str]()
    for stack, count in stacks.items():
        frames = [_readable(frame) for frame in stack.split(";")]
        if f"{OWN}.main:main" not in frames:
            continue  # another thread, which mostly sleeps
        part = _part(frames)
        if part == WAITING and sleeps:
            continue
        parts[part] += count
        own[frames[-1]] += count
        for frame in set(frames):
            if frame.startswith(OWN):
                within[frame.removeprefix(OWN + ".")] += count
    total = parts.total()
    scale = cost_us / total if total else 0.0
    print(f"\n{name}: {cost_us:.1f} us of CPU, {total} samples")
    tables = (
        ("by part, with the C that it calls", parts),
        ("by function, itself", own),
        ("by function, with all that it calls", within),
    )
    for title, counted in tables:
        print(f"  {title}")
        for place, count in counted.most_common(ROWS):
            print(f"    {count * scale:7.2f} us {100 * count / total:5.1f} %  {place}")
    return {
        "cpu_us": round(cost_us, 1),
        "samples": total,
        "us_by_part": _rounded(parts, scale, 40),
        "us_by_function": _rounded(own, scale, 30),
        "us_with_callees": _rounded(within, scale, 30),
    }


def _rounded(counted: Counter[str], scale: float, rows: int) -> dict[str, float]:
    return {place: round(count * scale, 2) for place, count in counted.most_common(rows)}


def _readable(frame: str) -> str:
    """``module:function`` of a frame as py-spy writes it."""
    compiled = _COMPILED.match(frame)
    if compiled is not None:
        return _compiled_place(compiled["name"].partition(" (")[0])
    found = _FRAME.match(frame)
    return f"{_module(Path(found['file']))}:{found['name']}" if found else frame


@cache
def _compiled_place(name: str) -> str:
    """``module:function`` of a C function."""
    parts = name.split("___")
    sources = CHECKOUT / "inference" / "src" / OWN
    for count in range(1, len(parts)):
        found = sorted(sources.rglob("/".join(parts[:count]) + ".py"))
        if len(found) == 1:
            module = ".".join(found[0].relative_to(sources).with_suffix("").parts)
            return f"{OWN}.{module}:{'.'.join(parts[count:]).lstrip('._')}"
    return f"{OWN}.?.{parts[0]}:{'.'.join(parts[1:])}"


def _module(path: Path) -> str:
    if OWN in path.parts:
        return ".".join(path.with_suffix("").parts[path.parts.index(OWN) :])
    return path.name.partition(".cpython")[0].partition(".so")[0]


def _part(frames: list[str]) -> str:
    """The kernel's work by system call; else the innermost module of the gateway; else the event loop."""
    place, _, function = frames[-1].partition(":")
    if place.startswith("libc") and function.strip("_").removesuffix("_nocancel") in _SYSTEM_CALLS:
        return f"kernel: {_SYSTEM_CALLS[function.strip('_').removesuffix('_nocancel')]}"
    for frame in reversed(frames):
        if frame.startswith(OWN) and not frame.startswith(f"{OWN}.main"):
            return frame.partition(":")[0].removeprefix(OWN + ".")
    return "event loop (uvloop, libuv)"

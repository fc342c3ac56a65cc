"""What gateways have recorded of a route (``--recording``): its requests, what they cost, and its replicas over time.

A file has lines of several routes, in the order in which requests were over; several gateways write a file each. Not
here: what a replay makes of it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from overspill_planner.traces.arrival import Arrival, TraceError
from overspill_planner.traces.fields import number, tokens
from overspill_planner.traces.lines import Line, lines_of

FORM: Final = (
    '{"seconds": 1764205200.1, "route": "chat/llama-8b", "prompt_tokens": 812, "output_tokens": 120, '
    '"served_by": "hosted/api", "nano_usd": 193800, "first_token_seconds": 0.41, "end_seconds": 1.85, "served": true}'
)
NOBODY: Final = "none"
"""Who served a request that nobody served."""
NANO: Final = 1e-9
NANO_USD_MAX: Final = 1e18
"""Of one request: a billion dollars."""
REPLICAS_MAX: Final = 1000
LAST_SECONDS: Final = 4_102_444_800.0
"""2100."""
LENGTH_SECONDS_MAX: Final = 400 * 86_400.0
"""Of one recording: a replay of the decades since 1970 would not come to an end."""
SAID_SECONDS: Final = 120.0
"""So old a gateway's number of replicas may be."""


class RecordedRequest(NamedTuple):
    """One request, or an attempt of one that was charged and served nothing."""

    seconds: float
    """When it came, since 1970."""
    prompt_tokens: int
    output_tokens: int
    served_by: str
    """``local/<replica>``, ``hosted/<name>`` or ``none``."""
    usd: float
    """What a hosted API was charged for it."""
    first_token_seconds: float | None
    """From its arrival; None: it has none, or it came with the whole answer."""
    served: bool
    """Whether its client got an answer of it."""
    end_seconds: float | None = None
    """From its arrival to the end of its answer; None: it is not known."""

    @property
    def inter_token_seconds(self) -> float | None:
        """Between two tokens, the mean of the answer; None: there were not two, or it came whole."""
        if self.first_token_seconds is None or self.end_seconds is None or self.output_tokens < 2:
            return None
        seconds = (self.end_seconds - self.first_token_seconds) / (self.output_tokens - 1)
        return seconds if seconds > 0.0 else None


class ReplicaCount(NamedTuple):
    """From then on there were so many replicas."""

    seconds: float
    """Since 1970."""
    replicas: int
    """That are there, those that load included."""
    ready: int
    """That can serve."""


class _Said(NamedTuple):
    """What one gateway has said of replicas."""

    seconds: float
    gateway: str
    listed: int
    ready: int


@dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded of one route; times are seconds since 1970."""

    route: str
    """``namespace/name``."""
    requests: Sequence[RecordedRequest]
    """In order of their arrival."""
    replicas: Sequence[ReplicaCount]
    """In order of time; only changes."""
    begins: float
    """Of the first line."""
    ends: float
    """Of the last one."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.ends - self.begins

    def arrivals(self) -> list[Arrival]:
        """Its requests as a trace: each once, those that nobody served as well."""
        return [
            Arrival(request.seconds - self.begins, request.prompt_tokens, request.output_tokens)
            for request in self.requests
            if request.served or request.served_by == NOBODY
        ]

    def replica_seconds(self) -> float:
        """Of all replicas that were listed."""
        until_the_end = (*self.replicas, ReplicaCount(self.ends, 0, 0))
        return sum(step.replicas * (after.seconds - step.seconds) for step, after in pairwise(until_the_end))

    def starts(self) -> int:
        """Replicas that came while it was recorded."""
        return sum(max(after.replicas - before.replicas, 0) for before, after in pairwise(self.replicas))


def is_recording(text: str) -> bool:
    """Whether a file's first line is that of a recording."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"seconds", "route"} <= content.keys()


def read_recording(paths: Iterable[Path], route: str | None = None) -> Recording:
    """What gateways have recorded of a route; None: of the only one that there is. Raises TraceError."""
    named = list(paths)
    requests: dict[str, list[RecordedRequest]] = {}
    counts: dict[str, list[_Said]] = {}
    for path in named:
        for line in lines_of(path):
            if _is_cut(line.text):
                continue  # the gateway was killed while it wrote: of one request nothing is known
            content = _content(line)
            seconds, of = number(line, "seconds", str(content["seconds"])), str(content["route"])
            requests.setdefault(of, [])
            if "replicas" in content:
                listed, ready = (_count(line, content, name) for name in ("replicas", "ready"))
                counts.setdefault(of, []).append(_Said(seconds, _gateway(path), listed, ready))
            else:
                requests[of].append(_request(line, seconds, content))
    where = ", ".join(map(str, named))
    if route is None and len(requests) != 1:
        there = f"it has {', '.join(sorted(requests))}" if requests else "it is empty"
        raise TraceError(f"{where}: a recording of one route is wanted, and {there}; name the route")
    chosen = route if route is not None else next(iter(requests))
    if chosen not in requests:
        there = ", ".join(sorted(requests)) or "nothing"
        raise TraceError(f"{where}: nothing of {chosen} is recorded there, but of {there}; see the route's namespace")
    own, steps = sorted(requests[chosen], key=_when), sorted(counts.get(chosen, []), key=_when)
    times = [*(request.seconds for request in own), *(step.seconds for step in steps)]
    begins, ends = min(times), max(times)
    if ends > LAST_SECONDS or ends - begins > LENGTH_SECONDS_MAX:
        raise TraceError(
            f"{where}: the lines of {chosen} are of times from {begins:.0f} to {ends:.0f} s since 1970; "
            "take out those of a clock that was not set"
        )
    return Recording(chosen, own, _changes(steps), begins, ends)


def _when(recorded: RecordedRequest | _Said) -> float:
    return recorded.seconds


def _content(line: Line) -> dict[str, Any]:
    try:
        content = json.loads(line.text)
    except (ValueError, RecursionError):
        raise line.error(f"this is no JSON; a line of a recording is such as {FORM}") from None
    if not isinstance(content, dict) or not {"seconds", "route"} <= content.keys():
        raise line.error(f"this is no line of a recording; one is such as {FORM}")
    return content


def _is_cut(text: str) -> bool:
    """Whether it is the beginning of a line, and no more."""
    return text.startswith('{"seconds"') and not text.rstrip().endswith("}")


def _request(line: Line, seconds: float, content: dict[str, Any]) -> RecordedRequest:
    values = {}
    for name in ("prompt_tokens", "output_tokens", "nano_usd"):
        value = content.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise line.error(f"{name}: a number is wanted here, as in {FORM}")
        values[name] = str(value)
    if not float(values["nano_usd"]) <= NANO_USD_MAX:
        raise line.error(f"nano_usd: nobody charges so much for a request; a line is such as {FORM}")
    first, end = (
        None if content.get(name) is None else number(line, name, str(content[name]))
        for name in ("first_token_seconds", "end_seconds")
    )
    return RecordedRequest(
        seconds,
        tokens(line, "prompt_tokens", values["prompt_tokens"]),
        tokens(line, "output_tokens", values["output_tokens"]),
        str(content.get("served_by", NOBODY)),
        number(line, "nano_usd", values["nano_usd"]) * NANO,
        first,
        content.get("served") is True,
        end,
    )


def _gateway(path: Path) -> str:
    """Whose file it is: older files of one gateway have a number behind its name."""
    name = path.name.removesuffix(".gz")
    stem, _, end = name.rpartition(".")
    return str(path.parent / (stem if end.isdecimal() else name))


def _count(line: Line, content: dict[str, Any], name: str) -> int:
    value = content.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= REPLICAS_MAX:
        raise line.error(f"{name}: a whole number from 0 to {REPLICAS_MAX} is wanted here")
    return value


def _changes(steps: Sequence[_Said]) -> list[ReplicaCount]:
    """All gateways list the same replicas, some a moment later: the most that any of them has seen last.

    Each says a number above zero again once a minute; one that has not for two is gone.
    """
    seen: dict[str, _Said] = {}
    changes: list[ReplicaCount] = []
    for step in steps:
        seen[step.gateway] = step
        lately = [said for said in seen.values() if step.seconds - said.seconds <= SAID_SECONDS]
        listed, ready = max(said.listed for said in lately), max(said.ready for said in lately)
        if not changes or changes[-1][1:] != (listed, ready):
            changes.append(ReplicaCount(step.seconds, listed, ready))
    return changes

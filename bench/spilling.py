"""How good the decisions to spill are, beside an oracle that knows the engines, in virtual time; one JSON line last.

``python -m bench.spilling [TRACE...] [--engines A,B] [--loads 0.5,0.9] [--targets 0.5,2] [--answers streamed,plain]``

Without a trace, Poisson arrivals at loads that are shares of what the replicas end in a second when they are kept full.
With traces, each is scaled until it keeps ``--means`` replicas busy on average, and meets ``--replicas`` of them.

The oracle sees each request when it comes and tries it on a copy of every engine: it goes where its first token comes
first, and to the hosted API if that is later than the target. It knows no more of what comes after than anybody.

By case: ``spilled`` and the oracle's ``oracle_spilled``, shares of all requests; ``wrong_spills``: the share of spills
for lateness that a replica would have begun in time, everything else as it was; ``late_holds``: the share of requests
that replicas served, began late and that the hosted API would have begun in time; ``late``: the share of all requests
that began late. The first minute is not counted.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import ceil
from pathlib import Path
from random import Random
from typing import Any, Final

from bench.autoscaler import numbers, scaled_to
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.requests.ask import Ask
from overspill_planner.profiles import PROFILES
from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.counterfactual import seconds_if_sent
from overspill_planner.simulator.engine import Engine, Job, Speed
from overspill_planner.simulator.gateway import Gateway, Request
from overspill_planner.simulator.hosted import HostedModel
from overspill_planner.simulator.judging import Judging
from overspill_planner.traces.arrival import Arrival

WARM_SECONDS: Final = 60.0
HOSTED_SECONDS: Final = 0.3
"""Of the hosted API to a first token: it is in time for each target."""
ENGINES: Final = {"model": Speed(), **{name: profile.speed for name, profile in PROFILES.items()}}
PROMPT_TOKENS, PROMPT_SPREAD = 600.0, 0.8
OUTPUT_TOKENS, OUTPUT_SPREAD = 120.0, 0.7
ESTIMATE_SPREAD: Final = 0.15
"""Of the gateway's estimate of a prompt's tokens, log-normal."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row."""

    traffic: str
    load: float
    """Share of what the replicas can, or, of a trace, the replicas that it keeps busy on average."""
    engine: str
    replicas: int
    target: float
    plain: bool


def lengths(random: Random) -> tuple[int, int]:
    """Of one request by chance."""
    prompt = min(int(PROMPT_TOKENS * random.lognormvariate(0.0, PROMPT_SPREAD)) + 1, 30_000)
    return prompt, int(OUTPUT_TOKENS * random.lognormvariate(0.0, OUTPUT_SPREAD)) + 1


def capacity(speed: Speed, seconds: float = 60.0) -> float:
    """Requests a second that one engine ends, kept full."""
    clock, random, ended = Clock(), Random(5), [0]
    engine = Engine(clock, speed)

    def feed() -> None:
        engine.submit(Job(*lengths(random), lambda: None, end))

    def end() -> None:
        ended[0] += clock.now > WARM_SECONDS
        feed()

    for _ in range(speed.running_max + 8):
        feed()
    clock.run(WARM_SECONDS + seconds)
    return ended[0] / seconds


def poisson(per_second: float, seconds: float, seed: int) -> list[Arrival]:
    """Requests by chance."""
    random, arrivals, now = Random(seed), list[Arrival](), 0.0
    while now < seconds:
        arrivals.append(Arrival(now, *lengths(random)))
        now += random.expovariate(per_second)
    return arrivals


def oracle(case: Case, arrivals: Sequence[Arrival]) -> tuple[float, float, float]:
    """The oracle's share of spills, of requests that were late all the same, and the tokens that replicas served."""
    clock = Clock()
    engines = [Engine(clock, ENGINES[case.engine]) for _ in range(case.replicas)]
    spilled = counted = 0
    tokens = 0.0
    was_late = [0]

    def began(arrived: float) -> None:
        was_late[0] += arrived >= WARM_SECONDS and clock.now - arrived > case.target

    for arrival in arrivals:
        clock.run(arrival.seconds)
        work = arrival.prompt_tokens, arrival.output_tokens
        tried = [seconds_if_sent(engine, clock.now, *work, case.target) for engine in engines]
        first = min(range(len(engines)), key=tried.__getitem__)
        late = tried[first] > case.target
        if not late:
            engines[first].submit(Job(*work, partial(began, clock.now), lambda: None))
        if arrival.seconds >= WARM_SECONDS:
            counted += 1
            spilled += late
            tokens += 0.0 if late else sum(work)
    clock.run(clock.now + 600.0)
    return spilled / max(counted, 1), was_late[0] / max(counted, 1), tokens


def measured(case: Case, arrivals: Sequence[Arrival], seed: int, spread: float) -> dict[str, Any]:
    """What Overspill does."""
    clock = Clock()
    judging = Judging(case.target, begins=WARM_SECONDS, all_judged=sys.maxsize)
    engines = [Engine(clock, ENGINES[case.engine]) for _ in range(case.replicas)]
    hosted = [(HostedState("hosted/api"), HostedModel(HOSTED_SECONDS))]
    gateway = judging.gateway = Gateway(
        clock, engines, hosted, target=case.target, plain=case.plain, observers=(judging.observer,), seed=seed
    )
    random = Random(seed)
    requests: list[Request] = []
    for arrival in arrivals:
        clock.run(arrival.seconds)
        told = max(int(arrival.prompt_tokens * random.lognormvariate(0.0, spread)), 1)
        request = Request(Ask(prompt_tokens=told), arrival.prompt_tokens, arrival.output_tokens, clock.now)
        if arrival.seconds >= WARM_SECONDS:
            requests.append(request)
        gateway.arrive(request)
    clock.run(clock.now + 600.0)
    count, judged = max(len(requests), 1), judging.found()
    late = sum(request.began is None or request.began - request.arrived > case.target for request in requests)
    return {
        "requests": count,
        "spilled": round(sum(request.outcome == "hosted" for request in requests) / count, 4),
        "wrong_spills": round(judged.wrong_spills / max(judged.spills, 1), 4),
        "wrong_alone": round(judged.in_time / max(judged.spills, 1), 4),
        "late_holds": round(judged.late_holds / max(judged.served, 1), 4),
        "late": round(late / count, 4),
        "judged": [gateway.tally.spills_needed, gateway.tally.spills_regretted, gateway.tally.spills_unknown],
        "caution": round(gateway.pool.rates.caution.times, 2),
        "tokens": sum(one.prompt_tokens + one.output_tokens for one in requests if one.local),
    }


def cases(options: argparse.Namespace) -> Iterator[tuple[Case, list[Arrival]]]:
    """All rows."""
    answers = [name == "plain" for name in options.answers.split(",")]
    for engine in options.engines.split(","):
        traffic: list[tuple[str, float, int, list[Arrival]]] = []
        if not options.traces:
            for load, replicas in product(options.loads, map(int, options.replicas or [1.0])):
                per_second = load * replicas * capacity(ENGINES[engine])
                seconds = WARM_SECONDS + min(options.seconds, options.requests_max / per_second)
                traffic.append(("poisson", load, replicas, poisson(per_second, seconds, options.seed)))
        for path, mean in product(options.traces, options.means):
            arrivals = scaled_to(path, mean, engine, options.seed, None)[: options.requests_max]
            counts = map(int, options.replicas or [max(1, ceil(0.75 * mean))])
            traffic += [(path.name, mean, replicas, arrivals) for replicas in counts]
        for (name, load, replicas, arrivals), target, plain in product(traffic, options.targets, answers):
            yield Case(name, load, engine, replicas, target, plain), arrivals


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="*", type=Path)
    parser.add_argument("--engines", default="model", help=f"of {', '.join(ENGINES)}")
    parser.add_argument("--loads", type=numbers, default=[0.5, 0.9, 1.5])
    parser.add_argument("--means", type=numbers, default=[0.3, 2.0, 8.0], help="of a trace")
    parser.add_argument("--replicas", type=numbers, help="how many there are, by default 1, or 0.75 of the mean")
    parser.add_argument("--targets", type=numbers, default=[0.5])
    parser.add_argument("--answers", default="streamed", help="streamed, plain or both")
    parser.add_argument(
        "--estimate-spread", type=float, default=ESTIMATE_SPREAD, help="of the gateway's estimate of a prompt's tokens"
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--requests-max", type=int, default=10_000)
    parser.add_argument("--no-oracle", action="store_true", help="leave the oracle's own run out, which takes longest")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    began = time.process_time()
    for case, arrivals in cases(options):
        row = measured(case, arrivals, options.seed, options.estimate_spread)
        if not options.no_oracle:
            spilled, late, tokens = oracle(case, arrivals)
            row["oracle_spilled"] = round(spilled, 4)
            row["oracle_late"] = round(late, 4)
            row["tokens_of_oracle"] = round(row["tokens"] / tokens, 4) if tokens else None
        del row["tokens"]
        rows.append(
            {
                "traffic": case.traffic, "load": case.load, "engine": case.engine, "replicas": case.replicas,
                "target": case.target, "answers": "plain" if case.plain else "streamed", **row,
            }
        )  # fmt: skip
        print(json.dumps(rows[-1]), file=sys.stderr)
    print(json.dumps({"rows": rows, "cpu_seconds": round(time.process_time() - began, 1)}))


if __name__ == "__main__":
    main()

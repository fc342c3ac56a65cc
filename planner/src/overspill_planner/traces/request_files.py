"""Files with a line for each request: Azure's CSV, Mooncake's JSONL, and the plain CSV that is the project's own.

Times count from the first request of the file.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, pairwise
from operator import attrgetter
from random import Random
from typing import Final

from overspill_planner.traces.arrival import BLOCK_TOKENS, Arrival
from overspill_planner.traces.fields import columns, moment, number, tokens
from overspill_planner.traces.lines import Line

AZURE_HEADER: Final = "TIMESTAMP,ContextTokens,GeneratedTokens"
PLAIN_HEADER: Final = "seconds,prompt_tokens,output_tokens"
MILLISECONDS_HEADER: Final = "milliseconds,prompt_tokens,output_tokens"

STEP_SECONDS_MIN: Final = 1.0
"""Times that are further apart, most of them of several requests, were written down in steps."""

BLOCKS_MAX: Final = 2**40
"""Numbers of blocks in a file are smaller: room above for those of copies (``scaling``)."""

Row = Callable[[Line], Arrival]


def azure_row(line: Line) -> Arrival:
    """A line of Azure's traces of 2023 and 2024 (github.com/Azure/AzurePublicDataset)."""
    when, prompt, output = columns(line, 3, AZURE_HEADER)
    return Arrival(
        moment(line, "TIMESTAMP", when), tokens(line, "ContextTokens", prompt), tokens(line, "GeneratedTokens", output)
    )


def plain_row(line: Line, name: str = "seconds", per_second: float = 1.0) -> Arrival:
    """A line of the plain CSV; ``per_second``: how many units of its first column a second has."""
    when, prompt, output = columns(line, 3, PLAIN_HEADER if per_second == 1.0 else MILLISECONDS_HEADER)
    return Arrival(
        number(line, name, when) / per_second,
        tokens(line, "prompt_tokens", prompt),
        tokens(line, "output_tokens", output),
    )


def milliseconds_row(line: Line) -> Arrival:
    """A line of the plain CSV with times in milliseconds."""
    return plain_row(line, "milliseconds", 1000.0)


def mooncake_row(line: Line) -> Arrival:
    """A line of Mooncake's traces (github.com/kvcache-ai/Mooncake): milliseconds and lengths in JSON."""
    form = '{"timestamp": 3000, "input_length": 512, "output_length": 64}'
    try:
        content = json.loads(line.text)
    except (ValueError, RecursionError):
        raise line.error(f"this is no JSON; a line has an object such as {form}") from None
    if not isinstance(content, dict):
        raise line.error(f"this is no JSON object; a line has one such as {form}")
    values = []
    for name in ("timestamp", "input_length", "output_length"):
        value = content.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise line.error(f"{name}: a number is wanted here, as in {form}")
        values.append(str(value))
    prompt = tokens(line, "input_length", values[1])
    return Arrival(
        number(line, "timestamp", values[0]) / 1000.0,
        prompt,
        tokens(line, "output_length", values[2]),
        _whole_blocks(line, content.get("hash_ids", []), prompt),
    )


def _whole_blocks(line: Line, ids: object, prompt_tokens: int) -> tuple[int, ...]:
    """A request's whole blocks; the last one, which is not full, nobody can share."""
    if not isinstance(ids, list) or not all(type(block) is int and 0 <= block < BLOCKS_MAX for block in ids):
        raise line.error(f"hash_ids: a list of numbers from 0 to {BLOCKS_MAX - 1} is wanted here, as in [0, 1, 2]")
    return tuple(ids[: prompt_tokens // BLOCK_TOKENS])


def arrivals(lines: Iterable[Line], row: Row) -> Iterator[Arrival]:
    """The requests of lines without a header, with times since the first. Raises TraceError where time goes back."""
    began = before = None
    for line in lines:
        arrival = row(line)
        if began is None or before is None:
            began = before = arrival.seconds
        if arrival.seconds < before:
            back = before - arrival.seconds
            raise line.error(f"its time is {back:g} s before that of the line above; sort the file by time")
        before = arrival.seconds
        yield arrival._replace(seconds=arrival.seconds - began)


def spread(requests: list[Arrival], seed: int) -> list[Arrival]:
    """Requests whose times were written down in steps of a second or more: each anywhere within its step.

    Mooncake's times are multiples of 3 s, which would make a burst of ten requests every three seconds. Others stay.
    """
    times = sorted({request.seconds for request in requests})
    step = min((after - before for before, after in pairwise(times)), default=0.0)
    if step < STEP_SECONDS_MIN or len(times) > len(requests) / 2:
        return requests
    random = Random(seed)  # noqa: S311 - chance, no secret
    spread_out: list[Arrival] = []
    for seconds, together in groupby(requests, attrgetter("seconds")):
        group = list(together)
        offsets = sorted(random.uniform(0.0, step) for _ in group)
        spread_out += (
            request._replace(seconds=seconds + offset) for request, offset in zip(group, offsets, strict=True)
        )
    return spread_out

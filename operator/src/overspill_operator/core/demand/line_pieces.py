"""A long line of a gateway's demand stream, taken apart in steps: the text of each route, and what stands around them.

So that no line keeps the operator for long, whatever is in it. A route begins with its name, as gateways write it. Not
here: what a route's text says (``demand_lines``).
"""

import json
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

STEP_BYTES: Final = 4 * 1024
"""Looked at in one step, or one route; where that is made to be dear, it takes some tens of milliseconds."""
ROUTE_BYTES_MAX: Final = 128 * 1024
ROUTE_OBJECTS_MAX: Final = 1000
ROUTE_COMMAS_MAX: Final = 8000
"""Of one route: one with 256 replicas and 32 backends has half of each."""
REST_BYTES_MAX: Final = 256 * 1024
"""Of all that is said beside routes: some hundred documents that can't be used."""
_SEPARATOR_BYTES_MAX: Final = 64

_ROUTES: Final = re.compile(rb'"routes"[ \t\r]*+:[ \t\r]*+\[[ \t\r]*+')
_BETWEEN: Final = re.compile(rb'\}[ \t\r]*+,[ \t\r]*+(?=\{[ \t\r]*+"route"[ \t\r]*+:)')
_NAME: Final = re.compile(rb'\{[ \t\r]*+"route"[ \t\r]*+:[ \t\r]*+"([^"\\]{1,320})"')
_first_value: Final = json.JSONDecoder().raw_decode


class LineError(ValueError):
    """A line of which nothing can be used."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """Where things stand in a line."""

    rest: bytes
    """The line without its routes."""
    routes: tuple[tuple[int, int], ...]
    """Offset of each route's first byte, and of the byte behind its last."""


def taken_apart(content: bytes, routes_max: int) -> Generator[None, None, Pieces]:
    """The pieces of a line; raises LineError where it is none that a gateway writes. It stops after each step.

    ``routes_max``: the first so many count.
    """
    begin = _ROUTES.search(content, 0, REST_BYTES_MAX)
    if begin is None:
        raise LineError(f"it says no routes in its first {REST_BYTES_MAX} bytes")
    spans: list[tuple[int, int]] = []
    start = at = stopped_at = begin.end()
    while True:
        between = _BETWEEN.search(content, at, at + STEP_BYTES)
        if between is not None:
            if len(spans) < routes_max:
                spans.append((start, between.start() + 1))
            start = at = between.end()
        elif at + STEP_BYTES < len(content):
            at += STEP_BYTES - _SEPARATOR_BYTES_MAX
        else:
            break
        if at - stopped_at >= STEP_BYTES:
            stopped_at = at
            yield
    end = start + _length_of_first(content[start : start + ROUTE_BYTES_MAX])
    if not content.startswith(b"]", start) and len(spans) < routes_max:
        spans.append((start, end if end > start else len(content)))
    tail = content[end : end + REST_BYTES_MAX + 1].lstrip()
    rest = content[: begin.end()] + (tail if tail.startswith(b"]") else b"]}")
    if len(rest) > REST_BYTES_MAX:
        raise LineError(f"it says more than {REST_BYTES_MAX} bytes beside its routes")
    return Pieces(rest, tuple(spans))


def is_too_long(route: bytes) -> bool:
    """Whether a route's text is longer than any that a gateway writes, or has more parts, and is not to be read."""
    if len(route) > ROUTE_BYTES_MAX:
        return True
    return route.count(b"{") > ROUTE_OBJECTS_MAX or route.count(b",") > ROUTE_COMMAS_MAX


def name_in(route: bytes) -> str | None:
    """The name with which a route's text begins."""
    name = _NAME.match(route)
    return name[1].decode("utf-8", "replace") if name is not None else None


def _length_of_first(text: bytes) -> int:
    """Of the JSON value with which a text begins; 0: there is none."""
    try:
        return _first_value(text.decode("latin-1"))[1]  # a character for each byte
    except (ValueError, RecursionError):
        return 0

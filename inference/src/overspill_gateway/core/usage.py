"""Token counts that a backend reports, and what they cost. Reading them never buffers a stream."""

from dataclasses import dataclass
from json import JSONDecodeError, JSONDecoder
from typing import Final

import msgspec

_MILLION: Final = 1_000_000
_MARK: Final = b'"usage"'
TAIL_BYTES: Final = 16 * 1024
"""Usage is looked for in this much of an answer's end: engines and hosted APIs write it behind the choices."""

_scan: Final = JSONDecoder()


class _CachedTokens(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _CachedTokens | None = None


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


_decode_answer: Final = msgspec.json.Decoder(_Answer).decode


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer, as reported."""

    prompt_tokens: int
    """Prompt tokens, cached ones included."""
    cached_tokens: int
    """Prompt tokens that came from the backend's cache."""
    output_tokens: int
    """Output tokens."""


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars per million tokens."""

    input: int
    cached_input: int
    output: int


def usage_of_answer(tail: bytes, *, whole: bool) -> Usage | None:
    """Usage of a plain answer: ``tail`` is its end, or all of it where ``whole``."""
    if whole:
        try:
            return _checked(_decode_answer(tail).usage)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
    return _last_usage(tail)


def usage_of_event(events: bytes) -> Usage | None:
    """Usage of the last event that carries one; inside a JSON string the marker can't appear unescaped."""
    return _last_usage(events)


def cost_nano_usd(usage: Usage, price: Price) -> int:
    """What the tokens cost, in whole nano-dollars, rounded up: money owed is never rounded away."""
    fresh = max(usage.prompt_tokens - usage.cached_tokens, 0)
    micro = fresh * price.input + usage.cached_tokens * price.cached_input + usage.output_tokens * price.output
    return -(-micro // _MILLION)


def _last_usage(text: bytes) -> Usage | None:
    end = len(text)
    while (start := text.rfind(_MARK, 0, end)) >= 0:
        end = start
        rest = text[start + len(_MARK) :].lstrip()
        if not rest.startswith(b":"):
            continue
        try:
            value, _ = _scan.raw_decode(rest[1:].lstrip().decode("utf-8", "replace"))
            usage = _checked(msgspec.convert(value, _Usage | None))
        except (JSONDecodeError, msgspec.ValidationError, RecursionError):
            continue
        if usage is not None:
            return usage
    return None


def _checked(usage: _Usage | None) -> Usage | None:
    """Numbers that make sense, or none: a negative count must never lower what is owed."""
    if usage is None or usage.prompt_tokens is None:
        return None
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens if details else None) or 0
    output = usage.completion_tokens or 0
    if usage.prompt_tokens < 0 or output < 0 or not 0 <= cached <= usage.prompt_tokens:
        return None
    return Usage(usage.prompt_tokens, cached, output)

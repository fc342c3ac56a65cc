"""Token counts that a backend reports, in every dialect, and what they cost. Reading them never buffers a stream."""

from dataclasses import dataclass
from json import JSONDecodeError, JSONDecoder
from typing import Final

import msgspec

from overspill_gateway.core.usage_fields import UsageFields, decode_answer

_MILLION: Final = 1_000_000
_MARK: Final = b'"usage"'
TAIL_BYTES: Final = 16 * 1024
"""Usage is looked for in this much of an answer's end: engines and hosted APIs write it behind the choices."""

_scan: Final = JSONDecoder()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer."""

    prompt_tokens: int
    """Prompt tokens, cached ones included."""
    cached_tokens: int
    """Prompt tokens that came from the backend's cache."""
    output_tokens: int
    """Output tokens."""
    reported: bool = True
    """Whether the backend reported them; False: estimated."""


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars per million tokens."""

    input: int
    cached_input: int
    output: int


def usage_of_answer(tail: bytes, *, whole: bool) -> Usage | None:
    """Usage of a plain answer: ``tail`` is its end, or all of it where ``whole``."""
    if whole:
        return _checked(_in_document(tail))
    return _last_usage(tail)


def usage_of_event(events: bytes) -> Usage | None:
    """Usage that whole events report together.

    The last report counts, since all are running totals. Messages report the prompt in their first event and the
    output in their last: what the last one leaves out comes from the one before it. Of an event too long to be kept
    whole its end does.
    """
    last: UsageFields | None = None
    end = len(events)
    while (mark := events.rfind(_MARK, 0, end)) >= 0:
        start = events.rfind(b"\n", 0, mark) + 1
        stop = events.find(b"\n", mark)
        line = events[start : stop if stop >= 0 else len(events)]
        found = _in_document(line[5:]) if line.startswith(b"data:") else None
        if found is not None:
            last = found if last is None else _filled(last, found)
            if last.prompt_tokens is not None:
                break
        end = start
    return _checked(last) if last is not None else _last_usage(events)


def cost_nano_usd(usage: Usage, price: Price) -> int:
    """What the tokens cost, in whole nano-dollars, rounded up: money owed is never rounded away."""
    fresh = max(usage.prompt_tokens - usage.cached_tokens, 0)
    micro = fresh * price.input + usage.cached_tokens * price.cached_input + usage.output_tokens * price.output
    return -(-micro // _MILLION)


def _in_document(text: bytes) -> UsageFields | None:
    try:
        answer = decode_answer(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    holder = answer.response or answer.message
    return answer.usage or (holder.usage if holder is not None else None)


def _last_usage(text: bytes) -> Usage | None:
    """The last one in the end of a document whose beginning is not at hand."""
    end = len(text)
    while (start := text.rfind(_MARK, 0, end)) >= 0:
        end = start
        rest = text[start + len(_MARK) :].lstrip()
        if not rest.startswith(b":"):
            continue
        try:
            value, _ = _scan.raw_decode(rest[1:].lstrip().decode("utf-8", "replace"))
            usage = _checked(msgspec.convert(value, UsageFields | None))
        except (JSONDecodeError, msgspec.ValidationError, RecursionError):
            continue
        if usage is not None:
            return usage
    return None


def _filled(last: UsageFields, before: UsageFields) -> UsageFields:
    """The last report, with what it leaves out taken from the one before."""
    for name in ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"):
        if getattr(last, name) is None:
            setattr(last, name, getattr(before, name))
    return last


def _prompt_tokens(usage: UsageFields) -> int | None:
    if usage.prompt_tokens is not None:
        return usage.prompt_tokens
    if usage.input_tokens is None:
        return None
    # Anthropic's input_tokens leave out what was read from a cache or written to one; no other dialect has these.
    return usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)


def _has_negative_part(usage: UsageFields) -> bool:
    parts = (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens)
    return any((part or 0) < 0 for part in parts)


def _checked(usage: UsageFields | None) -> Usage | None:
    """Numbers that make sense, or none: a negative count must never lower what is owed."""
    if usage is None:
        return None
    prompt = _prompt_tokens(usage)
    output = (usage.completion_tokens if usage.prompt_tokens is not None else usage.output_tokens) or 0
    details = usage.prompt_tokens_details or usage.input_tokens_details
    cached = (details.cached_tokens if details is not None else usage.cache_read_input_tokens) or 0
    if prompt is None or prompt < 0 or output < 0 or not 0 <= cached <= prompt:
        return None
    if usage.prompt_tokens is None and _has_negative_part(usage):
        return None
    return Usage(prompt, cached, output)

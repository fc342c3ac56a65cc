"""Token counts that a backend reports, in every dialect, and what they cost. Reading them never buffers a stream.

Reports are running totals, and none lowers what an earlier one said. A counter that is missing, zero where something
was read or written, or no count at all is not known: what is known goes on as a ``Report``, and who settles the call
estimates the rest.
"""

import re
from dataclasses import dataclass
from json import JSONDecoder
from math import inf
from typing import Any, Final

import msgspec

from overspill_gateway.core.answers.usage_fields import Answer, Holder, TokenDetails, UsageFields, decode_answer
from overspill_gateway.core.text.json_text import UNREADABLE, decoded

_MILLION: Final = 1_000_000
_MARK: Final = b'"usage"'
PROMPT_TOKENS_MAX: Final = 1 << 21
"""Of one answer: no model's context is larger. A larger number is not believed."""
OUTPUT_TOKENS_MAX: Final = 1 << 18
"""Of one answer, reasoning included: no model writes more."""
_REPORT_BYTES_MAX: Final = 4096
"""The longest report that is read out of an answer that is not kept."""
_REPORTS_MAX: Final = 16
"""Looked at in one part of a document, the last ones first."""
_DETAILS: Final = frozenset(name for name in UsageFields.__struct_fields__ if name.endswith("_details"))
UNFINISHED: Final = frozenset({"queued", "in_progress"})
"""States of a response that its backend goes on with after it was given."""
_spells_number: Final = re.compile(r"\+?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?").fullmatch
_BEYOND_ANY: Final = 1 << 60
"""For a number that is too large to be told."""

_scan: Final = JSONDecoder()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer."""

    prompt_tokens: int
    """Prompt tokens, cached ones included."""
    cached_tokens: int
    """Prompt tokens that came from the backend's cache."""
    output_tokens: int
    """Output tokens, reasoning included."""
    reported: bool = True
    """Whether the backend reported them; False: estimated, or a bound."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of an answer's tokens so far."""

    prompt_tokens: int | None = None
    """Prompt tokens, cached ones included; None: not known. Never 0."""
    cached_tokens: int = 0
    """Of them, read from a cache."""
    output_tokens: int | None = None
    """Output tokens; None: not known. Never 0."""
    unfinished: bool = False
    """Whether the backend goes on with the answer after it was given (``background``): counts say nothing then."""
    reasoned: bool = False
    """Whether a part of the output was reasoning."""

    @property
    def empty(self) -> bool:
        """Whether nothing is known."""
        return self.prompt_tokens is None and self.output_tokens is None

    def is_doubtful(self, answers: int = 1) -> bool:
        """Whether a counter is larger than that of any call for so many answers: nothing of it is believed then."""
        prompt, output = self.prompt_tokens or 0, self.output_tokens or 0
        return prompt > PROMPT_TOKENS_MAX * answers or output > OUTPUT_TOKENS_MAX * answers

    def usage(self, *, generates: bool = True, answers: int = 1) -> Usage | None:
        """The whole of it; None: a counter is missing or doubtful. ``generates``: whether the answer has output."""
        if self.prompt_tokens is None or self.unfinished or self.is_doubtful(answers):
            return None
        if generates and self.output_tokens is None:
            return None
        return Usage(self.prompt_tokens, self.cached_tokens, self.output_tokens or 0)

    def joined(self, later: "Report") -> "Report":
        """With a later report: each counter is the highest that was said."""
        mine, other = self.prompt_tokens or 0, later.prompt_tokens or 0
        if mine == other:
            cached = max(self.cached_tokens, later.cached_tokens)
        else:
            cached = later.cached_tokens if other > mine else self.cached_tokens
        return Report(
            _highest(self.prompt_tokens, later.prompt_tokens), cached,
            _highest(self.output_tokens, later.output_tokens), self.unfinished or later.unfinished,
            self.reasoned or later.reasoned,
        )  # fmt: skip


NOTHING_KNOWN: Final = Report()


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars per million tokens."""

    input: int
    cached_input: int
    output: int


def report_of_answer(body: bytes) -> Report:
    """What a whole plain answer reports."""
    return _in_document(body) or NOTHING_KNOWN


def report_of_event(events: bytes, before: Report = NOTHING_KNOWN) -> Report:
    """What whole events report, on top of what was known before them.

    Messages report the prompt in their first event and the output in their last. Of an event too long to be kept
    whole its end does.
    """
    known = before
    at = 0
    read = False
    while (mark := events.find(_MARK, at)) >= 0:
        start = events.rfind(b"\n", 0, mark) + 1
        stop = events.find(b"\n", mark)
        at = stop if stop >= 0 else len(events)
        line = events[start:at]
        report = _in_document(line[5:]) if line.startswith(b"data:") else None
        if report is not None:
            known, read = known.joined(report), True
    return known if read else known.joined(_in_pieces(events))


def shown_usage(body: bytes) -> Usage | None:
    """What an answer or an event reports, for its client to see: a counter that is missing is 0; None: nothing."""
    report = report_of_answer(body)
    if report.empty:
        return None
    return Usage(report.prompt_tokens or 0, report.cached_tokens, report.output_tokens or 0)


class UsageFinder:
    """Finds reports in an answer that passes in pieces and is kept nowhere, wherever in it they stand."""

    __slots__ = ("_rest", "report")

    def __init__(self) -> None:
        self.report = NOTHING_KNOWN
        """What was found so far."""
        self._rest = b""

    def feed(self, piece: bytes) -> None:
        """The next piece."""
        text = self._rest + piece
        marks: list[int] = []
        end = len(text)
        while len(marks) < _REPORTS_MAX and (mark := text.rfind(_MARK, 0, end)) >= 0:
            marks.append(mark)
            end = mark
        for mark in reversed(marks):
            if len(text) - mark < _REPORT_BYTES_MAX:
                self._rest = text[mark:]
                return
            self.report = self.report.joined(_report_at(text, mark))
        self._rest = text[1 - len(_MARK) :]

    def close(self) -> Report:
        """All that was found, once nothing more comes."""
        self.report = self.report.joined(_in_pieces(self._rest))
        self._rest = b""
        return self.report


def cost_nano_usd(usage: Usage, price: Price) -> int:
    """What the tokens cost, in whole nano-dollars, rounded up: money owed is never rounded away."""
    fresh = max(usage.prompt_tokens - usage.cached_tokens, 0)
    micro = fresh * price.input + usage.cached_tokens * price.cached_input + usage.output_tokens * price.output
    return -(-micro // _MILLION)


def count_of(value: object) -> int | None:
    """A count as backends write it, 5.0 and "5" included; None: it is none, as if it had not been given."""
    if value is None or type(value) is int:  # nearly all are
        return value if value is not None and value >= 0 else None
    if isinstance(value, str):
        text = value.strip()
        return count_of(float(text)) if _spells_number(text) else None
    if isinstance(value, float):
        if value == inf:
            return _BEYOND_ANY
        return count_of(int(value)) if value.is_integer() else None
    return None


def _in_document(text: bytes) -> Report | None:
    answer: Answer | None
    try:
        answer = decode_answer(text)
    except UNREADABLE:
        answer = _read_loosely(text)
    if answer is None:
        report = _in_pieces(text)  # whatever else is wrong with it, its report may be sound
        return None if report.empty else report
    return report_in(answer)


def report_in(answer: Answer) -> Report | None:
    """What an answer or an event reports; None: nothing."""
    report: Report | None = None
    for holder in (answer, answer.response, answer.message):
        if holder is None:
            continue
        fields = holder.usage
        unfinished = isinstance(holder.status, str) and holder.status in UNFINISHED
        if fields is not None or unfinished:
            said = _report_of(fields) if fields is not None else NOTHING_KNOWN
            if unfinished:
                said = said.joined(Report(unfinished=True))
            report = said if report is None else report.joined(said)
    return report


def _read_loosely(text: bytes) -> Answer | None:
    """A document some part of which is not what it should be: the other parts count. None: it is no document."""
    document = decoded(text)
    if not isinstance(document, dict):
        return None
    response, message = document.get("response"), document.get("message")
    return Answer(
        _fields_of(document.get("usage")), document.get("status"),
        Holder(_fields_of(response.get("usage")), response.get("status")) if isinstance(response, dict) else None,
        Holder(_fields_of(message.get("usage")), message.get("status")) if isinstance(message, dict) else None,
    )  # fmt: skip


def _fields_of(usage: Any) -> UsageFields | None:
    """A report's counters; details that hold none are left out, so that they hide no others."""
    if not isinstance(usage, dict):
        return None
    sound = {name: value for name, value in usage.items() if isinstance(value, dict) or name not in _DETAILS}
    return msgspec.convert(sound, UsageFields)


def _in_pieces(text: bytes) -> Report:
    """All reports in a part of a document: ``"usage"`` with both quotation marks can't stand inside a JSON string."""
    known = NOTHING_KNOWN
    end = len(text)
    for _ in range(_REPORTS_MAX):
        start = text.rfind(_MARK, 0, end)
        if start < 0:
            break
        end = start
        known = _report_at(text, start).joined(known)
    return known


def _report_at(text: bytes, mark: int) -> Report:
    """The report whose name stands there."""
    rest = text[mark + len(_MARK) : mark + _REPORT_BYTES_MAX].lstrip()
    if not rest.startswith(b":"):
        return NOTHING_KNOWN
    try:
        value, _ = _scan.raw_decode(rest[1:].lstrip().decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return NOTHING_KNOWN
    fields = _fields_of(value)
    return _report_of(fields) if fields is not None else NOTHING_KNOWN


def _report_of(fields: UsageFields) -> Report:
    """Counters that make sense: a name of either dialect, the higher one where both are given."""
    prompt = count_of(fields.prompt_tokens)
    read, written = count_of(fields.cache_read_input_tokens), count_of(fields.cache_creation_input_tokens)
    fresh = count_of(fields.input_tokens)
    if fresh is not None:
        # Anthropic's input_tokens leave out what was read from a cache or written to one; no other dialect has these.
        prompt = _highest(prompt, fresh + (read or 0) + (written or 0))
    output = _highest(_output(fields.completion_tokens, fields.completion_tokens_details),
                      _output(fields.output_tokens, fields.output_tokens_details))  # fmt: skip
    total = count_of(fields.total_tokens)
    if total is not None and prompt is not None:
        output = _highest(output, total - prompt)
    elif total is not None and output is not None:
        prompt = max(total - output, 0)
    details = fields.prompt_tokens_details or fields.input_tokens_details
    cached = (count_of(details.cached_tokens) if details is not None else read) or 0
    if prompt is not None and cached > prompt:
        prompt += cached  # counted apart
    reasoned = _reasoned(fields.completion_tokens_details) or _reasoned(fields.output_tokens_details)
    return Report(
        prompt or None, cached if prompt else 0, output if output is not None and output > 0 else None,
        reasoned=reasoned,
    )  # fmt: skip


def _reasoned(details: TokenDetails | None) -> bool:
    return details is not None and bool(count_of(details.reasoning_tokens))


def _output(value: object, details: TokenDetails | None) -> int | None:
    """Output with its reasoning, which some count apart."""
    count = count_of(value)
    reasoning = (count_of(details.reasoning_tokens) if details is not None else None) or 0
    return count + reasoning if count is not None and reasoning > count else count


def _highest(first: int | None, other: int | None) -> int | None:
    if first is None or other is None:
        return other if first is None else first
    return max(first, other)

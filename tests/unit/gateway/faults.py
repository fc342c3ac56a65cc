"""The fault matrix: what a backend may do wrong, and what must come of it. ``make generate`` writes it to the docs.

Each row is run by ``test_fault_matrix``, once with one backend and once with another one that could take over.
"""

# ruff: noqa: E501  one line for each case reads as a table

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from unit.gateway import fault_scripts as scripts
from unit.gateway.backends import Script, stream_head
from unit.gateway.fault_scripts import DONE, breaks, closes, ends_cleanly, raw, resets, says, stalls, status

# What the client sees.
ANSWER = "the answer"
OTHER = "the other's answer"
CONTINUED = "the answer, its rest from the other"
CUT = "an answer cut short of its length"
FAILED = "502 `backend_failed`"
LATE = "504 `backend_timeout`"
TOO_LATE = "504 `total_timeout`"
NO_REPLICA = "503 `no_replica`"
OUR_CREDENTIALS = "502 `upstream_credentials_refused`"


def tokens_then_error(count: int) -> str:
    """A stream that had begun and ends honestly."""
    return f"{count} tokens, an error event"


def own(code: int) -> str:
    """The backend's status, header fields and body, as they came."""
    return f"its {code}, as it came"


# What a hosted API's call is charged.
NOTHING = "nothing"
REPORTED = "as reported"
IN_FULL = "in full"
ESTIMATED = "an estimate"


class Setting(StrEnum):
    """What is arranged around the script."""

    PLAIN = "plain"
    """Nothing."""
    REFUSED = "refused"
    """Nobody listens."""
    UNREACHABLE = "unreachable"
    """Connections are not taken."""
    EARLY = "early"
    """A long body, and a backend that answers before it has read it."""
    USED = "used"
    """The connection has carried an answer before."""


class Mode(StrEnum):
    """How the request asks."""

    PLAIN = "plain"
    STREAM = "stream"


@dataclass(frozen=True)
class Outcome:
    """What must come of a fault."""

    alone: str
    """What the client sees when there is no other backend."""
    other: str
    """What it sees when there is one."""
    counted: str = ""
    """Kind of the failed attempt in overspill_attempt_failures; empty: none is counted."""
    charged: str = NOTHING
    """What the call is charged where the backend is a hosted API."""
    alone_replica: str = ""
    """What the client sees where the only backend is a replica, if that is something else."""
    other_replica: str = ""
    """What the client sees where both are replicas, if that is something else."""
    tokens: str = ""
    """Who counted its tokens in overspill_tokens: the backend, reported; the gateway, estimated; empty: nobody."""


@dataclass(frozen=True)
class Fault:
    """One fault."""

    name: str
    """What the backend does."""
    script: Script
    """How."""
    plain: Outcome | None
    """Of a plain request; None: it can't happen to one."""
    stream: Outcome | None
    """Of a streamed request."""
    setting: Setting = Setting.PLAIN
    """What is arranged around it."""
    path: str = "/v1/chat/completions"
    """What the client calls."""
    hosted: bool = True
    """Whether a hosted API can do it as well: /v1/messages of one is a chat."""
    local: bool = True
    """Whether the same comes of it where a replica does it."""

    def outcomes(self) -> Iterator[tuple[Mode, Outcome]]:
        """The modes that it can happen to."""
        if self.plain is not None:
            yield Mode.PLAIN, self.plain
        if self.stream is not None:
            yield Mode.STREAM, self.stream


def both(name: str, script: Script, outcome: Outcome, setting: Setting = Setting.PLAIN) -> Fault:
    """The same comes of it for plain and streamed requests."""
    return Fault(name, script, outcome, outcome, setting)


def elsewhere(counted: str, charged: str = IN_FULL, alone: str = FAILED, alone_replica: str = "") -> Outcome:
    """Another backend answers; without one the client gets a typed error."""
    return Outcome(alone, OTHER, counted, charged, alone_replica)


def begun(tokens: int, counted: str, charged: str = IN_FULL) -> Outcome:
    """The client has tokens already: nobody can take over."""
    counted_by = "reported" if charged == REPORTED else "estimated"
    return Outcome(tokens_then_error(tokens), tokens_then_error(tokens), counted, charged, tokens=counted_by)


def passes(code: int) -> Outcome:
    """The request is at fault: nobody else is asked."""
    return Outcome(own(code), own(code))


UNABLE = {code: elsewhere("unable", NOTHING, own(code)) for code in (400, 403, 404, 405, 410, 413, 501)}
"""Somebody else may be able to; without anybody the client gets what this one said."""
NO_MODEL = {"said": "The model `m` has been deprecated (the backend's own words)"}
TOO_LONG = {"said": "This model's maximum context length is 2048 tokens (the backend's own words)"}
RESET = elsewhere("reset")
PROTOCOL = elsewhere("protocol")
BAD_ANSWER = elsewhere("error_in_answer")
WHOLE = Outcome(ANSWER, ANSWER, charged=REPORTED, tokens="reported")
SILENT_PLAIN = Outcome(TOO_LATE, TOO_LATE, "timeout", IN_FULL)
SILENT_STREAM = elsewhere("timeout", alone=LATE)

_RESPONSES_FAILED = scripts.named(
    "response.failed", response={"id": "r-1", "status": "failed", "error": scripts.BROKEN}
)
_MESSAGES_ERROR = scripts.named("error", error={"type": "api_error", "message": "the engine died"})
_CHAT_ERROR = scripts.data({"error": scripts.BROKEN})
_MUTE = scripts.data({"choices": [{"index": 0, "delta": None, "finish_reason": None}]})
_MUTE_END = scripts.data({"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]})
_BAD_JSON = b'data: {"choices": [{"delta": {"cont\n\n'

CONNECTION = (
    both("refuses the connection", scripts.good, elsewhere("connect", NOTHING, alone_replica=NO_REPLICA), Setting.REFUSED),
    both("takes no connection", scripts.good, elsewhere("connect", NOTHING, alone_replica=NO_REPLICA), Setting.UNREACHABLE),
    both("resets before its head", raw(ending=resets), RESET),
    both("closes before its head", raw(ending=closes), RESET),
    both("resets in the middle of its head", raw(b"HTTP/1.1 200 OK\r\ncontent-", ending=resets), RESET),
    both("resets after its head", breaks(0, resets, head_only=True), RESET),
    Fault("resets before the first token", breaks(0, resets), RESET, RESET),
    Fault("resets after two tokens", breaks(2, resets), RESET, begun(2, "reset")),
    Fault("closes after two tokens", breaks(2, closes), RESET, begun(2, "reset")),
    Fault("resets in the middle of an event", breaks(2, resets, extra=b'data: {"cho'), None, begun(2, "reset")),
    both("resets behind its end", scripts.dies_behind_its_end, WHOLE),
    both("closes an idle connection as it is used", scripts.closes_when_used, WHOLE, Setting.USED),
)  # fmt: skip

TIME = (
    Fault("says nothing", raw(ending=stalls), SILENT_PLAIN, SILENT_STREAM),
    Fault("drips its head", scripts.drips_its_head, SILENT_PLAIN, SILENT_STREAM),
    Fault("stalls after its head", breaks(0, stalls, head_only=True), SILENT_PLAIN, SILENT_STREAM),
    Fault("stalls before the first token, its start-up events sent", breaks(0, stalls), None, SILENT_STREAM),
    Fault("stalls in the middle of its answer", breaks(2, stalls), SILENT_STREAM, begun(2, "timeout")),
)

STATUSES = (
    *(both(f"answers {code}", status(code), passes(code)) for code in (400, 409, 413, 422)),
    *(
        replace(both(f"answers {code}, as a replica", status(code), passes(code)), hosted=False)
        for code in (404, 405, 501)
    ),
    *(
        replace(both(f"answers {code}, as a hosted API", status(code), UNABLE[code]), local=False)
        for code in (404, 405, 501)
    ),
    *(
        both(f"says in a {code} that it lacks the model", status(code, **NO_MODEL), UNABLE[code])
        for code in (400, 403, 404, 410)
    ),
    *(
        both(
            f"says in a {code} that the context is too long",
            status(code, **TOO_LONG),
            replace(UNABLE[code], other_replica=own(code)),
        )
        for code in (400, 413)
    ),
    *(
        both(f"answers {code}", status(code), elsewhere("credentials", NOTHING, OUR_CREDENTIALS))
        for code in (401, 402, 403)
    ),
    *(
        both(f"answers {code}", status(code), elsewhere("status", NOTHING, own(code)))
        for code in (408, 429, 500, 502, 503, 504, 529)
    ),
    both("redirects", status(307, location="http://elsewhere.example/v1"), elsewhere("redirect", NOTHING)),
)

FRAMING = (
    Fault("sends less than its Content-Length and closes", scripts.promises_too_much, RESET, WHOLE),
    Fault("sends more than its Content-Length", scripts.promises_too_little, BAD_ANSWER, begun(4, "error_in_answer", REPORTED)),
    Fault("sends a chunk size that is none", scripts.chunks_garbage, PROTOCOL, begun(2, "protocol")),
    both("sends Content-Length and Transfer-Encoding", scripts.frames_twice, PROTOCOL),
    both("sends a head of 300 KiB", raw(b"HTTP/1.1 200 OK\r\nx-pad: " + b"y" * (300 << 10) + b"\r\n", ending=stalls), PROTOCOL),
    both("sends an answer of megabytes", scripts.answers_at_length, WHOLE),
    both("ends its answer with its connection", scripts.ends_with_its_connection, WHOLE),
    both("sends interim answers first", scripts.hints_first, WHOLE),
    both("changes the protocol", raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
         ending=stalls), PROTOCOL),
    both("speaks no HTTP", raw(b"SSH-2.0-OpenSSH_9.2\r\n", ending=stalls), PROTOCOL),
    Fault("answers before it has read the request", scripts.answers_early, WHOLE, None, Setting.EARLY),
    Fault("answers 413 before it has read the request", scripts.refuses_early, passes(413), None, Setting.EARLY),
)  # fmt: skip

CONTENT = (
    both("answers 200 with HTML", says(b"<html>Bad gateway</html>", content_type="text/html"), BAD_ANSWER),
    both("answers 200 with nothing", says(b""), BAD_ANSWER),
    Fault("answers 200 with broken JSON", says(b'{"choices": [{"mess'), BAD_ANSWER, None),
    both("answers 200 with blanks and an error", says(b"\n    \n" + scripts.data({"error": scripts.BROKEN})[6:-2]), BAD_ANSWER),
    both("answers 200 with an error over several lines", says(b'{\n  "error": {\n    "message": "overloaded"\n  }\n}'), BAD_ANSWER),
    both("answers 200 without choices", says(b'{"id": "x", "choices": [], "usage": {"prompt_tokens": 3}}'), BAD_ANSWER),
    both("answers 200 with a message that is null", says(b'{"choices": [{"message": null, "finish_reason": "stop"}]}'), BAD_ANSWER),
    both("answers 200 with an output that is null", says(b'{"status": "completed", "output": null}'), BAD_ANSWER),
    both("answers 200 with detail alone", says(b'{"detail": "Not Found"}'), BAD_ANSWER),
    both("answers 200 with a choice that was given up", says(b'{"choices": [{"message": {"content": "x"}, "finish_reason": "error"}]}'), BAD_ANSWER),
    Fault("answers 200 with an error", says(scripts.data({"error": scripts.BROKEN})[6:-2]), BAD_ANSWER, None),
    Fault("streams nothing at all", raw(stream_head(), ending=ends_cleanly), None, BAD_ANSWER),
    Fault("streams choices without any message", raw(stream_head(), scripts.chunked(_MUTE + _MUTE_END + DONE), ending=ends_cleanly), None, BAD_ANSWER),
    Fault("streams broken JSON before the first token", breaks(0, ends_cleanly, extra=_BAD_JSON), None, BAD_ANSWER),
    Fault("streams broken JSON after two tokens", breaks(2, ends_cleanly, extra=_BAD_JSON), None, begun(2, "error_in_answer")),
    Fault("streams an error before the first token", breaks(0, ends_cleanly, extra=_CHAT_ERROR), None, BAD_ANSWER),
    Fault("streams an error after two tokens", breaks(2, ends_cleanly, extra=_CHAT_ERROR), None, begun(2, "error_in_answer")),
    Fault("streams an error and [DONE] before the first token, as vLLM does",
          breaks(0, ends_cleanly, extra=_CHAT_ERROR + DONE), None, BAD_ANSWER),
    Fault("streams an error and [DONE] after two tokens, as vLLM does",
          breaks(2, ends_cleanly, extra=_CHAT_ERROR + DONE), None, begun(2, "error_in_answer")),
    Fault("ends cleanly without [DONE] before the first token", breaks(0, ends_cleanly), None, BAD_ANSWER),
    Fault("ends cleanly without [DONE] after two tokens", breaks(2, ends_cleanly), None, begun(2, "error_in_answer")),
    Fault("/v1/responses: response.failed before the first token", breaks(0, ends_cleanly, extra=_RESPONSES_FAILED), None,
          BAD_ANSWER, path="/v1/responses"),
    Fault("/v1/responses: response.failed after two tokens", breaks(2, ends_cleanly, extra=_RESPONSES_FAILED), None,
          begun(2, "error_in_answer"), path="/v1/responses"),
    Fault("/v1/responses: ends without response.completed", breaks(2, ends_cleanly), None,
          begun(2, "error_in_answer"), path="/v1/responses"),
    Fault("/v1/messages: an error event before the first token", breaks(0, ends_cleanly, extra=_MESSAGES_ERROR), None,
          elsewhere("error_in_answer", alone="502 `api_error`"), path="/v1/messages", hosted=False),
    Fault("/v1/messages: an error event after two tokens", breaks(2, ends_cleanly, extra=_MESSAGES_ERROR), None,
          begun(2, "error_in_answer"), path="/v1/messages", hosted=False),
    Fault("/v1/messages: ends without message_stop", breaks(2, ends_cleanly), None,
          begun(2, "error_in_answer"), path="/v1/messages", hosted=False),
)  # fmt: skip

GROUPS: dict[str, tuple[Fault, ...]] = {
    "Connections": CONNECTION,
    "Time": TIME,
    "Statuses": STATUSES,
    "Framing": FRAMING,
    "Answers": CONTENT,
}
FAULTS: tuple[Fault, ...] = tuple(fault for group in GROUPS.values() for fault in group)


CONTINUABLE: tuple[Fault, ...] = tuple(
    fault
    for fault in FAULTS
    if fault.stream is not None and fault.stream.other == tokens_then_error(2) and fault.path.endswith("completions")
)
"""Faults after the first token, where onStreamFailure: Continue has another backend go on."""


@dataclass(frozen=True)
class Dialect:
    """A way to say when to come back."""

    text: str
    """Header field as sent; ``{date+N}``, ``{unix+N}`` and ``{rfc3339+N}`` are moments N seconds ahead."""
    seconds: float
    """How long the backend is left out."""


RESTS_AT_MOST_SECONDS = 300

DIALECTS = (
    Dialect("retry-after: 7", 7),
    Dialect("retry-after: {date+9}", 9),
    Dialect("retry-after-ms: 2500", 2.5),
    Dialect("x-ms-retry-after-ms: 2500", 2.5),
    Dialect("x-ratelimit-reset: 8", 8),
    Dialect("x-ratelimit-reset: {unix+8}", 8),
    Dialect("x-ratelimit-reset: 1m30s", 90),
    Dialect("x-ratelimit-reset-requests: 6s", 6),
    Dialect("x-ratelimit-reset-tokens: 6m0s", RESTS_AT_MOST_SECONDS),
    Dialect("anthropic-ratelimit-requests-reset: {rfc3339+11}", 11),
    Dialect("anthropic-ratelimit-tokens-reset: {rfc3339+11}", 11),
)

"""A chat answer of an OpenAI-compatible API in the words of Anthropic's Messages: plain, streamed, and errors.

The order of events is Anthropic's: one content block at a time, each started and stopped; the reason and the usage
stand in ``message_delta``, whose counts leave cached tokens out of ``input_tokens`` as Anthropic's do. Reasoning is
left out: a thinking block needs a signature that only its author can give.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from overspill_gateway.core.answers.answer import error_of_answer
from overspill_gateway.core.answers.events import EventAligner, event_name_and_data, says_nothing, split_events
from overspill_gateway.core.answers.tool_calls import CALLS_MAX, CallNumbers
from overspill_gateway.core.answers.usage import Usage, shown_usage
from overspill_gateway.core.http.errors import messages_error_body
from overspill_gateway.core.text.content import arguments_of, refusal_of, text_of

_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

Document = dict[str, object]


class _Function(Struct):
    name: str | None = None
    arguments: Any = None
    """A text; some servers write the object itself."""


class _Call(Struct):
    index: Any = None
    id: str | None = None
    function: _Function | None = None


class _Said(Struct):
    """A message, or a piece of one."""

    content: Any = None
    """A text, or a list of parts."""
    refusal: str | None = None
    tool_calls: tuple[_Call, ...] | None = None


class _Choice(Struct):
    index: int | None = 0
    message: _Said | None = None
    delta: _Said | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    """vLLM's: the stop sequence that was met, or the number of a token."""


class _Answer(Struct):
    id: str | None = ""
    choices: tuple[_Choice, ...] = ()


_decode: Final = msgspec.json.Decoder(_Answer).decode


class MessagesStream:
    """One answer on its way to a client of Anthropic's API. Takes the stream in pieces of any size."""

    __slots__ = ("_aligner", "_begun", "_block", "_blocks", "_calls", "_ended", "_finish_reason", "_index",
                 "_refused", "_stop_sequence", "_usage", "model", "request_id")  # fmt: skip

    def __init__(self, model: str, request_id: str) -> None:
        """``model``: the name that the client knows it by."""
        self.model = model
        self.request_id = request_id
        self._aligner = EventAligner()
        self._begun = self._ended = self._refused = False
        self._index = -1
        """Of the last content block."""
        self._block: str | None = None
        """Type of the block that is open."""
        self._calls = CallNumbers()
        self._blocks: list[int] = []
        """Block of each tool call."""
        self._finish_reason: str | None = None
        self._stop_sequence: str | None = None
        self._usage: Usage | None = None

    def feed(self, events: bytes) -> bytes:
        """The events that follow from these."""
        whole = self._aligner.feed(events)
        out: list[bytes] = []
        for event in split_events(whole) if whole else ():
            self._translate(event, out)
        self._ended = self._ended or self._aligner.too_long  # without message_stop: nobody takes it for whole
        return b"".join(out)

    def finish(self) -> bytes:
        """What a stream that came to a proper end still lacks; nothing where it has said nothing."""
        out: list[bytes] = []
        rest = self._aligner.rest()
        if rest.strip():
            self._translate(rest + b"\n\n", out)
        if self._begun and not self._ended and self._finish_reason is not None:
            self._end(out)
        return b"".join(out)

    def plain(self, status: int, body: bytes) -> bytes:
        """A plain answer, or an error; empty: what came is no chat answer."""
        if status >= 300:
            return plain_error(status, body, self.request_id)
        return plain_message(body, self.model, self.request_id)

    def _translate(self, event: bytes, out: list[bytes]) -> None:
        if self._ended:
            return
        data = None if says_nothing(event) else event_name_and_data(event)[1]
        if data is None:  # a comment, which keeps the connection alive; one of many does
            if self._begun and (not out or out[-1] is not _PING):
                out.append(_PING)
            return
        if data.strip() == b"[DONE]":
            if self._begun:
                self._end(out)
            return
        try:
            chunk = _decode(data)
        except _UNREADABLE:
            return
        if b'"usage"' in data:
            self._usage = shown_usage(data) or self._usage
        self._begin(chunk.id, out)
        for choice in chunk.choices:
            if not choice.index:
                self._take(choice, out)

    def _take(self, choice: _Choice, out: list[bytes]) -> None:
        delta = choice.delta
        if delta is not None:
            refusal = delta.refusal or refusal_of(delta.content)
            text = text_of(delta.content) or refusal
            if text:
                self._refused = self._refused or bool(refusal)
                if self._block != "text":
                    self._start("text", {"type": "text", "text": ""}, out)
                self._delta(self._index, {"type": "text_delta", "text": text}, out)
            for call in delta.tool_calls or ():
                if not self._ended:
                    self._take_call(call, out)
        if choice.finish_reason is not None:
            self._finish_reason = choice.finish_reason
            self._stop_sequence = choice.stop_reason if isinstance(choice.stop_reason, str) else None

    def _take_call(self, call: _Call, out: list[bytes]) -> None:
        function = call.function or _Function()
        piece = arguments_of(function.arguments)
        number, begins = self._calls.take(call.index, call.id or "", function.name or "", piece)
        if self._calls.too_many:  # without message_stop: nobody takes it for whole
            self._ended = True
            return
        if begins:
            known = {"id": call.id or f"toolu_{self.request_id}_{number}", "name": function.name or ""}
            self._start("tool_use", {"type": "tool_use", **known, "input": {}}, out)
            self._blocks.append(self._index)
        if piece:
            self._delta(self._blocks[number], {"type": "input_json_delta", "partial_json": piece}, out)

    # -- events ------------------------------------------------------------------------------------------------

    def _begin(self, answer_id: str | None, out: list[bytes]) -> None:
        if self._begun:
            return
        self._begun = True
        message = _message(answer_id or f"msg_{self.request_id}", self.model)
        usage = _usage(self._usage)
        out.append(_event("message_start", {"message": {**message, "usage": {**usage, "output_tokens": 0}}}))

    def _start(self, kind: str, block: Document, out: list[bytes]) -> None:
        self._stop_block(out)
        self._index += 1
        self._block = kind
        out.append(_event("content_block_start", {"index": self._index, "content_block": block}))

    @staticmethod
    def _delta(index: int, delta: Document, out: list[bytes]) -> None:
        out.append(_event("content_block_delta", {"index": index, "delta": delta}))

    def _stop_block(self, out: list[bytes]) -> None:
        if self._block is not None:
            self._block = None
            out.append(_event("content_block_stop", {"index": self._index}))

    def _end(self, out: list[bytes]) -> None:
        self._ended = True
        self._stop_block(out)
        reason = _stop_reason(
            self._finish_reason, self._stop_sequence, tools=len(self._calls) > 0, refused=self._refused
        )
        delta = {"stop_reason": reason, "stop_sequence": self._stop_sequence}
        out += (_event("message_delta", {"delta": delta, "usage": _usage(self._usage)}), _STOP)


def plain_message(body: bytes, model: str, request_id: str) -> bytes:
    """A plain chat answer as a message; empty: it is none, or one with more calls than any has."""
    try:
        answer = _decode(body)
        choice = answer.choices[0]
    except (*_UNREADABLE, IndexError):
        return b""
    said = choice.message or _Said()
    if len(said.tool_calls or ()) > CALLS_MAX:
        return b""
    content: list[Document] = []
    refusal = said.refusal or refusal_of(said.content)
    text = text_of(said.content) or refusal
    if text:
        content.append({"type": "text", "text": text})
    content += [_tool_use(call, number, request_id) for number, call in enumerate(said.tool_calls or ())]
    sequence = choice.stop_reason if isinstance(choice.stop_reason, str) else None
    reason = _stop_reason(
        choice.finish_reason, sequence, tools=bool(said.tool_calls), refused=bool(refusal and not text_of(said.content))
    )
    message = _message(answer.id or f"msg_{request_id}", model)
    message |= {"content": content, "stop_reason": reason, "stop_sequence": sequence}
    return msgspec.json.encode({**message, "usage": _usage(shown_usage(body))})


def plain_error(status: int, body: bytes, request_id: str) -> bytes:
    """A backend's error in Anthropic's shape; one that is in it already stays as it is."""
    if b'"type":"error"' in body[:200].replace(b" ", b""):
        return body
    return messages_error_body(error_of_answer(status, body), request_id)


def _message(answer_id: str, model: str) -> Document:
    return {
        "id": answer_id, "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": None,
        "stop_sequence": None,
    }  # fmt: skip


def _tool_use(call: _Call, number: int, request_id: str) -> Document:
    function = call.function or _Function()
    return {
        "type": "tool_use",
        "id": call.id or f"toolu_{request_id}_{number}",
        "name": function.name or "",
        "input": _input(arguments_of(function.arguments) or "{}"),
    }


def _input(arguments: str) -> object:
    """A call's arguments as the object that Anthropic's clients expect; what is none is kept as text."""
    raw = arguments.encode()
    try:
        msgspec.json.decode(raw, type=dict[str, Raw])
    except _UNREADABLE:
        return {"arguments": arguments}
    return Raw(raw)


def _stop_reason(finish_reason: str | None, sequence: str | None, *, tools: bool, refused: bool) -> str:
    if refused:
        return "refusal"
    if tools and finish_reason in {None, "stop"}:  # some servers say stop although they call tools
        return "tool_use"
    if sequence is not None and finish_reason == "stop":
        return "stop_sequence"
    return _STOP_REASONS.get(finish_reason or "stop", "end_turn")


def _usage(usage: Usage | None) -> Document:
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }


def _event(name: str, fields: Document) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode({"type": name, **fields}))

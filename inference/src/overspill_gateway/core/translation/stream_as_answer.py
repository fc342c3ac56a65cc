"""A whole stream as the plain answer that its client asked for, where a backend streams unasked: chat, completions."""

from typing import Any, Final

import msgspec

from overspill_gateway.core.answers.events import event_name_and_data, split_events
from overspill_gateway.core.answers.stream import StreamReader
from overspill_gateway.core.answers.tool_calls import CALLS_MAX, CallNumbers
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.dialects.error_shapes import Fault
from overspill_gateway.core.text.content import arguments_of, text_of
from overspill_gateway.core.text.json_text import decoded

_SHAPED_BY: Final = ("id", "created", "model", "system_fingerprint", "service_tier", "usage")


def answer_of_stream(events: bytes, dialect: Dialect) -> bytes | Fault:
    """The answer that these events are, or what is wrong with them."""
    if dialect not in {Dialect.CHAT, Dialect.COMPLETIONS}:
        return Fault("it answered with a stream that nobody had asked for")
    reader = StreamReader(dialect)
    whole = reader.feed(events) + reader.rest()
    if reader.fault is not None:
        return Fault(reader.fault, reader.fault_status)
    answer: dict[str, Any] = {"object": "chat.completion" if dialect is Dialect.CHAT else "text_completion"}
    choices: dict[int, _Choice] = {}
    for event in split_events(whole):
        _, data = event_name_and_data(event)
        chunk = decoded(data) if data is not None else None
        if isinstance(chunk, dict):
            answer |= {name: chunk[name] for name in _SHAPED_BY if chunk.get(name) is not None}
            _take(chunk, choices)
    if any(choice.calls_too_many for choice in choices.values()):
        return Fault(f"its answer calls more than {CALLS_MAX:,} tools")
    told = [choices[index].told(index, chat=dialect is Dialect.CHAT) for index in sorted(choices)]
    return msgspec.json.encode({**answer, "choices": told})


def _take(chunk: dict[str, Any], choices: "dict[int, _Choice]") -> None:
    for choice in chunk.get("choices") or ():
        if isinstance(choice, dict):
            index = choice.get("index")
            choices.setdefault(index if isinstance(index, int) else 0, _Choice()).take(choice)


class _Choice:
    """One choice, as far as it has come."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._lists: dict[str, list[Any]] = {}
        self._fields: dict[str, Any] = {}
        self._calls: list[dict[str, Any]] = []
        self._arguments: list[list[str]] = []
        """Of each call, in pieces."""
        self._numbers = CallNumbers()
        self._ended: dict[str, Any] = {}

    @property
    def calls_too_many(self) -> bool:
        """Whether it has more tool calls than any answer."""
        return self._numbers.too_many

    def take(self, choice: dict[str, Any]) -> None:
        """A piece of it."""
        delta = choice.get("delta")
        fields = delta if isinstance(delta, dict) else {"content": choice.get("text")}
        for name, value in fields.items():
            self._take_field(name, value)
        for name in ("finish_reason", "stop_reason", "logprobs"):
            if choice.get(name) is not None:
                self._ended[name] = choice[name]

    def _take_field(self, name: str, value: Any) -> None:
        if name == "content":
            self._texts.setdefault(name, []).append(text_of(value))
        elif name == "tool_calls" and isinstance(value, list):
            for call in value:
                if isinstance(call, dict):
                    self._take_call(call)
        elif isinstance(value, str) and name != "role":
            self._texts.setdefault(name, []).append(value)
        elif isinstance(value, list):
            self._lists.setdefault(name, []).extend(value)
        elif value is not None:
            self._fields[name] = value

    def _take_call(self, call: dict[str, Any]) -> None:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        name, call_id = str(function.get("name") or ""), str(call.get("id") or "")
        arguments = arguments_of(function.get("arguments"))
        number, begins = self._numbers.take(call.get("index"), call_id, name, arguments)
        if begins:
            told = {"id": call_id or f"call_{number}", "type": "function"}
            self._calls.append({**told, "function": {"name": name}})
            self._arguments.append([])
        self._arguments[number].append(arguments)

    def told(self, index: int, *, chat: bool) -> dict[str, Any]:
        """The choice of a plain answer."""
        texts = {name: "".join(pieces) for name, pieces in self._texts.items()}
        ended = {"finish_reason": "stop", **self._ended}
        if not chat:
            return {"index": index, "text": texts.get("content", ""), **ended}
        message: dict[str, Any] = {"content": None, **self._fields, **self._lists, **texts, "role": "assistant"}
        if self._calls:
            for call, pieces in zip(self._calls, self._arguments, strict=True):
                call["function"]["arguments"] = "".join(pieces)
            message |= {"content": message["content"] or None, "tool_calls": self._calls}
        return {"index": index, "message": message, **ended}

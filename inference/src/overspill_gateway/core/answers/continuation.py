"""Going on elsewhere with an answer whose backend died in the middle of it (``onStreamFailure: Continue``).

Another backend gets the request with the partial text as the beginning of its answer, and its stream is written on
as if nothing had happened: same id, same model, one ``[DONE]``, token counts added up. The final chunk says so in
``"overspill": {"continued": [...]}``. Not here: who goes on, and what it costs.

How true the whole is: a vLLM replica goes on with the very text (``continue_final_message``); its tokens may be
split otherwise at the seam. A hosted API takes the partial text as the last message and may or may not go on from
there: where it repeats the text from its beginning the repetition is dropped, but an answer that starts over in
other words can't be told from one that goes on.

Token counts: the client is shown the prompt of the first request and the output of all. Each backend is paid for
its own request, so the second one's prompt, partial text included, is charged though it is not shown.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from overspill_gateway.core.answers.events import event_name_and_data, split_events
from overspill_gateway.core.answers.usage import count_of
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.text.content import is_text, text_of
from overspill_gateway.core.text.json_text import decoded

CONTINUATIONS_MAX: Final = 2
"""An answer that broke off this often and does so again ends with an error."""
ECHO_CHARS_MIN: Final = 16
"""A shorter text can come twice by chance; only a longer one counts as repeated."""

_CANT_GO_ON: Final = frozenset(
    {
        "audio",
        "echo",
        "guided_choice",
        "guided_decoding_backend",
        "guided_grammar",
        "guided_json",
        "guided_regex",
        "logprobs",
        "modalities",
        "prompt_logprobs",
        "return_token_ids",
        "return_tokens_as_token_ids",
        "structural_tag",
        "structured_outputs",
        "suffix",
        "top_logprobs",
        "truncate_prompt_tokens",
        "use_beam_search",
    }
)
"""Fields with which a second request could not honour what the first one began."""
_LIMITS: Final = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class Partial:
    """An answer that broke off, as the client has it."""

    dialect: Dialect
    """Of chat completions or completions."""
    text: str
    """What it says so far."""
    output_tokens: int
    """Tokens of that text."""
    prompt_tokens: int | None
    """Tokens of the first request's prompt; None: nobody has reported them yet."""
    exact: bool
    """Whether the tokens were reported, not counted by events."""
    first_chunk: dict[str, object]
    """Of the first chunk that the client got: id, created, model, as far as it had them."""
    continued: tuple[dict[str, object], ...] = ()
    """The parts behind the first, for the mark in the final chunk."""


def continuation_body(body: bytes, partial: Partial, *, local: bool) -> bytes | None:
    """The request that goes on behind the partial answer; None: it can't be done truly.

    ``body`` is the client's own. ``local``: for an engine of ours, which can be told to go on with a message.
    """
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(request, dict) or len(partial.continued) >= CONTINUATIONS_MAX or not _may_go_on(request):
        return None
    if not _lower_limits(request, partial.output_tokens):
        return None
    if partial.dialect is Dialect.COMPLETIONS:
        prompt = request.get("prompt")
        if not isinstance(prompt, str):
            return None
        request["prompt"] = prompt + partial.text
    elif partial.dialect is not Dialect.CHAT or not _extend_messages(request, partial.text.rstrip(), local=local):
        return None
    return msgspec.json.encode(request)


class ContinuedStream:
    """Writes the events of the backend that goes on as the first one would have written them."""

    __slots__ = ("_echo", "_first", "_held", "_mark", "_overlap", "_partial", "_repeated", "_text", "fault")

    def __init__(self, partial: Partial, *, served_by: str, may_echo: bool) -> None:
        """``may_echo``: whether this backend may repeat the text instead of going on behind it."""
        self.fault: str | None = None
        """Why it can't be written on."""
        self._partial = partial
        self._first = partial.first_chunk
        self._mark = (*partial.continued, {"served_by": served_by, "after_tokens": partial.output_tokens})
        self._text = [partial.text]
        self._held: list[str] = []
        self._repeated = 0
        """So much of the text has come again."""
        prefix = partial.text.strip()
        self._echo = prefix if may_echo and len(prefix) >= ECHO_CHARS_MIN else ""
        chat = partial.dialect is Dialect.CHAT
        self._overlap = partial.text[len(partial.text.rstrip()) :] if chat else ""
        """Blanks that the text ends with and that the backend was not given: it may write them again."""

    @property
    def text(self) -> str:
        """All that the client has by now."""
        return "".join(self._text)

    def partial_with(self, output_tokens: int) -> Partial:
        """The answer after this backend has broken off as well, with so many tokens of its own."""
        tokens = self._partial.output_tokens + output_tokens
        return replace(self._partial, text=self.text, output_tokens=tokens, exact=False, continued=self._mark)

    def feed(self, events: bytes) -> bytes:
        """Whole events in, whole events out."""
        passing: list[bytes] = []
        for event in split_events(events) if self.fault is None else ():
            _, data = event_name_and_data(event)
            chunk = decoded(data) if data is not None else None
            if not isinstance(chunk, dict):
                passing.append(event)
            elif self._rewrite(chunk):
                passing.append(b"data: " + msgspec.json.encode(chunk) + b"\n\n")
            if self.fault is not None:
                break
        return b"".join(passing)

    def finish(self) -> bytes:
        """Nothing is kept back behind the last event."""
        return b""

    def _rewrite(self, chunk: dict[str, Any]) -> bool:
        """Make a chunk one of the first answer's; False: it has nothing to say there."""
        chunk.update(self._first)
        last = not chunk.get("choices")
        says = last
        for choice in chunk.get("choices") or ():
            if isinstance(choice, dict):
                finished = choice.get("finish_reason") is not None
                last = last or finished
                says = self._rewrite_choice(choice, finished=finished) or says
        if isinstance(chunk.get("usage"), dict):
            chunk["usage"] = self._added_up(chunk["usage"])
        if last:
            chunk["overspill"] = {"continued": list(self._mark), "usage_estimated": not self._partial.exact}
        return says and self.fault is None

    def _rewrite_choice(self, choice: dict[str, Any], *, finished: bool) -> bool:
        delta = choice.get("delta")
        holder, field = (delta, "content") if isinstance(delta, dict) else (choice, "text")
        holder.pop("role", None)
        if is_text(holder.get(field)):
            holder[field] = self._admit(text_of(holder[field]))
        if finished:
            self._settle(holder, field)
        more = isinstance(delta, dict) and any(value for name, value in delta.items() if name != field)
        return bool(holder.get(field)) or finished or more

    def _admit(self, text: str) -> str:
        """The part of a piece of text that the client doesn't have yet."""
        if self._echo:
            self._held.append(text)
            piece = text if self._repeated else text.lstrip()
            left = len(self._echo) - self._repeated
            if len(piece) < left and self._echo.startswith(piece, self._repeated):
                self._repeated += len(piece)
                return ""
            repeats = piece[:left] == self._echo[self._repeated :]
            text = piece[left:] if repeats else "".join(self._held)
            self._echo, self._held = "", []
        same = 0
        while same < min(len(text), len(self._overlap)) and text[same] == self._overlap[same]:
            same += 1
        text, self._overlap = text[same:], self._overlap[same:]
        if text:
            self._overlap = ""
            self._text.append(text)
        return text

    def _settle(self, holder: dict[str, Any], field: str) -> None:
        """At the end: text that could still have become a repetition is none, or the answer was only repeated."""
        held = "".join(self._held)
        if self._echo and len(held.strip()) >= ECHO_CHARS_MIN:
            self.fault = "it repeated the beginning of the answer instead of going on with it"
        elif self._echo:
            self._echo, self._held = "", []
            holder[field] = self._admit(held)

    def _added_up(self, usage: dict[str, Any]) -> dict[str, Any]:
        prompt, output = count_of(usage.get("prompt_tokens")), count_of(usage.get("completion_tokens"))
        before = self._partial
        if prompt is None:
            return usage
        shown = before.prompt_tokens if before.prompt_tokens is not None else max(prompt - before.output_tokens, 0)
        outputs = before.output_tokens + (output or 0)
        added = {**usage, "prompt_tokens": shown, "completion_tokens": outputs, "total_tokens": shown + outputs}
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict) and (cached := count_of(details.get("cached_tokens"))) is not None:
            added["prompt_tokens_details"] = {**details, "cached_tokens": min(cached, shown)}
        return added


def _may_go_on(request: dict[str, Any]) -> bool:
    if any(request.get(field) for field in _CANT_GO_ON):
        return False
    if request.get("n") not in {None, 1} or request.get("best_of") not in {None, 1}:
        return False
    shape = request.get("response_format")
    if isinstance(shape, dict) and shape.get("type") != "text":
        return False
    choice = request.get("tool_choice")
    return not isinstance(choice, dict) and choice != "required"


def _lower_limits(request: dict[str, Any], came: int) -> bool:
    """Leave to the second part what the first one has left; False: nothing."""
    for field in _LIMITS:
        limit = request.get(field)
        if limit is None:
            continue
        if not isinstance(limit, int) or limit <= came:
            return False
        request[field] = limit - came
    least = request.get("min_tokens")
    if isinstance(least, int):
        request["min_tokens"] = max(least - came, 0)
    return True


def _extend_messages(request: dict[str, Any], text: str, *, local: bool) -> bool:
    """Put the partial answer behind the conversation; False: it ends in a way that leaves no place for it."""
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        return False
    if not text:
        return True  # nothing but blanks: it begins anew
    last = messages[-1]
    if last.get("role") == "assistant":
        if not (local and request.get("continue_final_message") and isinstance(last.get("content"), str)):
            return False
        request["messages"] = [*messages[:-1], {**last, "content": last["content"] + text}]
        return True
    request["messages"] = [*messages, {"role": "assistant", "content": text}]
    if local:
        request["continue_final_message"] = True
        request["add_generation_prompt"] = False
    return True

"""What the stand-in says: bodies in OpenAI's shapes, as vLLM 0.32 and OpenAI themselves fill them. Pure.

Recorded answers of vLLM 0.32 were the model: field for field where a gateway or an SDK reads them.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .settings import Settings

Json = dict[str, object]
WORDS = (  # noqa: SIM905  -- a list would take a line for each
    "river stone light garden winter paper music silver window morning forest bridge letter summer shadow "
    "market island engine harbour mountain"
).split()


@dataclass(eq=False)
class Refusal(Exception):  # noqa: N818  -- it is an answer, not a fault
    """A request that is answered with an error."""

    status: int
    """HTTP status."""
    message: str
    """For the person who reads it."""
    kind: str
    """vLLM's `type`; OpenAI's is always invalid_request_error here."""
    param: str | None = None
    """The field at fault."""
    code: str | None = None
    """OpenAI's `code`; vLLM's is the status."""

    def body(self, settings: Settings) -> Json:
        """In the shape of whom it plays."""
        if settings.role == "hosted":
            kind = "server_error" if self.status >= 500 else "invalid_request_error"
            return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}
        if self.status == 401:
            return {"error": "Unauthorized"}
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}}


@dataclass(frozen=True)
class Answer:
    """One answer to be given: chat or completion, plain or streamed."""

    settings: Settings
    chat: bool
    """Chat completion; else plain completion."""
    model: str
    """As the client wrote it."""
    identity: str
    """The answer's id, without its prefix."""
    created: int
    """Unix time, seconds."""
    prompt_tokens: int
    """Of the prompt, by the stand-in's own count."""
    tokens: tuple[str, ...]
    """The text, token by token."""
    finish_reason: str
    """`length` when the request's limit cut it, else `stop`."""
    include_usage: bool
    """The stream ends with an event that carries usage and no choices."""
    continuous_usage: bool
    """vLLM's extension: every event carries the usage so far."""

    def usage(self, tokens: int) -> Json:
        """After so many tokens of the answer."""
        total = {"prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens + tokens}
        return {**total, "completion_tokens": tokens, "prompt_tokens_details": {"cached_tokens": 0}}

    def _head(self, kind: str) -> Json:
        prefix = "chatcmpl-" if self.chat else "cmpl-"
        return {"id": prefix + self.identity, "object": kind, "created": self.created, "model": self.model}

    def whole(self) -> Json:
        """The body of an answer that is not streamed."""
        text = "".join(self.tokens)
        content: Json = {"text": text}
        if self.chat:
            content = {"message": {"role": "assistant", "content": text, "refusal": None, "annotations": []}}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": self.finish_reason}
        head = self._head("chat.completion" if self.chat else "text_completion")
        print_of = {"service_tier": None, "system_fingerprint": f"standin-{self.settings.name}"}
        return {**head, "choices": [choice], **print_of, "usage": self.usage(len(self.tokens))}

    def role_event(self) -> bytes:
        """The event before the first token: a chat stream names its role."""
        return self._event([self._choice({"delta": {"role": "assistant", "content": ""}}, None)], 0)

    def token_event(self, index: int) -> bytes:
        """One token's event; the last one says why the answer ends."""
        last = index == len(self.tokens) - 1
        token = self.tokens[index]
        content: Json = {"delta": {"content": token}} if self.chat else {"text": token}
        return self._event([self._choice(content, self.finish_reason if last else None)], index + 1)

    def closing_events(self) -> bytes:
        """Usage when it was asked for, and the end."""
        count = len(self.tokens)
        usage = self._event([], count, {"usage": self.usage(count)}) if self.include_usage else b""
        return usage + b"data: [DONE]\n\n"

    @staticmethod
    def _choice(content: Json, finish_reason: str | None) -> Json:
        return {"index": 0, **content, "logprobs": None, "finish_reason": finish_reason}

    def _event(self, choices: list[Json], tokens: int, more: Json | None = None) -> bytes:
        head = self._head("chat.completion.chunk" if self.chat else "text_completion")
        usage: Json = {}
        if self.continuous_usage:
            usage = {"usage": self.usage(tokens)}
        elif self.include_usage and self.settings.role == "hosted":
            usage = {"usage": None}
        event = {**head, "choices": choices, **usage, **(more or {})}
        return b"data: " + json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def answer_to(settings: Settings, request: Mapping[str, object], *, chat: bool, identity: str, created: int) -> Answer:
    """Plan the answer to a request's body; Refusal when it cannot be served."""
    model = served_model(settings, request)
    field = "messages" if chat else "prompt"
    if field not in request:
        text = f"1 validation error:\n  {{'type': 'missing', 'loc': 'body.{field}', 'msg': 'Field required'}}"
        raise Refusal(400, text, "Bad Request", f"body.{field}", "missing_required_parameter")
    prompt_tokens = count_tokens("".join(texts(request[field])))
    name = "max_completion_tokens" if request.get("max_completion_tokens") is not None else "max_tokens"
    limit = request.get(name)
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise Refusal(400, f"{name} must be at least 1, got {limit!r}.", "BadRequestError", name, "invalid_value")
    most = settings.tokens if limit is None else min(settings.tokens, limit)
    if (asked := prompt_tokens + (limit or 1)) > settings.context_tokens:
        text = f"This model's maximum context length is {settings.context_tokens} tokens, but {asked} were asked for."
        raise Refusal(400, text, "BadRequestError", name, "context_length_exceeded")
    options = request.get("stream_options")
    options = options if isinstance(options, dict) else {}
    return Answer(
        settings=settings,
        chat=chat,
        model=model,
        identity=identity,
        created=created,
        prompt_tokens=prompt_tokens,
        tokens=tuple(words(settings.name, most)),
        finish_reason="length" if most < settings.tokens else "stop",
        include_usage=bool(options.get("include_usage")),
        continuous_usage=bool(options.get("continuous_usage_stats")) and settings.role == "engine",
    )


def served_model(settings: Settings, request: Mapping[str, object]) -> str:
    """The model that a request names; Refusal when it is not served here."""
    model = request.get("model")
    if not isinstance(model, str) and settings.role == "engine":
        return settings.models[0]  # vLLM serves a request without a model
    if not isinstance(model, str):
        raise Refusal(400, "you must provide a model parameter", "BadRequestError", "model", None)
    if settings.models and model not in settings.models:
        known = f"The model `{model}` does not exist. Valid aliases: {', '.join(settings.models)}."
        text = known if settings.role == "engine" else f"The model `{model}` does not exist or you do not have access."
        raise Refusal(404, text, "NotFoundError", "model", "model_not_found")
    return model


def texts(value: object) -> Iterator[str]:
    """Every text of a prompt: a string, messages, or content parts, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from texts(value.get("content", value.get("text")))
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)


def count_tokens(text: str) -> int:
    """One token for each four characters begun: enough for sums that must agree."""
    return -(-len(text) // 4)


def words(name: str, count: int) -> Iterator[str]:
    """So many tokens of text: the name first, then words."""
    for index in range(count):
        yield name if index == 0 else " " + WORDS[(index - 1) % len(WORDS)]


def model_list(settings: Settings, created: int) -> Json:
    """The body of GET /v1/models."""
    owner = "vllm" if settings.role == "engine" else "standin"
    extra = {"root": settings.root, "parent": None, "max_model_len": settings.context_tokens}
    more = extra if settings.role == "engine" else {}
    names = [{"id": name, "object": "model", "created": created, "owned_by": owner, **more} for name in settings.models]
    return {"object": "list", "data": names}


def embeddings(settings: Settings, request: Mapping[str, object]) -> Json:
    """The body of POST /v1/embeddings: numbers made from the text, the same each time."""
    model, given = served_model(settings, request), request.get("input")
    if given is None:
        raise Refusal(400, "input is required", "BadRequestError", "input", "missing_required_parameter")
    inputs = given if isinstance(given, list) and not all(isinstance(part, int) for part in given) else [given]
    size = request.get("dimensions")
    size = size if isinstance(size, int) and 0 < size <= 4096 else 8
    data = []
    for index, part in enumerate(inputs):
        seed = json.dumps(part).encode()
        numbers = [zlib.crc32(seed, place) / 2**31 - 1 for place in range(size)]
        packed = base64.b64encode(struct.pack(f"<{size}f", *numbers)).decode()
        vector = packed if request.get("encoding_format") == "base64" else numbers
        data.append({"object": "embedding", "index": index, "embedding": vector})
    tokens = sum(count_tokens("".join(texts(part))) for part in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def tokenized(settings: Settings, request: Mapping[str, object]) -> Json:
    """The body of POST /tokenize."""
    served_model(settings, request)
    count = count_tokens("".join(texts(request.get("messages", request.get("prompt")))))
    numbers = list(range(count))
    return {"count": count, "max_model_len": settings.context_tokens, "tokens": numbers, "token_strs": None}

"""What is said of a long body between the process that reads it and the gateway: classes of msgspec, not compiled."""

from typing import Final

import msgspec


class AskedPartial(msgspec.Struct, array_like=True, gc=False):
    """Fields of ``Partial`` by which a body is made."""

    chat: bool
    text: str
    output_tokens: int
    continued: int
    """How often it went on before."""
    local: bool
    """Whether an engine of ours goes on."""


class Asked(msgspec.Struct, gc=False):
    """What is to be read."""

    path: bytes
    """That was called: it names the dialect."""
    content_type: bytes = b""
    deployment: str = ""
    """Of Azure's clients: the model that their path names."""
    translate: bool = False
    """Whether an Anthropic request may have to be told in OpenAI's form."""
    partial: AskedPartial | None = None
    """Of an answer that broke off: the body that goes on with it is to be made, and read."""


class ToldError(msgspec.Struct, array_like=True, gc=False):
    """An error for the client: fields of ``ApiError``."""

    status: int
    type: str
    code: str
    message: str
    param: str | None


class ToldBounds(msgspec.Struct, array_like=True, gc=False):
    """Fields of ``Bounds``."""

    prompt_tokens: int
    output_tokens_more: int
    unpriced: str
    unbounded: str
    reasons: bool


class Told(msgspec.Struct, omit_defaults=True):
    """What was read: fields of ``BodyFacts`` and of ``LongFacts``, or what is wrong with the body."""

    error: ToldError | None = None
    model: str = ""
    stream: bool = False
    model_start: int = 0
    model_end: int = 0
    form: bool = False
    stream_options: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    max_tokens_fields: tuple[str, ...] = ()
    answers: int = 1
    needs: int = 0
    prompt_bytes: int = 0
    attachments: int = 0
    attachment_bytes: int = 0
    schema: bytes | None = None
    bare: bool = False
    prefix: int = 0
    spans: dict[str, tuple[int, int]] = {}
    first_field: int = 0
    bounds: ToldBounds | None = None
    chat_refusal: ToldError | None = None
    body_bytes: int = 0
    """Of what follows: the body as it was edited. Behind it: the request in OpenAI's form."""


decode_asked: Final = msgspec.json.Decoder(Asked).decode
decode_told: Final = msgspec.json.Decoder(Told).decode

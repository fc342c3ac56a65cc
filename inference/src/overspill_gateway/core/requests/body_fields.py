"""The fields of a request's body that routing needs, as JSON has them: classes that msgspec decodes to.

Everything else in a body is skipped undecoded. Apart from ``body``, which reads them: msgspec's classes are made from
their annotations while they are imported, so a module that has any is not compiled.
"""

from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

NO_RAW: Final = Raw()
"""Where a field is absent."""


class StreamOptions(msgspec.Struct, gc=False):
    """``stream_options``."""

    include_usage: bool | None = None


class JsonSchema(msgspec.Struct, gc=False):
    """``response_format.json_schema`` of chat."""

    schema: Raw = NO_RAW


class Format(msgspec.Struct, gc=False):
    """``response_format`` of chat, ``text.format`` of responses."""

    type: str | None = None
    json_schema: JsonSchema | None = None
    schema: Raw = NO_RAW


class Text(msgspec.Struct, gc=False):
    """``text`` of responses."""

    format: Format | None = None


class Fields(msgspec.Struct, gc=False):
    """Fields of every dialect."""

    model: str | None = None
    stream: bool | None = None
    api_base: Raw | UnsetType = UNSET
    api_key: Raw | UnsetType = UNSET
    base_url: Raw | UnsetType = UNSET


class Chat(Fields, gc=False):
    """Chat completions."""

    stream_options: StreamOptions | UnsetType | None = UNSET
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    messages: Raw = NO_RAW
    tools: Raw = NO_RAW
    functions: Raw = NO_RAW
    response_format: Format | None = None


class Completions(Fields, gc=False):
    """Completions."""

    stream_options: StreamOptions | UnsetType | None = UNSET
    max_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None
    prompt: Raw = NO_RAW
    response_format: Format | None = None


class Embeddings(Fields, gc=False):
    """Embeddings, and pooling of chats."""

    input: Raw = NO_RAW
    messages: Raw = NO_RAW


class Responses(Fields, gc=False):
    """Responses."""

    max_output_tokens: int | None = None
    instructions: Raw = NO_RAW
    input: Raw = NO_RAW
    tools: Raw = NO_RAW
    text: Text | None = None


class Messages(Fields, gc=False):
    """Anthropic's messages."""

    max_tokens: int | None = None
    system: Raw = NO_RAW
    messages: Raw = NO_RAW
    tools: Raw = NO_RAW


decode_chat: Final = msgspec.json.Decoder(Chat).decode
decode_completions: Final = msgspec.json.Decoder(Completions).decode
decode_embeddings: Final = msgspec.json.Decoder(Embeddings).decode
decode_responses: Final = msgspec.json.Decoder(Responses).decode
decode_messages: Final = msgspec.json.Decoder(Messages).decode
decode_other: Final = msgspec.json.Decoder(Fields).decode
decode_raws: Final = msgspec.json.Decoder(list[Raw]).decode

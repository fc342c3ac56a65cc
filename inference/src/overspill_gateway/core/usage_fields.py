"""Where answers report usage, in every dialect: classes that msgspec decodes to. ``usage`` reads them.

A module with such classes is not compiled, see ``body_fields``.
"""

from typing import Final

import msgspec


class CachedTokens(msgspec.Struct, gc=False):
    """Details of the prompt's tokens."""

    cached_tokens: int | None = None


class UsageFields(msgspec.Struct, gc=False):
    """Fields of all dialects: chat, completions and embeddings; responses and messages."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: CachedTokens | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: CachedTokens | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class Holder(msgspec.Struct, gc=False):
    """What has usage."""

    usage: UsageFields | None = None


class Answer(Holder, gc=False):
    """A plain answer, or an event: ``response`` in the last of responses, ``message`` in the first of messages."""

    response: Holder | None = None
    message: Holder | None = None


decode_answer: Final = msgspec.json.Decoder(Answer).decode

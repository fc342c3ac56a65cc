"""Where answers report usage, in every dialect: classes that msgspec decodes to. ``usage`` reads them.

Counters are decoded as they come: one that is no number must not hide the others.
A module with such classes is not compiled, see ``body_fields``.
"""

from typing import Final

import msgspec


class TokenDetails(msgspec.Struct, gc=False):
    """Details of the prompt's tokens, or of the output's."""

    cached_tokens: object = None
    reasoning_tokens: object = None


class UsageFields(msgspec.Struct, gc=False):
    """Fields of all dialects: chat, completions and embeddings; responses and messages."""

    prompt_tokens: object = None
    completion_tokens: object = None
    total_tokens: object = None
    prompt_tokens_details: TokenDetails | None = None
    completion_tokens_details: TokenDetails | None = None
    input_tokens: object = None
    output_tokens: object = None
    input_tokens_details: TokenDetails | None = None
    output_tokens_details: TokenDetails | None = None
    cache_creation_input_tokens: object = None
    cache_read_input_tokens: object = None


class Holder(msgspec.Struct, gc=False):
    """What has usage."""

    usage: UsageFields | None = None
    status: object = None


class Answer(Holder, gc=False):
    """A plain answer, or an event: ``response`` in the last of responses, ``message`` in the first of messages."""

    response: Holder | None = None
    message: Holder | None = None


decode_answer: Final = msgspec.json.Decoder(Answer).decode

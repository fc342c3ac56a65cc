"""Chunks of streamed answers, as far as they are judged: classes that msgspec decodes to. ``stream`` reads them.

A module with such classes is not compiled, see ``body_fields``.
"""

from collections.abc import Callable
from typing import Final

import msgspec


class Choice(msgspec.Struct, gc=False):
    """One of a chunk's answers, as far as judging goes."""

    finish_reason: str | None = None
    error: object = None


class Chunk(msgspec.Struct):
    """Any chunk of chat or completions."""

    choices: tuple[Choice, ...] = ()
    error: object = None
    usage: object = None
    sequence_number: int = 0


class PlainDelta(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A piece of text and nothing else."""

    content: str = ""


class PlainChoice(msgspec.Struct, gc=False):
    """What has a piece of text and says nothing else."""

    index: int = 0
    delta: PlainDelta | None = None
    text: str = ""
    finish_reason: None = None
    logprobs: None = None
    token_ids: None = None


class PlainChunk(msgspec.Struct):
    """A chunk of which only the text matters: what most of a stream consists of. Anything else fails to decode."""

    choices: tuple[PlainChoice, ...] = ()
    error: None = None
    usage: object = None


class Shape(msgspec.Struct, gc=False):
    """What all chunks of a stream have in common, as it came."""

    id: object = msgspec.UNSET
    created: object = msgspec.UNSET
    model: object = msgspec.UNSET


SHAPE: Final = Shape.__struct_fields__
decode_shape: Final[Callable[[bytes], Shape]] = msgspec.json.Decoder(Shape).decode
decode_chunk: Final[Callable[[bytes], Chunk]] = msgspec.json.Decoder(Chunk).decode
decode_plain: Final[Callable[[bytes], PlainChunk]] = msgspec.json.Decoder(PlainChunk).decode

"""Plain answers, as far as seeing that they are good: classes that msgspec decodes to, which ``answer_fault`` reads.

A module with such classes is not compiled, see ``body_fields``. What fails to decode may be good all the same.
"""

from typing import Final

import msgspec
from msgspec import Raw

from overspill_gateway.core.answers.usage_fields import Answer

NO_RAW: Final = Raw()
"""Where a field is absent."""


class Part(msgspec.Struct, gc=False):
    """A part of an answer: any object."""


class GoodChoice(msgspec.Struct, gc=False):
    """One of the choices."""

    finish_reason: str | None = None
    message: Part | None = None
    text: Raw = NO_RAW
    error: None = None


class GoodChoices(Answer, gc=False):
    """An answer of chat or completions, with what it reports."""

    choices: list[GoodChoice] = []  # noqa: RUF012 - each gets its own
    error: None = None
    object: str | None = None
    type: str | None = None


class GoodObject(msgspec.Struct, gc=False):
    """An answer of responses, messages or embeddings."""

    error: None = None
    object: str | None = None
    type: str | None = None
    status: str | None = None
    output: tuple[Part, ...] | None = None
    content: tuple[Part, ...] | None = None
    data: tuple[Part, ...] | None = None


decode_good_choices: Final = msgspec.json.Decoder(GoodChoices).decode
decode_good_object: Final = msgspec.json.Decoder(GoodObject).decode

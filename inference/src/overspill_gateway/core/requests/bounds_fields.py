"""Messages that are text alone, as ``core.requests.bounds`` looks for them."""

from typing import Final

import msgspec
from msgspec import Raw

NO_RAW: Final = Raw()
"""Where a field is absent."""


class FlatMessage(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A message of a chat that has no other fields than one whose content is a text; stepped over, not decoded."""

    role: Raw = NO_RAW
    content: Raw = NO_RAW
    name: Raw = NO_RAW


class TextMessage(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A message of a chat whose content is a text, with nothing beside it."""

    role: str
    content: str
    name: str | None = None


decode_flat_messages: Final = msgspec.json.Decoder(list[FlatMessage]).decode
decode_text_messages: Final = msgspec.json.Decoder(list[TextMessage]).decode

"""Messages that are text alone, as ``core.requests.bounds`` looks for them."""

from typing import Final

import msgspec


class TextMessage(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A message of a chat whose content is a text, with nothing beside it."""

    role: str
    content: str
    name: str | None = None


decode_text_messages: Final = msgspec.json.Decoder(list[TextMessage]).decode

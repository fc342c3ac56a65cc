"""What is said of a long answer between the process that reads it and the gateway: classes of msgspec, not compiled."""

from typing import Final

import msgspec


class AskedEvent(msgspec.Struct, gc=False):
    """One event of a stream that is to be read."""

    dialect: str
    keep: bool
    """Whether its text is kept."""
    divides: bool
    """Whether it is to be told in short ones."""


class ToldEvent(msgspec.Struct, omit_defaults=True, gc=False):
    """What an event means: fields of ``Event`` and ``LongEvent``. Behind it come the event and its text."""

    meaning: str
    usage: bool = False
    plain: bool = True
    piece: bool = False
    speaks: bool = True
    finished: bool = False
    sequence: int = 0
    why: str = ""
    status: int = 502
    report: "ToldReport | None" = None
    text_bytes: int = 0
    first_chunk: dict[str, object] = {}
    event_bytes: int = 0
    """0: as it came."""


class Asked(msgspec.Struct, gc=False):
    """What is to be read of a whole answer: fields of ``Wish``."""

    status: int
    spoken: str
    asked_stream: bool
    unasked_stream: bool
    include_usage: bool
    translates: bool
    model: str
    request_id: str


class ToldReport(msgspec.Struct, array_like=True, gc=False):
    """Fields of ``Report``."""

    prompt_tokens: int | None
    cached_tokens: int
    output_tokens: int | None
    unfinished: bool
    reasoned: bool


class Told(msgspec.Struct, omit_defaults=True, gc=False):
    """What was read: fields of ``WholeAnswer``. Behind it come the body, what the client gets instead, the text."""

    fault: str | None = None
    fault_status: int = 502
    body_bytes: int = 0
    """0: as it came."""
    told_bytes: int = 0
    report: ToldReport | None = None
    has_text: bool = False
    text_bytes_more: int = 0


decode_asked: Final = msgspec.json.Decoder(Asked).decode
decode_asked_event: Final = msgspec.json.Decoder(AskedEvent).decode
decode_told_event: Final = msgspec.json.Decoder(ToldEvent).decode
decode_told: Final = msgspec.json.Decoder(Told).decode

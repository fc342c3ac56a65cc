"""What a check of an answer against a schema came to. In a module of its own: msgspec makes the class at import."""

from typing import Final

import msgspec


class Verdict(msgspec.Struct, frozen=True):
    """What came of a check."""

    usable: bool
    """Whether the schema is one that can be checked against; where not, answers pass as they are."""
    why: str | None
    """Why the answer breaks the schema; None: it does not."""
    unchecked: str | None = None
    """Why nobody knows; None: it was checked."""


_decode: Final = msgspec.json.Decoder(Verdict).decode


def decode_verdict(line: bytes) -> Verdict:
    """A verdict as the checking process writes it; one that can't be read is none."""
    try:
        return _decode(line)
    except msgspec.DecodeError:
        return Verdict(usable=True, why=None, unchecked="the checking process answered nonsense")

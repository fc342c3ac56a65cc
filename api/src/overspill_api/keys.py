"""API keys: their form, how one is made from a random source, and how it is kept as a keyed hash.

Shared by the command line, which makes keys, and the gateway, which checks them. Not here: where keys and the
pepper are stored.
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Protocol

KEY_PREFIX: Final = "osk"
"""First part of every key, so that people and secret scanners recognise one."""
ID_LENGTH: Final = 12
ID_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
SECRET_LENGTH: Final = 40
"""Length of a new secret: 40 of 62 characters are 238 bits."""
SECRET_LENGTH_MIN: Final = 32
"""The shortest secret that is read: 190 bits."""
SECRET_LENGTH_MAX: Final = 256
"""The longest secret that is read: a bound for what comes in from outside."""
ALPHANUMERIC: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

_KEY: Final = re.compile(
    rf"{KEY_PREFIX}-([a-z0-9]{{{ID_LENGTH}}})-([A-Za-z0-9]{{{SECRET_LENGTH_MIN},{SECRET_LENGTH_MAX}}})", re.ASCII
)


class RandomSource(Protocol):
    """What a key is made from: ``secrets.SystemRandom()`` in production, ``random.Random(seed)`` in tests."""

    def choice(self, seq: Sequence[str], /) -> str:
        """One element, each as likely as any other."""
        ...


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """A text that has the form of a key; whether anybody has given it out, its hash tells."""

    id: str
    """Public part: names the key in logs, metrics and ``spec.keys``."""
    text: str = field(repr=False)
    """The whole key."""


def new_key(random: RandomSource) -> str:
    """Make a new key ``osk-<id>-<secret>``."""
    key_id = "".join(random.choice(ID_ALPHABET) for _ in range(ID_LENGTH))
    secret = "".join(random.choice(ALPHANUMERIC) for _ in range(SECRET_LENGTH))
    return f"{KEY_PREFIX}-{key_id}-{secret}"


def parse_key(text: str) -> ParsedKey | None:
    """Read the key that a text is, or None where it does not have the form of one."""
    match = _KEY.fullmatch(text)
    return ParsedKey(id=match.group(1), text=text) if match else None


def key_hash(pepper: bytes, key: str) -> str:
    """HMAC-SHA256 of the whole key under the release's pepper, as 64 hexadecimal digits."""
    return hmac.new(pepper, key.encode(), sha256).hexdigest()

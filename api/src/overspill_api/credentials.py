"""API keys of hosted APIs: which texts can be sent in a header, and what is wrong with one that cannot.

The operator asks before it compiles a key, the gateway before it takes one over. Not here: keys that clients send to
the gateway (``keys.py``).
"""

from typing import Annotated, Final

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

API_KEY_LENGTH_MAX: Final = 8192
"""Longer than any provider's key or token; servers refuse a head beyond 8 to 16 KiB."""

_BYTE_ORDER_MARK: Final = "\ufeff"


def api_key_problem(text: str) -> str | None:  # noqa: PLR0911 - one return a case
    """What keeps a text from being sent as ``Authorization: Bearer``, with what mends it; None: nothing.

    The answer holds nothing of the key itself.
    """
    if not text:
        return "is empty; put the provider's key there"
    if _BYTE_ORDER_MARK in text:
        return "has a byte order mark, which an editor has put there; save the key as plain text without it"
    if any(character < " " or character == "\x7f" for character in text):
        return "has a line break or another control character in it; a key is one line, so paste the key alone"
    if not text.isascii():
        place = next(index for index, character in enumerate(text, 1) if not character.isascii())
        return f"has a character that is not ASCII (the {place}. one), which no header can carry; paste the key anew"
    if " " in text:
        return "has a space in it; paste the key alone, without words such as Bearer before it"
    if len(text) > API_KEY_LENGTH_MAX:
        return f"has {len(text)} characters, more than the {API_KEY_LENGTH_MAX} that fit into a header"
    return None


def _checked(text: str) -> str:
    problem = api_key_problem(text)
    if problem is not None:
        raise PydanticCustomError("api_key", "{problem}", {"problem": f"the key {problem}"})
    return text


ApiKey = Annotated[str, AfterValidator(_checked)]
"""A key that can be sent."""

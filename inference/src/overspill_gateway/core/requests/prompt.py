"""What a prompt's raw JSON tells without parsing it: how much text it is, what else it holds, how it begins.

Images and files come as base64 of many megabytes: they are stepped over by searching for quotation marks.
"""

import re
from typing import Final
from zlib import crc32

PREFIX_BYTES: Final = 8192
"""The beginning of a conversation that is hashed."""
COMPLETION_PREFIX_BYTES: Final = 1024
"""Of a bare prompt, whose turns don't show."""
_LOOK_BEHIND_BYTES: Final = 256
_PAYLOAD_BYTES_MIN: Final = 256
_STRIP_BYTES_MIN: Final = 4096
"""Shorter prompts hold no payload worth the search."""

_SPREAD: Final = 0x9E37_79B9_7F4A_7C15
"""Odd, near 2**64 divided by the golden ratio."""

_ASSISTANT: Final = b'"assistant"'
_PARTS: Final = re.compile(
    rb'"type"[ \t\r\n]*:[ \t\r\n]*"(?:image_url|input_image|image|input_audio|audio_url|video_url|input_video|file'
    rb"|input_file|document|image_pil|image_embeds|audio_embeds)\""
)
_URL_KEY: Final = re.compile(rb'"(?:url|image_url|file_data|file_url)"[ \t\r\n]*:[ \t\r\n]*"data:[^"\\,]*$')
_DATA_FIELD: Final = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*"([^"]{%d,}+)"' % _PAYLOAD_BYTES_MIN)


def attachments(prompt: bytes) -> tuple[int, int]:
    """How many content parts other than text a prompt has, and how many of its bytes are their base64."""
    if prompt.find(b"[", 1) < 0 or b'"type"' not in prompt:  # one byte is found much faster than six
        return 0, 0
    length = len(prompt)
    if length > _STRIP_BYTES_MIN and b'"tool_use"' not in prompt:  # whose input may hold anything, as text
        prompt = _without_data_fields(_without_data_urls(prompt))
    return len(_PARTS.findall(prompt)), length - len(prompt)


def conversation_prefix(system: bytes, messages: bytes) -> int:
    """Hash of a conversation up to its first answer; further turns of it hash alike. 0: there is nothing to hash.

    ``"assistant"`` with both quotation marks can't stand inside a JSON string, so what comes before the object that
    holds the first one is the same in every turn. A client that writes roles behind contents may lose affinity.
    """
    if not messages:
        return 0
    answer = messages.find(_ASSISTANT, 0, PREFIX_BYTES + _LOOK_BEHIND_BYTES)
    end = messages.rfind(b"}", 0, answer if answer >= 0 else len(messages)) + 1
    if end <= 0:  # plain text, or it begins with an answer
        end = len(messages)
    beginning = messages[: min(end, PREFIX_BYTES)]
    return _hash(system[:PREFIX_BYTES] + beginning if system else beginning)


def bare_prefix(prompt: bytes) -> int:
    """Hash of the beginning of a prompt without turns. 0: there is nothing to hash."""
    return _hash(prompt[:COMPLETION_PREFIX_BYTES]) if prompt else 0


def _hash(data: bytes) -> int:
    """The same in every process, since gateways have to agree on it; its 32 bits spread over 64. Never 0."""
    return ((crc32(data) or 1) * _SPREAD) & 0xFFFF_FFFF_FFFF_FFFF


def _without_data_urls(text: bytes) -> bytes:
    """Without the base64 of data URLs. Each string is looked through once: only its first mark can be a URL's."""
    kept: list[bytes] = []
    at = seen = 0
    while (mark := text.find(b";base64,", seen)) >= 0:
        start = mark + 8
        seen = end = text.find(b'"', start)
        if end < 0:
            break
        if end - start >= _PAYLOAD_BYTES_MIN and _URL_KEY.search(text, max(mark - _LOOK_BEHIND_BYTES, 0), mark):
            kept.append(text[at:start])
            at = end
    return b"".join([*kept, text[at:]]) if kept else text


def _without_data_fields(text: bytes) -> bytes:
    """Without the base64 of fields called data."""
    kept: list[bytes] = []
    at = 0
    for field in _DATA_FIELD.finditer(text):
        kept.append(text[at : field.start(1)])
        at = field.end(1)
    return b"".join([*kept, text[at:]]) if kept else text

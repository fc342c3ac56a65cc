"""An engine's own words for: it has as much to do as its bounds allow, and takes more as soon as something has ended.

vLLM says so since 0.32, where ``--max-num-queued-reqs`` or ``--max-num-queued-tokens`` is set: 503, of a type of its
own. It is load and no fault, so that the request spills or waits and the replica is not blamed. Text Generation
Inference and SGLang answer 429 and 503 with words of theirs.
"""

import re
from typing import Final

from overspill_gateway.core.dialects.inability import said_by

FULL_STATUSES: Final = frozenset({429, 503})
"""With which an engine may say so."""

_WORDS: Final = re.compile(
    r"\Athe engine is currently busy and cannot accept new requests|"  # vLLM: max-num-queued-reqs
    r"\Athe engine has reached its prefill token backlog limit|"  # vLLM: max-num-queued-tokens
    r"\Amodel is overloaded|"  # Text Generation Inference: max-concurrent-requests
    r"\Athe request queue is full",  # SGLang: max-queued-requests
    re.IGNORECASE,
)


def says_full(status: int, body: bytes) -> bool:
    """Whether a replica's refusal says that it has no room now."""
    return status in FULL_STATUSES and _WORDS.match(said_by(body)) is not None

"""How many tokens a prompt has before anybody has counted them: likely, for limits and work; at most, for money.

Likely comes from what backends of the route reported. At most is a bound: tokenizers of today's models make no more
than one token of a byte of UTF-8, and a JSON string is never shorter than the text it stands for. A text made to be
swollen by normalization may break it; the budget then counts what was reported, beyond what it held.
"""

from typing import Final

BYTES_PER_TOKEN: Final = 4.0
"""Of raw JSON of English text, until a route has learned better."""
_RATIO_MIN: Final = 0.5
_RATIO_MAX: Final = 16.0
_PROMPT_BYTES_MIN: Final = 256
"""In shorter prompts a chat template's own tokens outweigh the text's."""
_OBSERVED_TOKENS_MAX: Final = 4096.0
"""Weight of one long prompt, at most."""
_MEMORY: Final = 1 / 64
"""Weight of one observation among those before."""
_STEP: Final = 2.0
"""One observation counts as at most this far from what was learned."""

TEMPLATE_TOKENS_MAX: Final = 512
"""A chat template's own words: a default system prompt, instructions for tools. Roles and separators of messages are
covered by their JSON, which is longer."""
ATTACHMENT_TOKENS_MAX: Final = 50_000
"""One image in full detail at the hosted API that counts the most for it."""
ATTACHMENT_BYTES_PER_TOKEN: Final = 8
"""Of the base64 of documents and sound: compressed text of a document has about one token in these."""


class TokenRatio:
    """Bytes of raw JSON per prompt token of one route, learned from reported usage."""

    __slots__ = ("_tokens", "bytes_per_token")

    def __init__(self) -> None:
        self.bytes_per_token = BYTES_PER_TOKEN
        self._tokens = 0.0

    def observed(self, prompt_bytes: int, prompt_tokens: int) -> None:
        """A backend reported a prompt's tokens; not for prompts with attachments."""
        if prompt_bytes < _PROMPT_BYTES_MIN or prompt_tokens <= 0:
            return
        known = self.bytes_per_token
        ratio = min(max(prompt_bytes / prompt_tokens, known / _STEP), known * _STEP)
        weight = min(_OBSERVED_TOKENS_MAX, prompt_tokens)
        self._tokens += (weight - self._tokens) * _MEMORY
        share = _MEMORY * weight / max(self._tokens, weight * _MEMORY)
        known += (ratio - known) * min(share, 0.25)
        self.bytes_per_token = min(max(known, _RATIO_MIN), _RATIO_MAX)

    def tokens_of_bytes(self, length: int) -> int:
        """Likely tokens of an answer's text, where nobody counted: rather too many than too few, since they cost."""
        return -int(-length // min(self.bytes_per_token, BYTES_PER_TOKEN))


def prompt_tokens_max(prompt_bytes: int, attachments: int = 0, attachment_bytes: int = 0) -> int:
    """Tokens that a prompt can't exceed, from its length as JSON."""
    tokens = prompt_bytes + TEMPLATE_TOKENS_MAX
    if attachments:
        tokens += attachments * ATTACHMENT_TOKENS_MAX + attachment_bytes // ATTACHMENT_BYTES_PER_TOKEN
    return tokens

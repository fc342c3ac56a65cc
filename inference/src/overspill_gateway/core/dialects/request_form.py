"""How a hosted API takes what the gateway adds to a request: which field limits output, whether usage is asked for.

Set in ``hosted[].capabilities``, else known of the provider, else guessed; and where the guess was wrong, the refusal
says so: it names a field that the client never sent. Then the same request is told in another form.
"""

import re
from dataclasses import dataclass
from typing import Final

from overspill_gateway.core.dialects.inability import BODY_BYTES_MAX

MAX_TOKENS: Final = "max_tokens"
MAX_COMPLETION_TOKENS: Final = "max_completion_tokens"
STREAM_OPTIONS: Final = "stream_options"

_OTHER_LIMIT: Final = {MAX_TOKENS: MAX_COMPLETION_TOKENS, MAX_COMPLETION_TOKENS: MAX_TOKENS}
_UNKNOWN_FIELD: Final = re.compile(
    rb"unsupported|not supported|n't support|unknown|unrecogni[sz]ed|unexpected|extra|forbidden|not permitted|"
    rb"not allowed|additional propert|instead|deprecated|invalid (?:field|parameter|argument|name)|no such field"
)
"""What is said of a field that is not known, and not of one whose value is wrong."""


@dataclass(frozen=True, slots=True)
class RequestForm:
    """What one hosted API takes."""

    limit_field: str = MAX_TOKENS
    """The field of a chat that limits its output."""
    stream_options: bool = True
    """Whether a stream may be asked for usage."""


REPLICA_FORM: Final = RequestForm()
"""As vLLM takes it."""


def another_form(form: RequestForm, added: frozenset[str], status: int, body: bytes) -> RequestForm | None:
    """The form to ask again in after a refusal; None: it is not about a field that the gateway added.

    A limit is never left out: it may be what bounds the call's cost. It is told by its other name.
    """
    if status not in {400, 422} or len(body) > BODY_BYTES_MAX:
        return None
    text = body.lower()
    if STREAM_OPTIONS in added and (b"stream_options" in text or b"include_usage" in text):
        return RequestForm(form.limit_field, stream_options=False)
    if form.limit_field in added and form.limit_field.encode() in text and _UNKNOWN_FIELD.search(text):
        return RequestForm(_OTHER_LIMIT[form.limit_field], form.stream_options)
    return None

"""What is read of a long body besides what is read of any: all that short ones are looked through again for."""

from dataclasses import dataclass, field

from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.core.requests.bounds import Bounds


@dataclass(slots=True)
class LongFacts:
    """Of a body that is read once, in another process, and never again."""

    prefix: int = 0
    """Hash of the conversation's beginning."""
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Where the fields stand that may be edited."""
    first_field: int = 0
    """Where a new field is put: behind the brace."""
    bounds: Bounds | None = None
    """What it can cost, where a hosted API may be asked."""
    chat: list[bytes] = field(default_factory=list)
    """An Anthropic request in OpenAI's form, as ``messages_request.translated`` has it; empty: nobody needs it."""
    chat_refusal: ApiError | None = None
    """Why it can't be told in it."""

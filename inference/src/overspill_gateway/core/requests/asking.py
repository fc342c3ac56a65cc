"""What a request asks of a backend, from its body and its key. Not here: what follows from it."""

from typing import Final

from overspill_gateway.core.dialects.endpoints import CHAT_PATH, Dialect, Endpoint
from overspill_gateway.core.requests.access import Grant
from overspill_gateway.core.requests.ask import Ask
from overspill_gateway.core.requests.body import BodyFacts
from overspill_gateway.core.requests.estimate import BYTES_PER_TOKEN, prompt_tokens_max

OUTPUT_TOKENS_EXPECTED: Final = 256
"""Of an answer, until a route has learned better."""
ATTACHMENT_TOKENS: Final = 1000
"""Of an image of common size."""


def ask_of(
    facts: BodyFacts, endpoint: Endpoint, grant: Grant, *, bytes_per_token: float = BYTES_PER_TOKEN, prefix: bool = True
) -> Ask:
    """What the request asks; ``prefix``: whether its conversation matters, as it does where there is a choice."""
    expected = 0
    if endpoint.generates:
        limit = facts.max_tokens
        expected = OUTPUT_TOKENS_EXPECTED if limit is None or limit > OUTPUT_TOKENS_EXPECTED else limit
    prompt_tokens = int(facts.prompt_bytes / bytes_per_token) + facts.attachments * ATTACHMENT_TOKENS
    return Ask(
        prompt_tokens, expected * facts.answers, facts.max_tokens if endpoint.generates else 0, facts.answers,
        facts.prefix if prefix else 0, facts.needs, not endpoint.hosted, grant.priority, grant.consumer,
        prompt_tokens_max(facts.prompt_bytes, facts.attachments, facts.attachment_bytes),
        hosted_path=CHAT_PATH if endpoint.dialect is Dialect.MESSAGES else endpoint.path,
    )  # fmt: skip

"""What known providers' APIs take, by the host of their base URL: the default where a ModelRoute says nothing.

As of November 2026; each row names the page that says so. A provider that is not here is taken to be as OpenAI's older
API: ``max_tokens``, ``stream_options``, and every path. docs/reference/providers.md shows the table.
"""

from dataclasses import dataclass
from typing import Final

from overspill_gateway.core.dialects.request_form import MAX_COMPLETION_TOKENS, MAX_TOKENS, RequestForm


@dataclass(frozen=True, slots=True)
class ProviderTraits:
    """One provider."""

    host: str
    """Its host, or how its hosts end where it begins with a dot."""
    limit_field: str
    """The field of a chat that limits its output."""
    source: str
    """The page that says so."""


_AZURE: Final = "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/reasoning"

PROVIDERS: Final = (
    ProviderTraits(
        "api.openai.com", MAX_COMPLETION_TOKENS, "https://platform.openai.com/docs/api-reference/chat/create"
    ),
    ProviderTraits(".openai.azure.com", MAX_COMPLETION_TOKENS, _AZURE),
    ProviderTraits(".services.ai.azure.com", MAX_COMPLETION_TOKENS, _AZURE),
    ProviderTraits(".cognitiveservices.azure.com", MAX_COMPLETION_TOKENS, _AZURE),
    ProviderTraits("api.groq.com", MAX_COMPLETION_TOKENS, "https://github.com/groq/groq-python/pull/175"),
    ProviderTraits("api.mistral.ai", MAX_TOKENS, "https://github.com/editor-code-assistant/eca/issues/231"),
)


def form_of(host: str, limit_field: str | None, *, stream_options: bool | None) -> RequestForm:
    """The form in which a host is asked first: as it was set, as is known of the provider, or as guessed."""
    known = next((provider for provider in PROVIDERS if _is_of(host, provider)), None)
    guessed = known.limit_field if known is not None else MAX_TOKENS
    return RequestForm(limit_field or guessed, stream_options=stream_options is not False)


def _is_of(host: str, provider: ProviderTraits) -> bool:
    return host.endswith(provider.host) if provider.host.startswith(".") else host == provider.host

"""Paths: which are served, by whom, and which can never be reached."""

import pytest

from overspill_gateway.core.dialects.endpoints import Dialect, endpoint_of


@pytest.mark.parametrize(
    ("path", "dialect", "generates"),
    [
        (b"/v1/chat/completions", Dialect.CHAT, True),
        (b"/v1/completions", Dialect.COMPLETIONS, True),
        (b"/v1/embeddings", Dialect.EMBEDDINGS, False),
        (b"/v1/responses", Dialect.RESPONSES, True),
        (b"/v1/messages", Dialect.MESSAGES, True),
    ],
)
def test_hosted_apis_serve_what_openai_has_and_messages(path: bytes, dialect: Dialect, generates: bool) -> None:  # noqa: FBT001
    """These five, by POST."""
    endpoint = endpoint_of(path)

    assert endpoint is not None
    assert (endpoint.dialect, endpoint.generates, endpoint.hosted) == (dialect, generates, True)
    assert endpoint.allow == "POST, OPTIONS"


@pytest.mark.parametrize(
    "path",
    [
        b"/tokenize", b"/detokenize", b"/score", b"/v1/score", b"/rerank", b"/v1/rerank", b"/v2/rerank", b"/pooling",
        b"/classify", b"/v1/messages/count_tokens", b"/v1/audio/transcriptions", b"/v1/audio/translations",
        b"/v1/responses/resp_8068a580136b367c", b"/v1/responses/resp_8068a580136b367c/cancel", b"/tokenizer_info",
        b"/v1/chat/completions/render", b"/inference/v1/generate", b"/cohere/v2/chat", b"/something/new", b"/v2/embed",
    ],
)  # fmt: skip
def test_an_engines_own_paths_go_to_replicas_only(path: bytes) -> None:
    """Known extras and paths nobody here has heard of."""
    endpoint = endpoint_of(path)

    assert endpoint is not None
    assert (endpoint.dialect, endpoint.hosted) == (Dialect.OTHER, False)


@pytest.mark.parametrize(
    "path",
    [
        b"/metrics", b"/metrics/", b"/health", b"/ping", b"/load", b"/version", b"/docs", b"/redoc", b"/openapi.json",
        b"/docs/oauth2-redirect", b"/reset_prefix_cache", b"/reset_mm_cache", b"/sleep", b"/wake_up", b"/is_sleeping",
        b"/collective_rpc", b"/v1/load_lora_adapter", b"/v1/unload_lora_adapter", b"/pause", b"/resume", b"/is_paused",
        b"/scale_elastic_ep", b"/is_scaling_elastic_ep", b"/start_profile", b"/stop_profile", b"/server_info",
        b"/shutdown", b"/abort_requests", b"/init_weight_transfer_engine", b"/update_weights", b"/start_weight_update",
        b"/finish_weight_update", b"/get_world_size", b"/weight_info", b"/release_kv_cache_memory",
        b"/kv_event_sources", b"/fault_tolerance/apply", b"/static/swagger-ui.css", b"/METRICS", b"/Sleep",
    ],
)  # fmt: skip
def test_what_controls_an_engine_is_out_of_reach(path: bytes) -> None:
    """Metrics, health, caches, sleep, adapters, weights, profiles, documentation: 404 whatever the key."""
    assert endpoint_of(path) is None


@pytest.mark.parametrize(
    "path",
    [
        b"//metrics", b"/%6detrics", b"/v1/../metrics", b"/./metrics", b"/x//metrics", b"/v1/chat/completions/",
        b"/x;y", b"/x/..", b"/a/" + b"b" * 129, b"/a" * 9, b"/x\\y", b"/", b"*", b"", b"/caf\xe9", b"/x%2fmetrics",
    ],
)  # fmt: skip
def test_only_one_spelling_of_a_path_passes(path: bytes) -> None:
    """What a server might decode, fold or resolve to another path is not served, so no other spelling gets through."""
    assert endpoint_of(path) is None


def test_models_are_the_gateways_own() -> None:
    """The list of models is never an engine's answer."""
    assert endpoint_of(b"/v1/models") is None
    assert endpoint_of(b"/v1/models/tiny") is None


def test_anthropics_clients_are_known_by_their_paths() -> None:
    """They get errors in their shape, on token counting too."""
    paths = (b"/v1/messages", b"/v1/messages/count_tokens", b"/v1/chat/completions")

    assert [endpoint.anthropic for path in paths if (endpoint := endpoint_of(path))] == [True, True, False]

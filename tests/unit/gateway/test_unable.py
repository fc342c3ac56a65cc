"""Who can't serve a request is not asked to the end: somebody else who can is, else the client gets the last words."""

from __future__ import annotations

import json
from time import monotonic
from typing import Any

import pytest

from overspill_gateway.core.backends.ejection import Outlier
from overspill_gateway.core.backends.hosted_state import LACKS_SECONDS
from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.dialects.inability import Inability, inability_of
from overspill_gateway.core.dialects.provider_traits import PROVIDERS, form_of
from unit.gateway import fault_scripts as scripts
from unit.gateway.backends import Received, Script, Wire, answers, backend, plain_head
from unit.gateway.harness import GatewayUnderTest, eventually, soon

RETIRED = {
    "error": {"message": "The model has been deprecated", "type": "invalid_request_error", "code": "model_not_found"}
}
TOO_LONG = {
    "error": {
        "message": "This model's maximum context length is 2048 tokens. However, you requested 9000 tokens.",
        "type": "BadRequestError",
        "code": 400,
    }
}
PRICE: dict[str, Any] = {"input_nano_usd_per_million": 10**9, "output_nano_usd_per_million": 2 * 10**9}


def refuses(status: int, document: Any) -> Script:
    """Refuse with this document."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        body = json.dumps(document).encode()
        await wire.write(plain_head(status, len(body)) + body)

    return script


def refuses_field(field: str, status: int = 400) -> Script:
    """Refuse whoever sends a field, else answer."""

    async def script(received: Received, wire: Wire) -> None:
        if field in received.json:
            message = {
                "detail": [{"type": "extra_forbidden", "loc": ["body", field], "msg": "Extra inputs are not permitted"}]
            }
            await refuses(status, {"object": "error", "message": message})(received, wire)
        else:
            await scripts.good(received, wire)

    return script


# -- going on elsewhere ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "document"),
    [
        (404, RETIRED),
        (404, {"detail": "Not Found"}),
        (405, {}),
        (501, {}),
        (400, RETIRED),
        (403, RETIRED),
        (410, RETIRED),
    ],
)
async def test_the_next_hosted_api_answers(
    gateway: GatewayUnderTest, status: int, document: Any, *, stream: bool
) -> None:
    """And the one that can't is asked first only after a while; neither is it taken for broken."""
    async with backend(refuses(status, document)) as first, backend(scripts.good) as second:
        route = gateway.route(local=None, hosted=[first.hosted("first"), second.hosted("second")], retry_attempts=0)

        served = [(await gateway.post(stream=stream)).served_by for _ in range(4)]

        assert served == ["hosted/second"] * 4
        assert len(first.requests) == 1
        assert route.pool.hosted[0].outlier.ejections_total == 0
        assert route.backends["hosted/first"].failures == {"unable": 1}


async def test_another_path_of_it_is_asked_all_the_same(gateway: GatewayUnderTest) -> None:
    """What it lacks is remembered for each path by itself."""
    async with backend(refuses(404, {"detail": "Not Found"})) as first, backend(answers()) as second:
        gateway.route(local=None, hosted=[first.hosted("first"), second.hosted("second")])
        for path in ("/v1/completions", "/v1/completions", "/v1/chat/completions"):
            await gateway.post(path=path, prompt="x")

        assert len(first.requests) == 2


async def test_after_a_while_it_is_asked_again(gateway: GatewayUnderTest) -> None:
    """A model may come back; a look costs one request a moment."""
    async with backend(refuses(404, RETIRED)) as first, backend(answers()) as second:
        route = gateway.route(local=None, hosted=[first.hosted("first"), second.hosted("second")])
        await gateway.post()
        hosted = route.pool.hosted[0]
        (path, until), *_ = hosted.lacking.items()
        assert 0 < until - monotonic() <= LACKS_SECONDS

        hosted.lacking[path] = 0.0
        await gateway.post()

        assert len(first.requests) == 2


async def test_with_nobody_else_the_client_gets_its_own_words(gateway: GatewayUnderTest) -> None:
    """Each time: there is nobody else to ask."""
    async with backend(refuses(404, RETIRED)) as only:
        gateway.route(local=None, hosted=[only.hosted("only")])

        answers_ = [await gateway.post() for _ in range(2)]

    assert [(answer.status, answer.json) for answer in answers_] == [(404, RETIRED)] * 2


async def test_of_several_that_cant_it_gets_the_last_ones_words(gateway: GatewayUnderTest) -> None:
    """Both were asked."""
    async with backend(refuses(404, RETIRED)) as first, backend(refuses(501, {"error": {"message": "last"}})) as second:
        gateway.route(local=None, hosted=[first.hosted("first"), second.hosted("second")])

        answer = await gateway.post()

    assert (answer.status, answer.json) == (
        501,
        {"error": {"message": "last"}},
    )


async def test_it_waits_for_a_cold_replica(gateway: GatewayUnderTest) -> None:
    """The route's own engine may have it, and is woken."""
    async with backend(refuses(404, {"detail": "Not Found"})) as hosted, backend(answers()) as engine:
        overflow = {"on_cold_start": "Hosted", "hold_timeout_seconds": 5}
        route = gateway.route(hosted=[hosted.hosted()], overflow=overflow)
        client = await gateway.client()
        gateway.send(client)
        await eventually(lambda: len(route.pool.queue) == 1)
        assert route.pool.wants_replica

        gateway.endpoints(engine.fact())
        answer = await soon(client.answer())

        assert (answer.status, answer.served_by, answer.reason) == (200, "local/tiny-0", "HostedFailed")


async def test_where_no_replica_comes_it_is_told_both(gateway: GatewayUnderTest) -> None:
    """That none came, and what the hosted API said."""
    async with backend(refuses(404, RETIRED)) as hosted:
        gateway.route(hosted=[hosted.hosted()], overflow={"on_cold_start": "Hosted", "hold_timeout_seconds": 0.1})

        answer = await gateway.post()

    assert (answer.status, answer.error["code"]) == (503, "no_replica")
    assert "The model has been deprecated" in answer.error["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_context_too_long_for_a_replica_spills(gateway: GatewayUnderTest, *, stream: bool) -> None:
    """No other replica is asked, which runs the same; the hosted API takes it."""
    async with (
        backend(refuses(400, TOO_LONG)) as engine,
        backend(refuses(400, TOO_LONG)) as other,
        backend(scripts.good) as hosted,
    ):
        gateway.route(hosted=[hosted.hosted(context_tokens=128_000)])
        gateway.endpoints(engine.fact("a"), other.fact("b"))

        answer = await gateway.post(stream=stream)

        assert (answer.status, answer.served_by, answer.reason) == (200, "hosted/openai", "ReplicaFailed")
        assert len(engine.requests) + len(other.requests) == 1


async def test_a_context_too_long_for_all_is_told_in_the_replicas_words(gateway: GatewayUnderTest) -> None:
    """A hosted API whose model takes no more is not asked."""
    async with backend(refuses(400, TOO_LONG)) as engine, backend(answers()) as hosted:
        gateway.route(hosted=[hosted.hosted(context_tokens=16)])
        gateway.endpoints(engine.fact())

        answer = await gateway.post(messages=[{"role": "user", "content": "word " * 200}])

        assert (answer.status, answer.json) == (400, TOO_LONG)
        assert not hosted.requests


async def test_a_replicas_404_about_the_request_passes(gateway: GatewayUnderTest) -> None:
    """A stored response that is not there is nowhere else either."""
    said = {"error": {"message": "Response with id 'resp_1' not found.", "type": "NotFoundError", "code": 404}}
    async with backend(refuses(404, said)) as engine, backend(answers()) as hosted:
        gateway.route(hosted=[hosted.hosted()])
        gateway.endpoints(engine.fact())

        answer = await gateway.post(path="/v1/responses", input="x")

        assert (answer.status, answer.json) == (404, said)
        assert not hosted.requests


async def test_paths_that_an_api_is_said_to_have(gateway: GatewayUnderTest) -> None:
    """It gets requests for no other; where nobody has the path, that is what the client hears."""
    async with backend(answers()) as first, backend(answers()) as second:
        chat = first.hosted("first", paths=["/v1/chat/completions"])
        gateway.route(local=None, hosted=[chat, second.hosted("second")])
        gateway.route("alone", local=None, hosted=[chat])

        served = [
            (await gateway.post(path=path, input="x")).served_by for path in ("/v1/responses", "/v1/chat/completions")
        ]
        answer = await gateway.post("alone", path="/v1/responses", input="x")

    assert served == ["hosted/second", "hosted/first"]
    assert (answer.status, answer.error["code"]) == (404, "not_served_here")


# -- asking again in another form --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 422])
async def test_a_refused_stream_options_is_left_out(gateway: GatewayUnderTest, status: int) -> None:
    """The client never sent it: asked again at once, and never sent there any more."""
    async with backend(refuses_field("stream_options", status)) as hosted:
        gateway.route(local=None, hosted=[hosted.hosted()], retry_attempts=0)

        seen = [(await gateway.post(stream=True)).status for _ in range(3)]

        assert seen == [200, 200, 200]
        assert ["stream_options" in request.json for request in hosted.requests] == [True, False, False, False]


async def test_a_refused_stream_options_of_the_client_is_its_own(gateway: GatewayUnderTest) -> None:
    """What the client sent is not taken away."""
    async with backend(refuses_field("stream_options")) as hosted:
        gateway.route(local=None, hosted=[hosted.hosted()])

        answer = await gateway.post(stream=True, stream_options={"include_usage": True})

        assert answer.status == 400
        assert len(hosted.requests) == 1


async def test_an_anthropic_limit_is_told_by_its_other_name(gateway: GatewayUnderTest) -> None:
    """max_tokens is compulsory there; what the API takes is learned once, and the limit stays."""
    async with backend(refuses_field("max_tokens")) as hosted:
        gateway.route(local=None, hosted=[hosted.hosted()])

        seen = [(await gateway.post(path="/v1/messages", max_tokens=7)).status for _ in range(2)]

        assert seen == [200, 200]
        assert [request.json.get("max_completion_tokens") for request in hosted.requests] == [None, 7, 7]


async def test_a_budgets_limit_is_never_left_out(gateway: GatewayUnderTest) -> None:
    """It is told by its other name; where that is refused as well the client gets the refusal, for nothing."""

    async def script(received: Received, wire: Wire) -> None:
        field = next(name for name in ("max_tokens", "max_completion_tokens") if name in received.json)
        await refuses(400, {"error": {"message": f"Unsupported parameter: '{field}'"}})(received, wire)

    async with backend(script) as hosted:
        route = gateway.route(local=None, hosted=[hosted.hosted(**PRICE)], budget={"limit_nano_usd": 10**12})

        answer = await gateway.post()

        assert answer.status == 400
        assert [sorted(set(request.json) & {"max_tokens", "max_completion_tokens"}) for request in hosted.requests] == [
            ["max_tokens"], ["max_completion_tokens"],
        ]  # fmt: skip
        assert route.backends["hosted/openai"].cost_nano_usd == 0
        assert route.pool.hosted[0].form.limit_field == "max_tokens", "what was refused as well was not learned"


async def test_a_value_that_is_refused_is_the_requests(gateway: GatewayUnderTest) -> None:
    """Too large a limit is no unknown field: the same in another form would be refused too."""
    document = {
        "error": {"message": "max_tokens is too large: 9999. This model supports at most 4096 completion tokens."}
    }
    async with backend(refuses(400, document)) as hosted:
        gateway.route(local=None, hosted=[hosted.hosted()])

        answer = await gateway.post(path="/v1/messages", max_tokens=9999)

        assert answer.status == 400
        assert len(hosted.requests) == 1


async def test_what_an_api_takes_can_be_set(gateway: GatewayUnderTest) -> None:
    """Then nothing is guessed."""
    async with backend(scripts.good) as hosted:
        entry = hosted.hosted(max_tokens_field="max_completion_tokens", stream_options=False)
        gateway.route(local=None, hosted=[entry])

        await gateway.post(path="/v1/messages", stream=True, max_tokens=7)
        await gateway.post(stream=True)

        assert all("stream_options" not in request.json for request in hosted.requests)
        assert hosted.requests[0].json["max_completion_tokens"] == 7


# -- the words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"code": "model_decommissioned", "message": "The model `x` has been decommissioned"}, Inability.MODEL),
        (400, {"type": "invalid_model", "message": "Invalid model: x"}, Inability.MODEL),
        (400, {"message": "x is not a valid model ID", "code": 400}, Inability.MODEL),
        (404, {"message": "No endpoints found for x.", "code": 404}, Inability.MODEL),
        (404, {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}, Inability.MODEL),
        (404, {"message": "models/x is not found for API version v1main"}, Inability.PATH),
        (404, {"type": "not_found_error", "message": "model: x"}, Inability.MODEL),
        (403, {"code": "model_not_found", "message": "Project does not have access to model `x`"}, Inability.MODEL),
        (403, {"code": "forbidden", "message": "Your key is not allowed here"}, None),
        (404, {"message": "The model `x` does not exist.", "type": "NotFoundError"}, Inability.MODEL),
        (404, {"message": "Previous response with id 'resp_1' not found."}, Inability.NOT_FOUND),
        (400, {"code": "context_length_exceeded", "message": "x"}, Inability.CONTEXT),
        (400, {"message": "The decoder prompt (length 9) is longer than the maximum model length"}, Inability.CONTEXT),
        (400, {"message": "prompt is too long: 210000 tokens > 200000 maximum"}, Inability.CONTEXT),
        (400, {"message": "input length and `max_tokens` exceed context limit: 1 + 2 > 2"}, Inability.CONTEXT),
        (400, {"message": "This endpoint's maximum context length is 8192 tokens."}, Inability.CONTEXT),
        (422, {"message": "`inputs` tokens + `max_new_tokens` must be <= 2048. Given: 9000 `inputs` tokens and 20 "
               "`max_new_tokens`"}, Inability.CONTEXT),
        (422, {"message": "`inputs` must have less than 1024 tokens. Given: 9000"}, Inability.CONTEXT),
        (422, {"message": "`max_new_tokens` must be <= 512. Given: 900"}, None),
        (400, {"message": "'messages' must contain the word 'json'"}, None),
        (400, {"message": "Invalid value for 'temperature'"}, None),
        (400, {"message": "This model does not support image input"}, None),
        (409, {"message": "The model `x` does not exist."}, None),
    ],
)  # fmt: skip
def test_what_refusals_say(status: int, error: dict[str, Any], expected: Inability | None) -> None:
    """In the words of the APIs in use."""
    assert inability_of(status, json.dumps({"error": error}).encode(), local=False) is expected


def test_it_is_no_fault_of_the_backend() -> None:
    """However often: it is not left out for what it can do. Nor is it for errors in a 200 that are the request's."""
    outlier = Outlier()
    for number in range(50):
        outlier.failed(float(number), FailureKind.UNABLE, None, status=404)
        outlier.failed(float(number), FailureKind.ERROR_IN_ANSWER, None, status=400)

    assert not outlier.ejected(50.0)
    assert outlier.weight(50.0) == 1.0


def test_what_is_known_of_providers() -> None:
    """By host, or by how it ends; what was set counts more; each row has its source."""
    assert form_of("res.services.ai.azure.com", None, stream_options=None).limit_field == "max_completion_tokens"
    assert form_of("api.mistral.ai", None, stream_options=None).limit_field == "max_tokens"
    assert form_of("corp.azure-api.net", None, stream_options=None).limit_field == "max_tokens"
    assert form_of("api.openai.com", "max_tokens", stream_options=None).limit_field == "max_tokens"
    assert form_of("notapi.openai.com", None, stream_options=None).limit_field == "max_tokens"
    assert form_of("x", None, stream_options=False).stream_options is False
    assert all(provider.source.startswith("https://") for provider in PROVIDERS)

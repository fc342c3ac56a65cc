"""Errors with a message a person can act on, in OpenAI's shape, and in Anthropic's where its clients call.

Not here: when each is used.
"""

import math
from dataclasses import dataclass
from typing import Final

import msgspec


@dataclass(frozen=True, slots=True)
class ApiError:
    """An answer that says what was wrong and what would mend it."""

    status: int
    """HTTP status."""
    type: str
    """OpenAI's class of error, such as invalid_request_error."""
    code: str
    """One word that programs can switch on."""
    message: str
    """For people: what was wrong, where, what mends it."""
    param: str | None = None
    """The field of the request that was wrong."""
    retry_after_seconds: int | None = None
    """Sent as Retry-After where set."""
    allow: str | None = None
    """Sent as Allow where set: the methods that this path takes."""
    close: bool = False
    """Whether the connection can't be used any further."""
    should_retry: bool | None = None
    """Sent as x-should-retry where set, which the SDKs obey whatever the status."""


_SHOWN_MAX: Final = 200
"""As much is said of what a client has sent."""
_ANTHROPIC_PATH: Final = b"/v1/messages"
_ANTHROPIC_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_body(error: ApiError) -> bytes:
    """The JSON document ``{"error": {message, type, param, code}}``."""
    return msgspec.json.encode(
        {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}
    )


def messages_error_type(status: int) -> str:
    """Anthropic's class of error for a status."""
    return _ANTHROPIC_TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")


def messages_error_body(error: ApiError, request_id: str = "") -> bytes:
    """The JSON document ``{"type": "error", "error": {type, message}, "request_id"}``."""
    fields = {"type": messages_error_type(error.status), "message": error.message}
    return msgspec.json.encode({"type": "error", "error": fields, "request_id": request_id or None})


def refusal_body(error: ApiError, path: bytes, lines: bytes) -> bytes:
    """The error in the words of the clients of a path. ``lines``: the answer's header, which has the request id."""
    if not path.startswith(_ANTHROPIC_PATH):
        return error_body(error)
    return messages_error_body(error, lines.partition(b"x-request-id: ")[2].partition(b"\r\n")[0].decode("latin-1"))


def refusal_lines(error: ApiError) -> bytes:
    """Header lines that belong to the error."""
    lines = b"content-type: application/json\r\n"
    if error.retry_after_seconds is not None:
        lines += b"retry-after: %d\r\n" % error.retry_after_seconds
    if error.allow is not None:
        lines += b"allow: %b\r\n" % error.allow.encode()
    if error.should_retry is not None:
        lines += b"x-should-retry: true\r\n" if error.should_retry else b"x-should-retry: false\r\n"
    return lines


def error_event(error: ApiError) -> bytes:
    """The error as one server-sent event, for a stream that has begun; no ``[DONE]`` follows it."""
    return b"data: " + error_body(error) + b"\n\n"


INVALID_KEY: Final = ApiError(
    401,
    "invalid_request_error",
    "invalid_api_key",
    "No valid API key was sent. Send 'Authorization: Bearer osk-...' with a key of a Consumer that is not suspended; "
    "an administrator makes one with 'overspill keys create NAME'.",
)
"""One answer for every cause: missing, malformed, unknown, wrong and withdrawn keys look the same from outside."""


CONFLICTING_KEYS: Final = ApiError(
    401,
    "invalid_request_error",
    "conflicting_api_keys",
    "Authorization, x-api-key and api-key of this request hold different keys. Send one, or the same key in each.",
)


def foreign_host(host: str) -> ApiError:
    """A request for another host than this machine, to a gateway that asks for no key."""
    return ApiError(
        403,
        "invalid_request_error",
        "foreign_host",
        f"The host {host[:_SHOWN_MAX]!r} is not this machine, and this gateway asks for no key. Call it by localhost "
        "or 127.0.0.1, or run it with API keys instead of --no-auth.",
    )


def foreign_origin(origin: str) -> ApiError:
    """A request of a web page that was not let in, to a gateway that asks for no key."""
    return ApiError(
        403,
        "invalid_request_error",
        "foreign_origin",
        f"Pages of {origin[:_SHOWN_MAX]!r} may not call this gateway, which asks for no key. Let them in with "
        "--cors-origins, or run it with API keys instead of --no-auth.",
    )


def malformed(message: str, *, status: int = 400, code: str = "malformed_request") -> ApiError:
    """A request that breaks HTTP's rules; the connection ends with it, since where it ended is not sure."""
    return ApiError(status, "invalid_request_error", code, message, close=True)


def invalid_body(message: str, *, param: str | None = None, status: int = 400, code: str = "invalid_body") -> ApiError:
    """A body from which no model can be read."""
    return ApiError(status, "invalid_request_error", code, message, param)


def model_not_found(model: str, callable_models: list[str]) -> ApiError:
    """No such model for this consumer: the same answer for one that does not exist and one it may not call."""
    shown = callable_models[:20]
    names = ", ".join(shown) + (f" and {len(callable_models) - 20} more" if len(callable_models) > 20 else "")
    hint = f"This key may call: {names}." if shown else "This key may call no model; see spec.routes of its Consumer."
    return ApiError(
        404,
        "invalid_request_error",
        "model_not_found",
        f"The model {model[:200]!r} does not exist or this key may not call it. {hint}",
        "model",
    )


def unknown_path(path: str, known: list[str]) -> ApiError:
    """A path that the gateway does not serve."""
    return ApiError(
        404,
        "invalid_request_error",
        "unknown_url",
        f"There is nothing at {path[:200]}. This gateway serves {', '.join(known)}.",
    )


def method_not_allowed(method: str, path: str, allow: str) -> ApiError:
    """A path that is served, by another method."""
    return ApiError(
        405,
        "invalid_request_error",
        "method_not_allowed",
        f"{path[:200]} takes {allow}, not {method}.",
        allow=allow,
    )


def model_not_named(path: str, models: list[str]) -> ApiError:
    """A request whose body can't name a model, from a key that may call several."""
    shown = ", ".join(models[:20])
    return ApiError(
        400,
        "invalid_request_error",
        "missing_model",
        f"Nothing says which model {path[:200]} is for. Add ?model=NAME to it, or send x-overspill-model; this key may "
        f"call: {shown or 'none'}.",
        "model",
    )


def local_only(path: str, model: str) -> ApiError:
    """An endpoint that only engines of our own have, for a model that has none."""
    return ApiError(
        404,
        "invalid_request_error",
        "not_served_here",
        f"{path[:200]} is answered by vLLM replicas only, and {model[:200]} is served by hosted APIs. Call a model "
        "with replicas of its own, or one of the paths that hosted APIs have.",
        "model",
    )


def path_not_hosted(path: str, model: str) -> ApiError:
    """No replica can answer, and each hosted API is said to lack the path."""
    return ApiError(
        404,
        "invalid_request_error",
        "not_served_here",
        f"None of the hosted APIs of {model[:200]} has {path[:200]}: capabilities.paths of its ModelRoute lists "
        "others. Call one of those, or have it added there.",
        "model",
    )


def rate_limited(limited: str, limit: int, retry_after_seconds: int) -> ApiError:
    """A consumer has used up what it may send; ``limited``: requests or tokens."""
    return ApiError(
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
        f"This key's limit of {limit} {limited} a minute is used up. Try again in {retry_after_seconds} s, or have the "
        "limit of its Consumer or of the ModelRoute raised.",
        retry_after_seconds=retry_after_seconds,
    )


def larger_than_limit(tokens: int, limit: int, where: str = "") -> ApiError:
    """A request that no waiting lets through: it alone is more than a minute's tokens; ``where``: at which model."""
    at = f" for {where}" if where else ""
    return ApiError(
        400,
        "invalid_request_error",
        "request_exceeds_rate_limit",
        f"This request may take {tokens} tokens, prompt and longest answer together, and this key's limit{at} is "
        f"{limit} a minute. Send a shorter prompt or a lower max_tokens.",
        should_retry=False,
    )


def budget_exhausted(model: str, period: str, retry_after_seconds: int | None = None) -> ApiError:
    """The route's money is spent and its rules say to refuse."""
    return ApiError(
        429,
        "insufficient_quota",
        "budget_exhausted",
        f"The budget of {model} for this {period.lower()} is spent. It begins anew with the next {period.lower()}; "
        "until then an administrator can raise spec.budget.limit of its ModelRoute.",
        retry_after_seconds=retry_after_seconds,
        should_retry=False,
    )


def cost_unbounded(model: str, unpriced: str, unbounded: str) -> ApiError:
    """A request of which nobody can say what it costs at most, at a route whose hosted APIs have a budget."""
    if unpriced:
        why = f"{unpriced} may cost more than the tokens that a budget can hold money for. Leave it out"
    else:
        why = (
            f"{unbounded} makes the prompt as long as the model takes, and how long that is is not known. Send the "
            "content itself, or have an administrator set hosted[].capabilities.contextTokens of its ModelRoute"
        )
    return ApiError(
        400,
        "invalid_request_error",
        "cost_unbounded",
        f"No replica of {model} serves this now, and its hosted APIs are under a budget: {why}, or call a model whose "
        "ModelRoute has no spec.budget.",
    )


def hosted_limits(model: str, retry_after_seconds: int) -> ApiError:
    """No replica is there and the hosted APIs' own limits are used up."""
    return ApiError(
        429,
        "rate_limit_error",
        "hosted_limits",
        f"No replica of {model} can answer, and the limits of its hosted APIs are used up for now. Try again in "
        f"{retry_after_seconds} s.",
        retry_after_seconds=retry_after_seconds,
    )


def larger_than_hosted_limits(model: str, tokens: int) -> ApiError:
    """A request whose prompt alone is more than what any hosted API takes in a minute."""
    return ApiError(
        400,
        "invalid_request_error",
        "request_exceeds_rate_limit",
        f"No replica of {model} can answer, and this prompt of about {tokens} tokens is more than its hosted APIs take "
        "in a minute (hosted[].limits.tokensPerMinute of its ModelRoute). Send a shorter prompt.",
    )


def invalid_structured_output(model: str, why: str) -> ApiError:
    """Answers that don't keep to the request's JSON schema, from every backend that was asked."""
    return ApiError(
        502,
        "server_error",
        "invalid_structured_output",
        f"{model} did not answer in the JSON schema of response_format, not on a second try either ({why[:300]}). A "
        "simpler schema may help; a ModelRoute with validate: false passes such answers on.",
        "response_format",
        should_retry=False,
    )


def no_second_output(model: str) -> ApiError:
    """An answer that doesn't keep to the request's JSON schema, while no further attempts are allowed."""
    return ApiError(
        502,
        "server_error",
        "invalid_structured_output",
        f"{model} did not answer in the JSON schema of response_format, and was not asked again: the gateway's further "
        "attempts are used up for now, since too many requests fail. Send it again in a moment.",
        "response_format",
        retry_after_seconds=1,
    )


def unchecked_structured_output(model: str, why: str) -> ApiError:
    """Nobody knows whether an answer keeps to the request's JSON schema."""
    return ApiError(
        400,
        "invalid_request_error",
        "structured_output_not_checked",
        f"The answer of {model} could not be checked against the JSON schema of response_format: {why}. A simpler "
        "schema helps: references and alternatives inside each other multiply. A ModelRoute with validate: false "
        "passes answers on unchecked.",
        "response_format",
        should_retry=False,
    )


def queue_full(model: str, held: int, retry_after_seconds: int) -> ApiError:
    """The waiting queue is full and no hosted API may take the request."""
    return ApiError(
        429,
        "rate_limit_error",
        "hold_queue_full",
        f"{held} requests are waiting for a replica of {model} already. Try again in {retry_after_seconds} s, or raise "
        "overflow.hold.maxRequests of its ModelRoute.",
        retry_after_seconds=retry_after_seconds,
    )


def hold_timed_out(model: str, seconds: float, state: str) -> ApiError:
    """No replica came in time and no hosted API may take the request."""
    return ApiError(
        503,
        "server_error",
        "no_replica",
        f"No replica of {model} could answer within {seconds:g} s: {state}. "
        "'kubectl describe modelroute' shows why, on one machine 'overspill serve --status'; the request was not "
        "processed.",
        retry_after_seconds=10,
    )


def not_available(model: str, state: str) -> ApiError:
    """Nobody may serve this model now, and waiting would not help."""
    return ApiError(
        503, "server_error", "not_available", f"Nobody can serve {model} now: {state}.", retry_after_seconds=60
    )


def backends_failed(model: str, failures: list[str], *, timeout: bool) -> ApiError:
    """Every attempt failed before the first token."""
    reasons = "; ".join(failures)
    return ApiError(
        504 if timeout else 502,
        "server_error",
        "backend_timeout" if timeout else "backend_failed",
        f"No backend of {model} answered: {reasons}. The request can be sent again.",
    )


def backends_limited(model: str, failures: list[str], retry_after_seconds: float | None) -> ApiError:
    """The last one said inside a 200 that it was asked too often."""
    reasons = "; ".join(failures)
    return ApiError(
        429,
        "rate_limit_error",
        "backend_limited",
        f"No backend of {model} answered: {reasons}. Send the request again later.",
        retry_after_seconds=max(math.ceil(retry_after_seconds), 1) if retry_after_seconds is not None else None,
    )


def credentials_refused(model: str, names: list[str]) -> ApiError:
    """Backends refused the gateway's own credentials: nothing that the client could mend."""
    if all(name.startswith("local/") for name in names):
        mend = "take --api-key out of the engine's arguments: the gateway checks keys"
    else:
        mend = "renew the Secret that spec.hosted[].credentials of the ModelRoute names"
    return ApiError(
        502,
        "server_error",
        "upstream_credentials_refused",
        f"The backend of {model} refused this gateway's own credentials ({', '.join(names)}). Your key is fine; an "
        f"administrator has to {mend}.",
    )


def stream_broken(served_by: str, cause: str) -> ApiError:
    """The backend went away in the middle of a stream."""
    return ApiError(
        502,
        "server_error",
        "stream_interrupted",
        f"{served_by} broke off in the middle of the answer ({cause}). What came is incomplete; send it again.",
    )


def total_timeout(model: str, seconds: float) -> ApiError:
    """The request took longer than its route allows."""
    return ApiError(
        504,
        "server_error",
        "total_timeout",
        f"The answer of {model} took longer than timeouts.total of its ModelRoute ({seconds:g} s).",
    )


SHUTTING_DOWN: Final = ApiError(
    503,
    "server_error",
    "shutting_down",
    "This gateway is going away and could not finish in time. Send the request again: another one answers.",
    retry_after_seconds=1,
    close=True,
)
BODY_TOO_DEAR: Final = ApiError(
    413,
    "invalid_request_error",
    "body_too_dear",
    "Reading this body takes more time or memory than one request may take: it is too long, or has too many parts. "
    "Send less in one request.",
)
BODIES_CROWDED: Final = ApiError(
    503,
    "server_error",
    "too_many_bodies",
    "More long bodies wait to be read than the gateway has time for. Send the request again in some seconds, or with a "
    "body of less than 64 KiB.",
    retry_after_seconds=2,
)

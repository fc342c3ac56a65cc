"""Errors in OpenAI's shape, with a message a person can act on. Not here: when each is used."""

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


def error_body(error: ApiError) -> bytes:
    """The JSON document ``{"error": {message, type, param, code}}``."""
    return msgspec.json.encode(
        {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}
    )


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
        "'kubectl describe modelroute' shows why; the request was not processed.",
        retry_after_seconds=10,
    )


def not_available(model: str, state: str) -> ApiError:
    """Nobody may serve this model now, and waiting would not help."""
    return ApiError(
        503, "server_error", "not_available", f"Nobody can serve {model} now: {state}.", retry_after_seconds=60
    )


def backends_failed(model: str, failures: list[str], *, timeout: bool) -> ApiError:
    """Every attempt failed before the first token."""
    told = "; ".join(failures)
    return ApiError(
        504 if timeout else 502,
        "server_error",
        "backend_timeout" if timeout else "backend_failed",
        f"No backend of {model} answered: {told}. The request can be sent again.",
    )


def credentials_refused(model: str, names: list[str]) -> ApiError:
    """Hosted APIs refused the gateway's own credentials: nothing that the client could mend."""
    return ApiError(
        502,
        "server_error",
        "upstream_credentials_refused",
        f"The hosted API of {model} refused this gateway's own credentials ({', '.join(names)}). Your key is fine; an "
        "administrator has to renew the Secret that spec.hosted[].credentials of the ModelRoute names.",
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

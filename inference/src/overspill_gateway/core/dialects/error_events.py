"""Errors inside a stream that has begun, in the words of each dialect. Not here: when an answer is broken off.

Nothing that a client could take for a proper end follows them: no ``[DONE]``, no ``message_stop``.
"""

import msgspec

from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.http.errors import ApiError, error_event, messages_error_body


def stream_error(error: ApiError, dialect: Dialect, *, request_id: str = "", sequence: int = 0) -> bytes:
    """The error as one event. ``sequence``: the number that the Responses dialect gives each event."""
    if dialect is Dialect.MESSAGES:
        return b"event: error\ndata: " + messages_error_body(error, request_id) + b"\n\n"
    if dialect is Dialect.RESPONSES:
        return b"event: error\ndata: " + _responses_error(error, sequence) + b"\n\n"
    return error_event(error)


def _responses_error(error: ApiError, sequence: int) -> bytes:
    """As the API reference has it, and with the ``error`` object that makes the openai SDKs raise."""
    fields = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    flat = {"type": "error", "sequence_number": sequence, "code": error.code, "message": error.message}
    return msgspec.json.encode({**flat, "param": error.param, "error": fields})

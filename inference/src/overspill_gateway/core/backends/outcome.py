"""What an attempt's result means: an answer for the client, or a failure that another backend may mend.

The three-way split: a bad request passes through (another backend would refuse it as well), a bad credential of
ours goes to the next backend, and overload or a fault goes elsewhere.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class FailureKind(StrEnum):
    """How an attempt failed before its first token; the value is used in messages and metrics."""

    CONNECT = "connect"
    """No connection: refused, unreachable, timed out, TLS refused."""
    RESET = "reset"
    """The connection ended before the answer's first byte."""
    TIMEOUT = "timeout"
    """No first token in time."""
    PROTOCOL = "protocol"
    """The answer was not HTTP."""
    STATUS = "status"
    """A status that says overload or fault."""
    REDIRECT = "redirect"
    """It sends elsewhere: never followed, nor passed on, since the key and the prompt would go with it."""
    UNABLE = "unable"
    """The backend can't serve it: it lacks the path or the model, or the prompt is too long for it."""
    FULL = "full"
    """A replica has as much to do as its own bounds allow: no fault, and over as soon as something there ends."""
    CREDENTIALS = "credentials"
    """The backend refused the gateway's own credentials."""
    ERROR_IN_ANSWER = "error_in_answer"
    """A 200 whose body says that it failed, that can't be read, or that has no proper end."""
    INVALID_OUTPUT = "invalid_output"
    """A structured answer that does not hold to its schema."""


class ConnectFault(StrEnum):
    """Why there is no connection; the value is the reason of a backend's problem."""

    NAME = "NameNotResolved"
    UNREACHABLE = "Unreachable"
    """Refused, no way there, or silence."""
    CERTIFICATE = "CertificateRefused"
    """Not signed by anybody known, not for this name, or out of date."""
    TLS = "TLSFailed"
    """It does not speak TLS, or none that this side does."""
    PROXY = "ProxyRefused"
    """The proxy on the way is not there, or does not lead further."""


BACKEND_GONE: Final = frozenset({FailureKind.CONNECT, FailureKind.RESET, FailureKind.TIMEOUT, FailureKind.PROTOCOL})
"""Failures that say that a replica may be gone or hang: it leaves rotation until its health check answers, which a
replica that is only slow does within milliseconds."""


REPEATABLE: Final = frozenset(
    {FailureKind.CONNECT, FailureKind.RESET, FailureKind.PROTOCOL, FailureKind.STATUS, FailureKind.ERROR_IN_ANSWER}
)
"""Failures that pass: where nobody else is left, the same backend is asked again after a pause."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt."""

    kind: FailureKind
    """How it failed."""
    backend: str
    """``local/<pod>`` or ``hosted/<name>``."""
    detail: str
    """For the message: the status or the error's text."""
    retry_after_seconds: float | None = None
    """The pause that the backend asked for."""
    status: int = 0
    """The HTTP status that it was, or would have been; 0: none."""

    def __str__(self) -> str:
        return f"{self.backend}: {self.detail}"


_CREDENTIAL_STATUSES: Final = frozenset({401, 402, 403, 407})
_PASSING_5XX: Final = frozenset({501, 505})


def failure_kind_of_status(status: int) -> FailureKind | None:
    """What a status says about the backend; None: it is an answer for the client."""
    if status < 400:
        return FailureKind.REDIRECT if status >= 300 else None
    if status in _CREDENTIAL_STATUSES:
        return FailureKind.CREDENTIALS
    if status in {408, 429} or (status >= 500 and status not in _PASSING_5XX):
        return FailureKind.STATUS
    return None

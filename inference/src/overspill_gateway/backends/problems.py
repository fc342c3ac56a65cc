"""How one backend of a route has fared lately, for people: what is wrong with it now, told to the operator and the log.

Not here: who is asked meanwhile (``core.backends.ejection``). Success costs one comparison.
"""

import logging
from collections.abc import Callable
from typing import Final

from overspill_api.demand import BackendProblem
from overspill_gateway.clock import Clock
from overspill_gateway.core.backends import backend_problem
from overspill_gateway.core.backends.backend_problem import (
    SECRET_CHARS_MIN,
    cleaned,
    reason_of,
    reason_of_refusal,
    without_secrets,
    words_of,
)
from overspill_gateway.core.backends.outcome import ConnectFault, FailureKind, failure_kind_of_status
from overspill_gateway.core.http.answer_head import AnswerHead

logger = logging.getLogger(__name__)

LOGGED_AFTER: Final = 3
"""Failures in a row before the log says that a backend fails: one alone may pass."""
LOGGED_AT_ONCE: Final = frozenset(
    {
        backend_problem.CREDENTIALS, backend_problem.PAYMENT, backend_problem.MODEL, backend_problem.PATH,
        ConnectFault.NAME.value, ConnectFault.CERTIFICATE.value, ConnectFault.PROXY.value,
    }
)  # fmt: skip
"""What does not pass by itself."""
LOG_SECONDS: Final = 60.0
"""A backend is said to fail once in this time, however often it comes and goes."""


class BackendProblems:
    """Failures in a row of one backend, and what it said."""

    __slots__ = (
        "_clock",
        "_failures",
        "_failures_total",
        "_is_logged",
        "_logged_at",
        "_message",
        "_name",
        "_on_change",
        "_reason",
        "_route",
        "_secret_bytes",
        "_secrets",
        "_since_unix",
        "fails",
    )  # fmt: skip

    def __init__(
        self, route: str, name: str, secrets: tuple[str, ...], on_change: Callable[[], None], clock: Clock
    ) -> None:
        """``name``: ``local`` or ``hosted/<name>``. ``secrets``: never told, whoever says them."""
        self.fails = False
        """Whether the last answer was a failure."""
        self._route = route
        self._name = name
        self._secrets = secrets
        self._secret_bytes = tuple(secret.encode() for secret in secrets if len(secret) >= SECRET_CHARS_MIN)
        self._on_change = on_change
        self._clock = clock
        self._reason = self._message = ""
        self._failures = self._failures_total = 0
        self._since_unix = 0.0
        self._is_logged = False
        self._logged_at = float("-inf")

    def hide(self, secrets: tuple[str, ...]) -> None:
        """These are never told from now on."""
        self._secrets = secrets

    @property
    def problem(self) -> BackendProblem | None:
        """Why it fails now; None: it does not."""
        if not self.fails:
            return None
        return BackendProblem(
            reason=self._reason, message=self._message, since_unix_seconds=self._since_unix, failures=self._failures
        )

    def hides(self, text: bytes) -> bool:
        """Whether a text has a secret of ours in it, whole."""
        for secret in self._secret_bytes:  # a generator would cost more than the look  # noqa: SIM110
            if len(secret) <= len(text) and secret in text:
                return True
        return False

    def head_without_secrets(self, head: AnswerHead) -> AnswerHead:
        """A backend's head without fields that say secrets of ours, as one that echoes what it was sent does."""
        if head.seen_by is self:
            return head
        for header in head.headers:
            if self.hides(header[1]):
                return AnswerHead([header for header in head.headers if not self.hides(header[1])])
        head.seen_by = self
        return head

    def hidden(self, text: str) -> str:
        """A backend's words without secrets of ours, for a client."""
        return without_secrets(text, self._secrets) if self._secrets else text

    def failed(self, kind: FailureKind, detail: str, *, status: int = 0, fault: ConnectFault | None = None) -> None:
        """An attempt failed. What the backend said of it may follow, see ``said``."""
        if kind is FailureKind.INVALID_OUTPUT:
            return  # the model's fault, not the backend's
        self._count(reason_of(kind, status, fault), cleaned(detail, self._secrets))

    def refused(self, status: int, body: bytes) -> None:
        """It refused a request and its answer went to the client: a problem only where it is not about the request."""
        reason = reason_of_refusal(status, body)
        if reason is not None:
            self._count(reason, words_of(status, body, self._secrets))

    def said(self, status: int, body: bytes) -> None:
        """The words that belong to the last failure, once they have come."""
        reason = reason_of_refusal(status, body)
        if self.fails and reason is not None:
            self._reason, self._message = reason, words_of(status, body, self._secrets)
            self._on_change()
            self._log_if_due()

    def refused_unseen(self, status: int, body: bytes) -> None:
        """A refusal that no client got: the words of the last failure, or one that is about the backend."""
        if failure_kind_of_status(status) is not None and self.fails:  # it has been counted by its status
            self.said(status, body)
        else:
            self.refused(status, body)

    def answered(self) -> None:
        """It gave an answer."""
        if self.fails:
            self._recover()

    def _count(self, reason: str, message: str) -> None:
        if not self.fails:
            self.fails = True
            self._failures = 0
            self._since_unix = self._clock.unix()
        self._failures += 1
        self._failures_total += 1
        self._reason, self._message = reason, message
        self._on_change()
        self._log_if_due()

    def _log_if_due(self) -> None:
        if self._is_logged or (self._failures < LOGGED_AFTER and self._reason not in LOGGED_AT_ONCE):
            return
        now = self._clock.monotonic()
        if now - self._logged_at < LOG_SECONDS:
            return
        self._is_logged, self._logged_at = True, now
        logger.info(
            "a backend fails",
            extra={
                "route": self._route, "backend": self._name, "reason": self._reason, "said": self._message,
                "failures": self._failures, "failures_total": self._failures_total,
            },
        )  # fmt: skip

    def _recover(self) -> None:
        self.fails = False
        self._on_change()
        if self._is_logged:
            self._is_logged = False
            seconds = round(max(self._clock.unix() - self._since_unix, 0.0), 1)
            logger.info(
                "a backend answers again",
                extra={
                    "route": self._route, "backend": self._name, "reason": self._reason,
                    "failures": self._failures, "seconds": seconds,
                },
            )  # fmt: skip

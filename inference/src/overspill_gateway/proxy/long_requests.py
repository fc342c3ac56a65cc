"""Requests with long bodies: read in another process, while their clients wait and everybody else is served.

Not here: what is read (``core.requests.long_body``), and who reads when (``worker_pool``).
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from overspill_gateway.core.answers.continuation import Partial
from overspill_gateway.core.http import errors
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.core.http.head import Head
from overspill_gateway.core.requests.body import BodyFacts
from overspill_gateway.core.requests.long_body import facts_told, question_of_going_on
from overspill_gateway.core.text.rope import divided
from overspill_gateway.workers.worker_pool import Unanswered, WorkAnswer, WorkerPool, WorkItem

if TYPE_CHECKING:
    from overspill_gateway.proxy.request_context import RequestContext
    from overspill_gateway.wire.server import ServerConnection

logger = logging.getLogger(__name__)

READ_SECONDS_MAX: Final = 10.0
"""For one body; one of 64 MiB takes a second or two, whatever is in it."""
WAIT_SECONDS_MAX: Final = 20.0
"""Before a process takes it."""

OnRead = Callable[[list[bytes], BodyFacts], None]
"""Told the body, which may have been edited, and what was read of it."""
OnRefused = Callable[[ApiError], None]


def body_readers() -> WorkerPool:
    """The processes that read long bodies."""
    return WorkerPool(
        "overspill_gateway.workers.body_worker", seconds_max=READ_SECONDS_MAX, wait_seconds_max=WAIT_SECONDS_MAX
    )


class LongReading:
    """One request whose body is being read."""

    __slots__ = ("_connection", "_head", "_parts", "_question", "_refuse", "_then")

    def __init__(self, connection: "ServerConnection", head: Head, parts: list[bytes]) -> None:
        self._connection = connection
        self._head = head
        self._parts = parts
        self._question: WorkItem | None = None
        self._then: OnRead | None = None
        self._refuse: OnRefused | None = None

    def begin(self, readers: WorkerPool, asked: bytes, then: OnRead, refuse: OnRefused) -> None:
        """Have it read; one of both is called later, unless the client goes."""
        self._then, self._refuse = then, refuse
        self._connection.answerer = self
        self._question = readers.ask(self._head.owner, asked, self._parts, self._answered)

    def client_gone(self) -> None:
        """Nobody wants it any more."""
        if self._question is not None:
            self._question.drop()
        self._leave()

    def client_slow(self) -> None:
        """Nothing is being written."""

    def client_ready(self) -> None:
        """Nothing is being written."""

    def shut_down(self) -> None:
        """The gateway can't wait any longer."""
        refuse = self._refuse
        self.client_gone()
        if refuse is not None:
            refuse(errors.SHUTTING_DOWN)

    def _leave(self) -> None:
        self._question = self._then = self._refuse = None
        if self._connection.answerer is self:
            self._connection.answerer = None

    def _answered(self, answer: WorkAnswer) -> None:
        then, refuse, parts = self._then, self._refuse, self._parts
        self._leave()
        if then is None or refuse is None:
            return
        try:
            error = _why_unanswered(answer)
            if error is not None:
                refuse(error)
                return
            facts, body_bytes = facts_told(answer.told)
            if isinstance(facts, ApiError):
                refuse(facts)
                return
            edited, chat = divided(answer.more, body_bytes)
            if facts.long is not None:
                facts.long.chat = chat
            then(edited or parts, facts)
        except Exception:
            logger.exception("a request could not be served", extra={"path": self._head.path.decode("latin-1")})
            self._connection.fail(self._head)


def word_going_on(
    call: "RequestContext", readers: WorkerPool, partial: Partial, then: Callable[[], None], *, local: bool
) -> None:
    """Have the request made that goes on behind a partial answer. Where it can't be, ``call.going_on`` stays empty.

    ``local``: whether an engine of ours goes on.
    """

    def answered(answer: WorkAnswer) -> None:
        call.going_on = None
        if answer.unanswered is None and call.parts:
            facts, body_bytes = facts_told(answer.told)
            if isinstance(facts, BodyFacts):
                call.going_on = divided(answer.more, body_bytes)[0], facts
        then()

    asked = question_of_going_on(call.endpoint.path, partial, local=local)
    readers.ask(call.grant.consumer, asked, call.parts, answered)


def _why_unanswered(answer: WorkAnswer) -> ApiError | None:
    why = answer.unanswered
    if why is None:
        return None
    return errors.BODY_TOO_DEAR if why is Unanswered.TOO_LONG else errors.BODIES_CROWDED

"""Structured output of one request: whether its answers keep to the schema, and who is asked after one that doesn't."""

from typing import TYPE_CHECKING, Final

from overspill_gateway.core.structured import StructuredCheck
from overspill_gateway.proxy.backend import Hosted, Replica

if TYPE_CHECKING:
    from overspill_gateway.proxy.call import Call
    from overspill_gateway.proxy.relay import Relay

INVALID_OUTPUTS_MAX: Final = 2
"""Answers that break the schema before the request is given up."""


class OutputCheck:
    """The schema of one request, and how often it was broken."""

    __slots__ = ("_check", "invalid")

    def __init__(self, check: StructuredCheck) -> None:
        self._check = check
        self.invalid = 0
        """Answers so far that broke the schema."""

    def why_invalid(self, call: "Call", relay: "Relay") -> str | None:
        """Why a whole answer breaks the schema; None: it does not."""
        if relay.status != 200 or relay.streams:
            return None
        why = self._check.check(relay.body())
        if why is None:
            call.route.tally.outputs_valid += 1
        else:
            call.route.tally.outputs_invalid += 1
            self.invalid += 1
        return why

    def next_backend(self, call: "Call", backend: Replica | Hosted, now: float) -> Replica | Hosted | None:
        """Who answers anew: the same backend once, then the fallback; None: nobody."""
        pool = call.route.pool
        if self.invalid == 1:
            again = backend in pool.replicas if isinstance(backend, Replica) else backend.may_take(call.ask, now)
            if again:
                return backend
        if self.invalid > INVALID_OUTPUTS_MAX or call.ask.local_only:
            return None
        return next((one for one in pool.hosted if one is not backend and one.may_take(call.ask, now)), None)


def check_of(call: "Call") -> OutputCheck | None:
    """The check of a request; None: its route asks for none, or it sets no schema, or one that nobody can use."""
    schema = call.facts.schema
    if schema is None or call.facts.stream or not call.route.compiled.validate_structured_output:
        return None
    check = StructuredCheck.of(schema)
    return OutputCheck(check) if isinstance(check, StructuredCheck) else None

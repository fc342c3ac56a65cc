"""Structured output of one request: whether its answers keep to the schema, and who is asked after one that doesn't."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from overspill_gateway.core.long_body import SCHEMA_BYTES_MAX
from overspill_gateway.proxy.backend import Hosted, Replica
from overspill_gateway.proxy.schema_checker import SchemaChecker
from overspill_gateway.proxy.verdict_fields import Verdict

if TYPE_CHECKING:
    from overspill_gateway.proxy.call import Call
    from overspill_gateway.proxy.relay import Relay

INVALID_OUTPUTS_MAX: Final = 2
"""Answers that break the schema before the request is given up."""


class OutputCheck:
    """The schema of one request, and how often it was broken."""

    __slots__ = ("invalid", "schema")

    def __init__(self, schema: bytes) -> None:
        self.schema = schema
        self.invalid = 0
        """Answers so far that broke the schema."""

    def begin(self, call: "Call", relay: "Relay", checker: SchemaChecker, then: Callable[[Verdict], None]) -> bool:
        """Have a whole answer checked; False: there is nothing to check about it."""
        if relay.status != 200 or relay.streams:
            return False
        checker.check(call.grant.consumer, self.schema, relay.body(), then)
        return True

    def take(self, call: "Call", verdict: Verdict) -> None:
        """Count what came of it."""
        if verdict.unchecked is not None:
            call.route.tally.outputs_unchecked += 1
        elif verdict.why is not None:
            call.route.tally.outputs_invalid += 1
            self.invalid += 1
        elif verdict.usable:
            call.route.tally.outputs_valid += 1

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
    return OutputCheck(schema) if len(schema) <= SCHEMA_BYTES_MAX else None

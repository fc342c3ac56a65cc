"""Structured output of one request: whether its answers keep to the schema. Not here: who is asked next."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from overspill_gateway.core.requests.long_body import SCHEMA_BYTES_MAX
from overspill_gateway.workers.schema_checker import SchemaChecker
from overspill_gateway.workers.verdict_fields import Verdict

if TYPE_CHECKING:
    from overspill_gateway.proxy.relay import Relay
    from overspill_gateway.proxy.request_context import RequestContext


class OutputCheck:
    """The schema of one request."""

    __slots__ = ("schema",)

    def __init__(self, schema: bytes) -> None:
        self.schema = schema

    def begin(
        self, call: "RequestContext", relay: "Relay", checker: SchemaChecker, then: Callable[[Verdict], None]
    ) -> bool:
        """Have a whole answer checked; False: there is nothing to check about it."""
        if relay.status != 200 or relay.streams:
            return False
        checker.check(call.grant.consumer, self.schema, relay.plain.parts(), then)
        return True

    def take(self, call: "RequestContext", verdict: Verdict) -> None:
        """Count what came of it."""
        if verdict.unchecked is not None:
            call.route.tally.outputs_unchecked += 1
        elif verdict.why is not None:
            call.route.tally.outputs_invalid += 1
        elif verdict.usable:
            call.route.tally.outputs_valid += 1


def check_of(call: "RequestContext") -> OutputCheck | None:
    """The check of a request; None: its route asks for none, or it sets no schema, or one that nobody can use."""
    schema = call.facts.schema
    if schema is None or call.facts.stream or not call.route.compiled.validate_structured_output:
        return None
    return OutputCheck(schema) if len(schema) <= SCHEMA_BYTES_MAX else None

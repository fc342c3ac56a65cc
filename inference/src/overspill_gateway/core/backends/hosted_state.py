"""What is known of one hosted API, as far as deciding goes: what it can do, how it fares, what it has said it lacks.

Not here: its limits and the budget, which whoever keeps them asks (``backends.backend``), and its connections.
"""

from typing import Final

from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.requests.ask import Ask, Needs

LACKS_SECONDS: Final = 60.0
"""A hosted API that lacks a path or its model is asked again after this long: it costs one request a moment."""


class HostedState(BackendState):
    """One hosted API of a route; this one has no limits and costs nothing that is known."""

    def __init__(
        self,
        served_by: str,
        *,
        unable: Needs = Needs.NOTHING,
        paths: frozenset[bytes] | None = None,
        context_tokens: int | None = None,
    ) -> None:
        """``unable``: what it can't do; ``paths``: those it has, None: nobody said; ``context_tokens`` likewise."""
        super().__init__(served_by, is_local=False)
        self.is_only_backend = False
        """Nobody else serves the route: it is asked even while it should rest."""
        self._unable: int = unable.value
        self._paths = paths
        self._context_tokens = context_tokens
        self.lacking: dict[bytes, float] = {}
        """Paths that it has said to lack, and until when that is believed, on the monotonic clock."""

    def affords(self, ask: Ask, now: float) -> bool:  # noqa: ARG002 - for those that have limits
        """Whether its limits and the budget allow this request now."""
        return True

    def may_take(self, ask: Ask, now: float) -> bool:
        """Whether health, what it can do, its limits and the budget allow this request now."""
        if now < self.outlier.returns_at and not self.is_only_backend:
            return False
        if self._unable and ask.needs & self._unable:
            return False
        if not self.has_path(ask.hosted_path):
            return False
        context = self._context_tokens
        if context is not None and ask.prompt_tokens + (ask.output_tokens_max or 1) > context:
            return False
        return self.affords(ask, now)

    def has_path(self, path: bytes) -> bool:
        """Whether it was not said of it that it lacks a path."""
        return self._paths is None or path in self._paths

    def lacks(self, ask: Ask, now: float) -> bool:
        """Whether it has said lately that it lacks the path or the model that this request calls."""
        return bool(self.lacking) and now < self.lacking.get(ask.hosted_path, 0.0)

    def has_said_that_it_lacks(self, path: bytes, now: float) -> None:
        """Ask others first for a while; the paths are the few that hosted APIs have."""
        self.lacking[path] = now + LACKS_SECONDS

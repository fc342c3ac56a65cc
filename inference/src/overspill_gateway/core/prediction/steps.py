"""How far a replica's engine has read in the line of prompts that were sent to it, as its first tokens tell.

Engines go in steps: one reads the prompts that were there when it began, up to a number of tokens, and their first
tokens come together at its end. Who comes meanwhile is read in the next, with all that have come by then. Of streams
all of this is seen; plain answers are not in here. How long a step takes is learned elsewhere (``prediction``).
"""

from math import inf
from typing import Final

ONE_STEP_SECONDS: Final = 0.002
"""First tokens within this time came of one step: streams are read together every two milliseconds."""


class EngineSteps:
    """The steps of one replica, as far as they read prompts of streams of this gateway."""

    __slots__ = (
        "_began_at", "_begun_with", "_carries", "_read", "_unread_then", "began_before", "sent", "step_seconds",
        "step_tokens", "unread",
    )  # fmt: skip

    def __init__(self) -> None:
        self.unread = 0
        """Prompt tokens of requests that were sent and whose first token has not come."""
        self.sent = 0
        """Prompt tokens of all requests so far: a request's place in the line."""
        self.began_before = -inf
        """When the step began that ended last, seconds of the monotonic clock."""
        self.step_tokens = 0
        """What the last step read whose first tokens have all come; 0: not known to the token."""
        self.step_seconds = 0.0
        """How long it took."""
        self._began_at = -inf
        """When the step began that goes on now."""
        self._read = 0
        """Read in the step that ended last, as far as is known."""
        self._begun_with = 0
        """Unread when that step began; 0: it did not begin at the end of another."""
        self._unread_then = 0
        """Unread when the step began that goes on now."""
        self._carries = False
        """Whether the step that ended last may have begun in the middle of a prompt."""

    def request_sent(self, prompt_tokens: int) -> None:
        """A request goes to the replica."""
        if not self.unread:
            self._unread_then = 0
        self.unread += prompt_tokens
        self.sent += prompt_tokens

    def first_token(self, prompt_tokens: int, now: float) -> bool:
        """A request's first token has come; whether it is the first of a step."""
        first = now > self._began_at + ONE_STEP_SECONDS
        if first:
            self._step_ended(now)
        self._read += prompt_tokens
        self.request_gone(prompt_tokens)
        self._unread_then = self.unread
        return first

    def request_gone(self, prompt_tokens: int) -> None:
        """A request is not read any more."""
        self.unread = self.unread - prompt_tokens if self.unread > prompt_tokens else 0

    def _step_ended(self, now: float) -> None:
        """Of the one before, all first tokens have come."""
        left = self._begun_with - self._read
        self.step_seconds = self._began_at - self.began_before
        self.step_tokens = self._read if left == 0 and not self._carries else 0
        self._carries = left > 0
        self._read = 0
        self._begun_with = self._unread_then
        self.began_before, self._began_at = self._began_at, now

"""What an answer is charged that its client did not wait for. Not here: answers whose end is known.

The gateway closes the connection to the backend at once, and a backend that sees that stops: what was written by then
is owed, and what is written until it has noticed. Two kinds of backends let the gateway know how much that was at
most. One says with each piece how much it has written so far. Of the other every token is seen: it has never reported
more tokens than bytes of text that it sent, nor any reasoning that is not shown, and nobody has asked it for some. A
token is at least one byte. Of any other backend nobody knows: the whole hold is charged.
"""

from typing import Final

from overspill_gateway.core.answers.usage import Report, Usage

MARGIN_TOKENS: Final = 512
"""Output that a backend may write until it has noticed that nobody reads: some seconds of a fast one."""


def bound_of_cut(
    report: Report, unreported_bytes: int, seen_bytes: int, prompt_tokens_max: int, *, answers: int, shows_all: bool
) -> Usage | None:
    """The most that a stream was worth that its client left; None: nobody knows.

    ``unreported_bytes``: of text that came behind the last report. ``shows_all``: whether every token of this backend
    is seen.
    """
    if report.unfinished or report.is_doubtful(answers):
        return None
    if report.output_tokens is not None and unreported_bytes == 0:
        output = report.output_tokens
    elif shows_all:
        output = max(seen_bytes, report.output_tokens or 0)
    else:
        return None
    prompt = report.prompt_tokens
    margin = MARGIN_TOKENS * answers
    if prompt is None:
        return Usage(prompt_tokens_max, 0, output + margin, reported=False)
    return Usage(prompt, report.cached_tokens, output + margin, reported=False)

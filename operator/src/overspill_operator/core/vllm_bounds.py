"""Bounds of vLLM's own on what waits inside it, from the route's target for the time to first token.

They are a second line: gateways send what they predict to be in time, and know nothing of what others send until they
read the engine's gauges. A request that vLLM refuses spills or waits like one that was predicted to be late. Set only
where the profile says how fast prompts are read, and where the image's vLLM is known to have the options: of an option
that it does not know vLLM does not start.
"""

import re
from collections.abc import Sequence
from math import ceil
from typing import Final

from overspill_api.profile import Profile

FIRST_WITH_BOUNDS: Final = (0, 32)
"""The version of vLLM whose ``--help`` first has ``--max-num-queued-reqs`` and ``--max-num-queued-tokens``."""

SEQUENCES_DEFAULT: Final = 1024
"""``--max-num-seqs`` of vLLM on the largest GPUs, where nobody says another; elsewhere its default is less."""

_VERSION: Final = re.compile(r"v?([0-9]{1,4})\.([0-9]{1,4})(?:[^0-9].*)?")
_SEQUENCES: Final = re.compile(r"--max[-_]num[-_]seqs(?:=([0-9]{1,9}))?")


def bound_arguments(profile: Profile, first_token_seconds: float | None, given: Sequence[str]) -> list[str]:
    """VLLM's options for a target in seconds; none where something is not known.

    Tokens: as many as are read within the target; one prompt more is let in, however long, so that an idle engine takes
    any. Requests: twice those of a full batch: who has a whole batch before him waits for as long as an answer takes.
    ``given``: arguments that follow, for the size of the batch.
    """
    rate = profile.prompt_tokens_per_second
    if rate is None or first_token_seconds is None or (vllm_version(profile) or (0, 0)) < FIRST_WITH_BOUNDS:
        return []
    tokens = max(1, ceil(first_token_seconds * rate))
    return [
        f"--max-num-queued-tokens={tokens}",
        f"--max-num-queued-reqs={2 * (batch_size(given) or SEQUENCES_DEFAULT)}",
    ]


def vllm_version(profile: Profile) -> tuple[int, int] | None:
    """Major and minor version of the image's vLLM; None: neither the profile nor the image's tag says it."""
    text = profile.vllm_version or profile.image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    match = _VERSION.fullmatch(text)
    if match is None or (profile.vllm_version is None and "vllm" not in profile.image):
        return None
    return int(match.group(1)), int(match.group(2))


def batch_size(arguments: Sequence[str]) -> int | None:
    """Answers in a replica's fullest batch by its arguments, of which the last counts, as in vLLM; None: not said."""
    found = None
    for index, argument in enumerate(arguments):
        match = _SEQUENCES.fullmatch(argument)
        if match is not None:
            text = match.group(1) or "".join(arguments[index + 1 : index + 2])
            found = int(text) if text.isascii() and text.isdigit() and 0 < int(text) <= 10**9 else found
    return found

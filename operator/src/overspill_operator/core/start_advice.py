"""What would shorten a start: one sentence on its longest phase, for status and the event."""

from typing import Final

from overspill_api.modelroute import SelfHosted
from overspill_operator.core.scaling.load_times import (
    ENGINE_START,
    FAILED_STARTS,
    FIRST_ANSWER,
    IMAGE,
    INIT_CONTAINERS,
    PROCESS,
    SCHEDULED,
    VOLUMES,
    WEIGHTS,
    Start,
)

SHORT_SECONDS: Final = 10.0
"""A start that is shorter than this is left as it is."""

_PHASES: Final = {
    SCHEDULED: "Keep a node free (placeholder pods of low priority), or a replica in known hours (scaling.windows).",
    VOLUMES: "A claim on storage of the node itself, or none, is mounted sooner.",
    INIT_CONTAINERS: "They are those of spec.selfHosted.podTemplate.",
    IMAGE: "Have it on the nodes before, by a DaemonSet with the profile's image that does nothing.",
    FAILED_STARTS: "kubectl logs --previous says why the engine ended before.",
    PROCESS: "The machine is busy.",
    FIRST_ANSWER: "The engine compiles what its first request needs; selfHosted.cache keeps it for the next start.",
}
"""By the first part of a phase."""

_NO_CACHE: Final = (
    "Set spec.selfHosted.cache: it keeps weights and compiled kernels, which every replica now loads and makes anew."
)
_CACHED: Final = (
    "Weights and compiled kernels are on its volume; quicker storage, a smaller or quantized model, or --enforce-eager "
    "(slower answers) shorten it."
)
_IN_PLACE: Final = (
    "The weights are near; spec.selfHosted.cache keeps compiled kernels, and --enforce-eager leaves them out (slower "
    "answers)."
)


def advice(start: Start, self_hosted: SelfHosted | None) -> str:
    """What a person can do about the longest phase; empty: the start is short."""
    if start.seconds < SHORT_SECONDS:
        return ""
    longest = start.longest
    share = round(100 * longest.seconds / start.seconds)
    return f"The longest part was {longest.name} ({share} %). {_what(longest.parts, self_hosted)}"


def _what(parts: tuple[str, ...], self_hosted: SelfHosted | None) -> str:
    if FAILED_STARTS in parts:
        return _PHASES[FAILED_STARTS]
    if parts[0] not in (WEIGHTS, ENGINE_START):
        return _PHASES[parts[-1] if parts[-1] in _PHASES else parts[0]]
    if self_hosted is None:
        return _IN_PLACE
    if self_hosted.cache is not None:
        return _CACHED
    return _NO_CACHE if self_hosted.source.startswith("hf://") else _IN_PLACE

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
    SCHEDULED: "keep a node free (placeholder pods of low priority), or a replica in known hours (scaling.windows).",
    VOLUMES: "attaching its volumes is what takes so long; a claim on storage of the node itself, or none, is quicker.",
    INIT_CONTAINERS: "they are those of spec.selfHosted.podTemplate.",
    IMAGE: "have it on the nodes before, by a DaemonSet with the profile's image that does nothing.",
    FAILED_STARTS: "see kubectl logs --previous for why the engine ended before.",
    PROCESS: "the machine is busy.",
    FIRST_ANSWER: "the engine compiles what its first request needs: selfHosted.cache keeps it for the next start.",
}
"""By the first part of a phase."""

_NO_CACHE: Final = (
    "spec.selfHosted.cache keeps weights and compiled kernels for the next start; without it every replica loads and "
    "compiles anew."
)
_CACHED: Final = (
    "weights and compiled kernels are on its volume; quicker storage, a smaller or quantized model, or --enforce-eager "
    "(slower answers) shorten it."
)
_IN_PLACE: Final = (
    "the weights are near; compiled kernels are kept with spec.selfHosted.cache, and --enforce-eager leaves them out "
    "(slower answers)."
)


def advice(start: Start, self_hosted: SelfHosted | None) -> str:
    """What a person can do about the longest phase; empty: the start is short."""
    if start.seconds < SHORT_SECONDS:
        return ""
    longest = start.longest
    share = round(100 * longest.seconds / start.seconds)
    name = longest.name
    return f"{name[:1].upper()}{name[1:]}: {share} % of the last start; {_what(longest.parts, self_hosted)}"


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

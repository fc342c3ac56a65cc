"""What can be wrong with a ModelRoute that its schema could not refuse, with what mends it. Not how it is shown."""

from dataclasses import dataclass
from enum import StrEnum


class FaultReason(StrEnum):
    """Condition reasons of faults: one word that programs can switch on."""

    INVALID_SPEC = "InvalidSpec"
    INVALID_NAME = "InvalidName"
    MODEL_NAME_CONFLICT = "ModelNameConflict"
    UNKNOWN_TIME_ZONE = "UnknownTimeZone"
    PROFILE_NOT_FOUND = "ProfileNotFound"
    INVALID_POD_TEMPLATE = "InvalidPodTemplate"
    RESERVED_ARGUMENT = "ReservedArgument"
    ENGINE_REFUSED = "EngineRefused"
    NOT_OWNED = "NotOwned"
    DISRUPTION_BUDGET_REFUSED = "DisruptionBudgetRefused"
    NETWORK_POLICY_REFUSED = "NetworkPolicyRefused"
    DOCUMENT_REFUSED = "DocumentRefused"
    INTERNAL_ERROR = "InternalError"
    SOURCE_SECRET_MISSING = "SourceSecretMissing"  # noqa: S105 - a condition's reason
    CREDENTIALS_MISSING = "CredentialsMissing"


_OF_ONE_PART = {
    FaultReason.INVALID_POD_TEMPLATE,
    FaultReason.ENGINE_REFUSED,
    FaultReason.NOT_OWNED,
    FaultReason.DISRUPTION_BUDGET_REFUSED,
    FaultReason.SOURCE_SECRET_MISSING,
    FaultReason.CREDENTIALS_MISSING,
    FaultReason.NETWORK_POLICY_REFUSED,
}
_SPEC_FAULTS = frozenset(FaultReason) - _OF_ONE_PART
_ENGINE_FAULTS = frozenset(
    {
        FaultReason.PROFILE_NOT_FOUND,
        FaultReason.INVALID_POD_TEMPLATE,
        FaultReason.RESERVED_ARGUMENT,
        FaultReason.ENGINE_REFUSED,
        FaultReason.NOT_OWNED,
        FaultReason.SOURCE_SECRET_MISSING,
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong."""

    reason: FaultReason
    """For programs."""
    message: str
    """For people: what is wrong, where, and what mends it."""

    keeps_last_good: bool = True
    """Of a fault of the spec: whether nothing of it takes effect; false where the rest of it can."""

    cuts_off: bool = False
    """Of a fault of the engine: whether gateways must not look for replicas, because the Service of that name is
    another one's or is not there."""

    @property
    def of_spec(self) -> bool:
        """Whether the spec is wrong as a whole, so that the route is not Ready whatever runs.

        What concerns one part alone, such as an engine that is refused, leaves the others serving.
        """
        return self.reason in _SPEC_FAULTS

    @property
    def blocks(self) -> bool:
        """Whether the last good spec stays in force, whole."""
        return self.of_spec and self.keeps_last_good

    @property
    def of_engine(self) -> bool:
        """Whether it keeps the engine from being made or changed."""
        return self.reason in _ENGINE_FAULTS


def summary(faults: tuple[Fault, ...]) -> str:
    """All faults in one message."""
    return " ".join(dict.fromkeys(fault.message for fault in faults))

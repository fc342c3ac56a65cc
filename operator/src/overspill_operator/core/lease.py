"""Leader election, the deciding part: what to do about a Lease that was just read. As client-go does it.

Clocks of two machines are never compared: a lease has run out when it has not changed for its whole duration by the
reader's own monotonic clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

LEASE_SECONDS = 10
"""A standby may take over this long after a dead leader's last renewal."""

RENEW_EVERY_SECONDS = 2.5
"""Three missed renewals fit before the leader gives up."""

GIVE_UP_AFTER_SECONDS = 8.0
"""Without a renewal for this long a leader stops acting, before anyone else may begin."""

STANDBY_POLL_SECONDS = 1.0
"""How soon a standby sees that the lease was let go."""


class Step(StrEnum):
    """What to do now."""

    CREATE = "Create"
    TAKE = "Take"
    RENEW = "Renew"
    WAIT = "Wait"


@dataclass(frozen=True, slots=True)
class Observation:
    """A lease as this process last saw it change."""

    record: tuple[str, str]
    """Holder and renewTime."""
    changed_monotonic: float
    """When it changed, by this process's clock."""
    gone_monotonic: float | None = None
    """When it was first missed; None: it is there. Whoever held it last, seen here or not, may not have noticed yet."""


def observe(lease: Mapping[str, Any] | None, before: Observation | None, now_monotonic: float) -> Observation | None:
    """The observation after reading ``lease``."""
    if lease is None:
        is_news = before is not None and before.gone_monotonic is None
        return replace(before, gone_monotonic=now_monotonic) if before and is_news else before
    spec = lease.get("spec") or {}
    record = (spec.get("holderIdentity") or "", spec.get("renewTime") or "")
    if before and before.record == record and before.gone_monotonic is None:
        return before
    return Observation(record, now_monotonic)


def step(seen: Observation | None, identity: str, now_monotonic: float, *, holds: bool = False) -> Step:
    """What to do about the lease.

    ``identity``: pod name, an underscore and a part of this process's own; ``holds``: whether its last renewal still
    allows it to act. A holder of the same pod name is another process all the same: pods are made again by force,
    and names are used twice, while the former process still runs.
    """
    if seen is None:
        return Step.CREATE
    holder = seen.record[0]
    silent_seconds = now_monotonic - seen.changed_monotonic
    if seen.gone_monotonic is not None:
        return Step.CREATE if holds or now_monotonic - seen.gone_monotonic > LEASE_SECONDS else Step.WAIT
    if holder == identity:
        return Step.RENEW
    return Step.TAKE if not holder or silent_seconds > LEASE_SECONDS else Step.WAIT


def lease_spec(previous: Mapping[str, Any] | None, identity: str, now_text: str) -> dict[str, Any]:
    """The Lease's spec with ``identity`` as its holder; empty lets it go."""
    spec = dict((previous or {}).get("spec") or {})
    if spec.get("holderIdentity") != identity:
        spec["acquireTime"] = now_text
        spec["leaseTransitions"] = int(spec.get("leaseTransitions", -1)) + 1
    spec |= {
        "holderIdentity": identity,
        "renewTime": now_text,
        "leaseDurationSeconds": LEASE_SECONDS if identity else 1,
    }
    return spec

"""Leader election as it acts: whatever two processes of one name see and miss, never do both lead."""

import random
from typing import Any

import pytest

from overspill_operator.adapters.leadership import Leadership
from overspill_operator.core import lease
from overspill_operator.ports import ClusterError, Json
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock
from unit.tiers import exhaustively


class Leases(FakeCluster):
    """One Lease, with the API server's optimistic locking; a process may be cut off from it."""

    def __init__(self) -> None:
        super().__init__()
        self.cut_off: set[str] = set()

    def seen_by(self, name: str) -> "Leases":
        """The same, as one process reaches it."""
        return _Reached(self, name)

    async def create(self, path: str, manifest: Json) -> Json:
        """Refused where there is one."""
        name = f"{path}/{manifest['metadata']['name']}"
        if name in self.objects:
            raise ClusterError(409, "AlreadyExists", "")
        return self.put(name, dict(manifest))

    async def replace(self, path: str, manifest: Json) -> Json:
        """Refused where somebody else has written."""
        live = self.objects.get(path)
        if live is None:
            raise ClusterError(404, "NotFound", "")
        if live["metadata"]["resourceVersion"] != manifest["metadata"].get("resourceVersion"):
            raise ClusterError(409, "Conflict", "")
        return self.put(path, dict(manifest))


class _Reached(Leases):
    def __init__(self, leases: Leases, name: str) -> None:
        super().__init__()
        self._leases, self._name = leases, name

    def _reach(self) -> Leases:
        if self._name in self._leases.cut_off:
            raise ClusterError(0, "Unreachable", "")
        return self._leases

    async def get(self, path: str) -> Json | None:
        return await self._reach().get(path)

    async def create(self, path: str, manifest: Json) -> Json:
        return await self._reach().create(path, manifest)

    async def replace(self, path: str, manifest: Json) -> Json:
        return await self._reach().replace(path, manifest)


@pytest.mark.parametrize("seed", [*range(8), *exhaustively(*range(8, 40))])
async def test_two_processes_under_one_name_never_both_lead(clock: VirtualClock, seed: int) -> None:
    """Over minutes of renewals, cuts, deletions of the Lease and releases, in any order."""
    chance = random.Random(seed)
    leases = Leases()
    processes = {name: Leadership(leases.seen_by(name), clock, "ns", f"operator-0_{name}") for name in ("a", "b")}
    led: set[str] = set()
    deleted = clock.now
    for process in processes.values():  # both have seen the Lease once
        await process.take_or_renew()
    for _ in range(600):
        clock.now += chance.choice([0.1, 0.5, 1.0, 2.5])
        name = chance.choice(["a", "b"])
        if chance.random() < 0.05:
            leases.cut_off ^= {name}
        if chance.random() < 0.02 and clock.now > deleted + 60:  # one that is deleted twice unseen tells nobody
            leases.objects.clear()
            deleted = clock.now
        if chance.random() < 0.01 and name not in leases.cut_off:
            await processes[name].release()
        await processes[name].take_or_renew()
        leading = {who for who, process in processes.items() if process.is_held()}
        led |= leading
        assert len(leading) <= 1
    assert led == {"a", "b"}


async def test_no_write_may_take_longer_than_the_lease(clock: VirtualClock) -> None:
    """What is left is told with each write; nothing is, once somebody else has the Lease."""
    leases = Leases()
    ours: Any = Leadership(leases, clock, "ns", "operator-0_a")
    assert await ours.take_or_renew()
    clock.now += 3.0
    assert ours.seconds_left() == pytest.approx(lease.GIVE_UP_AFTER_SECONDS - 3.0)
    (path,) = leases.objects
    leases.put(path, {"spec": lease.lease_spec(None, "operator-0_b", "t9")})
    assert not await ours.take_or_renew()  # a conflict: somebody has written
    assert not await ours.take_or_renew()
    assert ours.seconds_left() < 0

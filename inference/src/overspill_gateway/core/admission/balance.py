"""Which replica serves a request: that of its conversation unless it is busier than the rest, else the least busy one.

Conversations are spread by rendezvous hashing, the same in every gateway: a replica that comes or goes moves only its
own. Each engine so finds the prefix of a conversation in its cache, which saves reading it anew. Bounded load after
"Consistent Hashing with Bounded Loads" (Mirrokni, Thorup, Zadimoghaddam, 2016), here in tokens of work. What a
replica's work is, and when one rests, is said elsewhere (``core.prediction.load``, ``core.backends.ejection``).
"""

from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import Final, TypeVar

from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.prediction.load import work_of
from overspill_gateway.core.prediction.tuning import TUNING, Tuning
from overspill_gateway.core.requests.ask import Ask

_MASK: Final = (1 << 64) - 1
_MIX: Final = 0x9E3779B97F4A7C15
_MIX_AGAIN: Final = 0xBF58476D1CE4E5B9


R = TypeVar("R", bound=ReplicaState)


def choose_replica(
    replicas: Sequence[R],
    ask: Ask,
    now: float,
    turn: int,
    avoid: Collection[BackendState] = (),
    tuning: Tuning = TUNING,
) -> R | None:
    """The replica for a request, or None where there is none but ``avoid``; among equals each in its ``turn``.

    Where all that may be asked rest, one that rests is chosen: the caller who has another way out looks at its
    ``outlier``.
    """
    if len(replicas) < 2:
        return replicas[0] if replicas and not (avoid and replicas[0] in avoid) else None
    candidates = _candidates(replicas, now, avoid, tuning)
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    own = work_of(ask, tuning)
    total, least = 0.0, float("inf")
    works: list[float] = []
    for replica in candidates:
        load = replica.load
        work = load.expected_work(now)
        if now < load.usable_since + tuning.slow_start_seconds or now < replica.outlier.fully_back_at:
            work = (work + own) / _share(replica, now, tuning) - own
        slowness = replica.rates.slowness
        if slowness != 1.0:
            work = (work + own) * slowness - own
        works.append(work)
        total += work
        if work < least:  # noqa: PLR1730 - a call of min() takes three times as long
            least = work
    if not ask.prefix:
        if works.count(least) == 1:
            return candidates[works.index(least)]
        equals = [replica for replica, work in zip(candidates, works, strict=True) if work == least]
        return equals[turn % len(equals)]
    bound = max(tuning.load_factor * (total + own) / len(works) - own, least + ask.prompt_tokens + tuning.batch_work)
    return _home(candidates, works, bound, ask.prefix)


def _candidates(replicas: Sequence[R], now: float, avoid: Collection[BackendState], tuning: Tuning) -> Sequence[R]:
    """Those to choose from: not ``avoid``, and none that rests, unless too many do."""
    ejected = 0
    for replica in replicas:
        if now < replica.outlier.returns_at:
            ejected += 1
    if not ejected and not avoid:
        return replicas
    allowed = [replica for replica in replicas if replica not in avoid] if avoid else replicas
    count = len(replicas)
    if not ejected or ejected == count or (count >= tuning.panic_replicas_min and 2 * ejected > count):
        return allowed
    return [replica for replica in allowed if now >= replica.outlier.returns_at] or allowed


def _share(replica: ReplicaState, now: float, tuning: Tuning) -> float:
    """The share of work of a replica that is new or returns; one that is asked while it rests has no less."""
    started = (now - replica.load.usable_since) / tuning.slow_start_seconds
    share = 1.0 if started >= 1.0 else max(tuning.slow_start_share_min, started)
    return share * (replica.outlier.weight(now) or 1.0)


def _home(candidates: Sequence[R], works: list[float], bound: float, prefix: int) -> R:
    """The first in the conversation's own order whose work is within the bound; the least busy one always is."""
    best, best_score = candidates[0], -1
    for replica, work in zip(candidates, works, strict=True):
        if work > bound:
            continue
        seed = replica.load.affinity_seed
        if not seed:
            seed = replica.load.affinity_seed = _seed(replica.served_by)
        score = (prefix ^ seed) * _MIX & _MASK
        score = (score ^ score >> 31) * _MIX_AGAIN & _MASK
        if score > best_score:
            best, best_score = replica, score
    return best


def _seed(name: str) -> int:
    """64 bits for a name, the same in every process; never 0."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") or 1

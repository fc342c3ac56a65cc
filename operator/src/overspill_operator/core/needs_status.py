"""What ``status.scaling`` says: what each signal called for when it was last worth writing down.

Figures change with every beat, and a status that changes is a write that all share one API server for. So they are
taken anew with a decision, and beside figures of traffic, which are sampled.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from overspill_operator.core.conditions import timestamp
from overspill_operator.core.scaling.autoscaler import Need

Json = Mapping[str, Any]


def scaling_status(needs: Sequence[Need] | None, route_status: Json, *, is_news: bool, now_unix: float) -> Json | None:
    """``status.scaling`` after ``route_status``; None: no signal is looked at, as where the number is fixed.

    ``needs``: None where nothing was decided yet, as just after a restart: then what is known stays.
    ``is_news``: a number was decided, or other figures are written anyway.
    """
    before: Json | None = route_status.get("scaling")
    if needs is None:
        return before
    if not needs:
        return None
    shown = [{"signal": need.signal.value, "replicas": need.replicas, "message": need.message} for need in needs]
    if before is not None and (before.get("needs") == shown or not is_news):
        return before
    return {"at": timestamp(now_unix), "needs": shown}

"""How long a cache's claim is kept that its route wants no more: weights are gigabytes, and a field is gone quickly.

The claim itself says when it goes, in an annotation, so that whoever leads then knows. A person may write another time
there, ``never``, or ``now``.
"""

from dataclasses import dataclass
from typing import Final

from overspill_api.names import GROUP
from overspill_operator.core.conditions import parse_timestamp, timestamp
from overspill_operator.core.json_object import Json

ANNOTATION_DELETE_AFTER: Final = f"{GROUP}/delete-after"
RETENTION_SECONDS: Final = 24 * 3600.0
"""A day: long enough for a person to see it, short enough to be paid for."""

NEVER: Final = "never"
NOW: Final = "now"


@dataclass(frozen=True, slots=True)
class Retention:
    """What becomes of a claim that is not wanted."""

    delete: bool
    """Whether it is to go now."""
    seconds_left: float | None
    """Until it is to go; None: it stays."""
    note: str
    """For people: what is kept, until when, and how to choose otherwise."""
    mark: str | None = None
    """What the annotation is to say; None: it says it already."""


def retention(live: Json, now_unix: float) -> Retention:
    """What becomes of a live claim that its route wants no more."""
    meta = live["metadata"]
    said = (meta.get("annotations") or {}).get(ANNOTATION_DELETE_AFTER)
    mark = timestamp(now_unix + RETENTION_SECONDS) if said is None else None
    text = said or mark or ""
    if text == NOW:
        return Retention(delete=True, seconds_left=0.0, note="")
    due = None if text == NEVER else _time(text)
    if due is not None and due <= now_unix:
        return Retention(delete=True, seconds_left=0.0, note="")
    size = live.get("spec", {}).get("resources", {}).get("requests", {}).get("storage", "unknown size")
    what = f"PersistentVolumeClaim {meta['name']} ({size}) is not wanted any more by spec.selfHosted.cache"
    annotate = f"kubectl annotate --overwrite -n {meta['namespace']} pvc {meta['name']} {ANNOTATION_DELETE_AFTER}"
    if due is None:
        wrong = "" if text == NEVER else f" The annotation's {text!r} is no time such as {timestamp(now_unix)}."
        return Retention(False, None, f"{what} and is kept.{wrong} To delete it: {annotate}={NOW}.", mark)
    note = (
        f"{what}: it is deleted with what it holds after {text}. To use it again, set spec.selfHosted.cache again. "
        f"To keep it: {annotate}={NEVER}. To delete it at once: {annotate}={NOW}."
    )
    return Retention(False, due - now_unix, note, mark)


def is_marked(live: Json | None) -> bool:
    """Whether a claim has an annotation of when it goes."""
    return ANNOTATION_DELETE_AFTER in ((live or {}).get("metadata", {}).get("annotations") or {})


def _time(text: str) -> float | None:
    """Unix time; None: it is none. A time without a zone could be anyone's."""
    try:
        return parse_timestamp(text) if text.endswith("Z") or "+" in text else None
    except ValueError:
        return None

"""Rights without which nothing is seen: how a missing one is told, the same everywhere."""

from collections.abc import Iterable

HOW = "Grant the operator's account list and watch (the chart's ClusterRole or Roles have them)."


def is_missing_right(trouble: str) -> bool:
    """Whether a trouble is one that only a person can mend, by granting a right."""
    return trouble.endswith(HOW)


def unwatched(missing: Iterable[tuple[str, str]]) -> str:
    """What is not followed, by kind and namespace (empty: all of them); empty: everything is."""
    places: dict[str, list[str]] = {}
    for kind, namespace in missing:
        places.setdefault(kind, []).append(namespace)
    if not places:
        return ""
    sentences = "; ".join(
        f"{kind} can't be watched" + (f" in namespace {', '.join(namespaces)}" if all(namespaces) else "")
        for kind, namespaces in places.items()
    )
    return (
        f"{sentences}, so changes of them are seen late or never: the API server says that this account may not. {HOW}"
    )

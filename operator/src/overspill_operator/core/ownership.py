"""Whose an object is. What is not a route's own is neither changed nor deleted, whatever its name and labels say."""

from overspill_api.names import ANNOTATION_ADOPT
from overspill_operator.core.json_object import Json


def is_ours(desired: Json, live: Json) -> bool:
    """Whether ``live`` is the object that ``desired`` describes and not somebody else's of the same name.

    It is where it has the same owner by identity. Objects without an owner (compiled documents, which lie in another
    namespace than their route) are ours by the labels that they were given.
    """
    wanted, live_meta = desired["metadata"], live["metadata"]
    owners = wanted.get("ownerReferences")
    if owners:
        return is_owned(live, owners[0]["uid"]) or adopts(live, owners[0]["name"])
    labels = live_meta.get("labels") or {}
    return all(labels.get(name) == value for name, value in (wanted.get("labels") or {}).items())


def is_owned(live: Json | None, uid: str) -> bool:
    """Whether an object has an owner reference to the object with this identity."""
    return any(owner.get("uid") == uid for owner in _owners(live))


def adopts(live: Json, route_name: str) -> bool:
    """Whether a person has handed an object that nobody owns over to the route of this name."""
    annotations = live["metadata"].get("annotations") or {}
    return annotations.get(ANNOTATION_ADOPT) == route_name and not _owners(live)


def refusal(kind: str, desired: Json, live: Json) -> str:
    """Why an object is left alone, and what would mend it."""
    meta, owners = desired["metadata"], _owners(live)
    what = f"{kind} {meta['name']!r} in namespace {meta['namespace']!r}"
    if not meta.get("ownerReferences"):
        return f"{what} was not made by Overspill and is left alone: delete it or give it another name."
    route = meta["ownerReferences"][0]["name"]
    same = next((owner for owner in owners if owner.get("kind") == "ModelRoute" and owner.get("name") == route), None)
    if same:
        return (
            f"{what} belongs to a ModelRoute {route!r} that was deleted (uid {same.get('uid')}): it is left alone. "
            "Kubernetes collects it within a minute, then this goes on; delete it to go on at once."
        )
    if owners:
        owner = owners[0]
        return (
            f"{what} belongs to {owner.get('kind')} {owner.get('name')!r} and is left alone: rename this ModelRoute, "
            "or delete the object."
        )
    return (
        f"{what} was not made by this ModelRoute and is left alone: rename the ModelRoute or the object, delete the "
        f"object, or hand it over with kubectl annotate -n {meta['namespace']} {kind.lower()} {meta['name']} "
        f"{ANNOTATION_ADOPT}={route}."
    )


def _owners(live: Json | None) -> list[Json]:
    return list((live or {}).get("metadata", {}).get("ownerReferences") or ())

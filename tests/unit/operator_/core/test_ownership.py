"""Whose an object is, and what is said where it is not ours."""

from typing import Any

from overspill_api.names import ANNOTATION_ADOPT
from overspill_operator.core.manifests import compiled_secret, service
from overspill_operator.core.ownership import is_ours, refusal
from unit.operator_.core.builders import route

ROUTE = route("hosted: []")
WANTED = service(ROUTE.meta)


def live(**meta: Any) -> dict[str, Any]:
    """An object of the name."""
    return {"metadata": {"name": "tiny-engine", "namespace": "chat", **meta}}


def owner(kind: str = "ModelRoute", name: str = "tiny", uid: str = ROUTE.meta.uid) -> dict[str, Any]:
    """An owner reference."""
    return {"kind": kind, "name": name, "uid": uid}


def test_the_owner_decides_and_not_the_labels() -> None:
    """Labels can be copied; an identity cannot."""
    assert is_ours(WANTED, live(ownerReferences=[owner()]))
    assert not is_ours(WANTED, live(labels=WANTED["metadata"]["labels"]))
    assert not is_ours(WANTED, live(ownerReferences=[owner(uid="of-one-that-was-deleted")]))
    assert not is_ours(WANTED, live(ownerReferences=[owner("Release", "x", "u")]))


def test_a_person_may_hand_an_object_over() -> None:
    """To this route, by name, and only what nobody owns."""
    assert is_ours(WANTED, live(annotations={ANNOTATION_ADOPT: "tiny"}))
    assert not is_ours(WANTED, live(annotations={ANNOTATION_ADOPT: "other"}))
    assert not is_ours(
        WANTED, live(annotations={ANNOTATION_ADOPT: "tiny"}, ownerReferences=[owner("Release", uid="u")])
    )


def test_a_compiled_document_is_known_by_its_labels() -> None:
    """It lies in another namespace than its route, so it can have no owner."""
    wanted = compiled_secret("release", "route.chat.tiny", "route", ROUTE.meta, b"{}")
    assert is_ours(wanted, live(labels={**wanted["metadata"]["labels"], "more": "x"}))
    assert not is_ours(wanted, live())


def test_what_is_said_names_the_object_and_what_mends_it() -> None:
    """Each case has its own way out."""
    theirs = refusal("Service", WANTED, live())
    assert "Service 'tiny-engine' in namespace 'chat'" in theirs
    assert f"kubectl annotate -n chat service tiny-engine {ANNOTATION_ADOPT}=tiny" in theirs
    secret = compiled_secret("release", "route.chat.tiny", "route", ROUTE.meta, b"{}")
    assert "Secret 'route.chat.tiny' in namespace 'release' was not made by Overspill" in refusal(
        "Secret", secret, live()
    )
    assert "Kubernetes collects it" in refusal("Service", WANTED, live(ownerReferences=[owner(uid="old")]))
    assert "belongs to Release 'x'" in refusal("Service", WANTED, live(ownerReferences=[owner("Release", "x", "u")]))

"""Paths in the API: a name leads to the object of that name below its collection, or nowhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_operator.ports import MODEL_ROUTES, SECRETS, PathError


def test_paths() -> None:
    """Of a collection everywhere, in a namespace, of an object, of a part of it."""
    assert SECRETS.path() == "/api/v1/secrets"
    assert SECRETS.path("a") == "/api/v1/namespaces/a/secrets"
    assert SECRETS.path("a", "b.c-d") == "/api/v1/namespaces/a/secrets/b.c-d"
    assert MODEL_ROUTES.path("a", "b", "status").endswith("/namespaces/a/modelroutes/b/status")


@pytest.mark.parametrize(
    "part",
    ["", ".", "..", "../../team-a/secrets/bank", "a/b", "a?x=1", "a#b", "a%2fb", "a\\b", "a\nb", "a\0", "\ud800"],
)
def test_a_part_that_would_lead_elsewhere_is_refused(part: str) -> None:
    """As a name and as the namespace of an object."""
    with pytest.raises(PathError, match="can't be the name of an object"):
        SECRETS.path("chat", part)
    with pytest.raises(PathError, match="can't be the namespace"):
        SECRETS.path(part, "s")


@given(st.text(max_size=12))
def test_every_path_stays_below_its_collection(name: str) -> None:
    """Whatever passes is one part more, and nothing that a server or a proxy would read as syntax."""
    try:
        path = SECRETS.path("chat", name)
    except PathError:
        return
    head, _, last = path.rpartition("/")
    assert head == "/api/v1/namespaces/chat/secrets"
    assert path.isascii()
    assert last not in ("", ".", "..")
    assert not set("?#\\") & set(last)

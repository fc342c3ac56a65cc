"""Where the cluster keeps its things."""

from pathlib import Path

import pytest

from cluster.places import Places, cache_folder


def test_cache_follows_the_xdg_specification() -> None:
    """XDG_CACHE_HOME counts when it is absolute; otherwise it is ~/.cache."""
    assert cache_folder({"XDG_CACHE_HOME": "/big", "HOME": "/home/a"}) == Path("/big/overspill")
    assert cache_folder({"XDG_CACHE_HOME": "relative", "HOME": "/home/a"}) == Path("/home/a/.cache/overspill")
    assert cache_folder({"HOME": "/home/a"}) == Path("/home/a/.cache/overspill")


@pytest.mark.parametrize("name", ["", "../other", "Upper", "-a", "a-", "a" * 33, "a b"])
def test_a_name_that_could_not_be_a_folder_or_a_cgroup_is_refused(name: str) -> None:
    """A cluster's name becomes part of paths that `down` deletes: nothing odd gets through."""
    with pytest.raises(ValueError, match="cluster name"):
        Places(name, Path("/cache"))


def test_two_users_clusters_of_one_name_have_different_cgroups() -> None:
    """Cgroups are shared by the whole machine, so the name carries the state folder's hash."""
    assert Places("a", Path("/one")).cgroup != Places("a", Path("/two")).cgroup
    assert Places("a", Path("/one")).cgroup == Places("a", Path("/one")).cgroup


def test_the_runtime_socket_fits_a_socket_address() -> None:
    """The kernel takes 107 bytes: a home folder with a usual name and the longest cluster name must fit."""
    assert len(str(Places("a" * 32, Path("/home/somebody/.cache/overspill")).runtime_socket)) <= 107

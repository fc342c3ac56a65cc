"""What a machine lacks is said in one sentence with the way out, before anything is started."""

import os
import shutil

import pytest

from cluster import machine


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The commands that the machine has; a test adds to them."""
    there: set[str] = set()
    monkeypatch.setattr(shutil, "which", lambda name, **_: f"/bin/{name}" if name in there else None)
    return there


def test_without_go(commands: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No Go: install it, or use Docker."""
    commands.update(machine.CLUSTER_NEEDS)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(machine.LackingError, match=r"Go is not on the PATH.*install Go.*make kind"):
        machine.prepare_cluster()


def test_without_root(commands: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster with pods needs root; a control plane does not."""
    commands.update(machine.CLUSTER_NEEDS, {"go"})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(machine.LackingError, match=r"needs root.*sudo.*make kind"):
        machine.prepare_cluster()
    machine.prepare_control_plane()


def test_without_a_package_and_without_root_to_install_it(commands: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command to type is in the message."""
    commands.update({"go", "apt-get"})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(machine.LackingError, match="sudo apt-get install openssl"):
        machine.prepare_control_plane()


def test_without_apt(commands: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where packages cannot be installed, they are named."""
    commands.update({"go"})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(machine.LackingError, match=r"containerd.*no apt-get"):
        machine.prepare_cluster()


def test_only_what_is_missing_is_installed(commands: set[str]) -> None:
    """A machine that has a package's commands from elsewhere keeps them."""
    commands.update(set(machine.CLUSTER_NEEDS) - {"runc", "nft"})
    assert machine.missing_packages(machine.CLUSTER_NEEDS) == ["nftables", "runc"]

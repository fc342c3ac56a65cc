"""The pins and the names of builds. Nothing is built here."""

import dataclasses
from pathlib import Path

import pytest

from cluster.binaries import ALL_MODULES, KUBERNETES, NODE, Binaries, GoModule, build_hash


def test_each_pinned_module_has_its_version_and_checksums_committed() -> None:
    """A build without a version in go.mod or without go.sum would not be pinned."""
    for module in ALL_MODULES:
        if module is not NODE:  # our own code
            assert module.version.startswith("v"), module.name
            assert (module.folder / "go.sum").stat().st_size > 0, module.name


def test_all_of_kubernetes_comes_from_one_release() -> None:
    """Each k8s.io module that Kubernetes keeps in its tree is replaced by the release of the same number."""
    minor_and_patch = KUBERNETES.version.removeprefix("v1.")
    lines = (KUBERNETES.folder / "go.mod").read_text().splitlines()
    replaced = [line.split()[-1] for line in lines if " => k8s.io/" in line]
    assert len(replaced) > 25
    assert set(replaced) == {f"v0.{minor_and_patch}"}


def test_kubernetes_is_told_its_version() -> None:
    """Without it the server calls itself v0.0.0, and clients misjudge what it can do."""
    assert f"gitVersion={KUBERNETES.version}" in KUBERNETES.link_flags


def test_whatever_changes_a_build_changes_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources, commands and the toolchain name a build."""
    monkeypatch.setattr(GoModule, "folder", property(lambda _: tmp_path))
    (tmp_path / "go.mod").write_text("module a\n")
    module = GoModule("a", "", (("a", "./a"),))
    first = build_hash(module, "go1.26")
    assert first == build_hash(module, "go1.26")
    others = [build_hash(module, "go1.27"), build_hash(dataclasses.replace(module, commands=(("b", "./b"),)), "go1.26")]
    (tmp_path / "main.go").write_text("package main\n")
    assert len({first, *others, build_hash(module, "go1.26")}) == 4


def test_a_command_is_found_in_its_modules_build() -> None:
    """Commands are asked for by name; one that no module builds is a mistake in the code."""
    binaries = Binaries({"kubernetes": Path("/builds/kubernetes-1")})
    assert binaries.command("kubectl") == "/builds/kubernetes-1/kubectl"
    with pytest.raises(KeyError, match="no pinned Go module"):
        binaries.command("docker")

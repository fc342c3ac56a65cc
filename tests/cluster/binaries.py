"""Kubernetes' own commands, etcd, helm, CoreDNS and kwok, built from Go modules and cached.

The pins are `go/*/go.mod` and `go.sum`, nothing else names a version. A build is kept under the hash
of what it is made from, so that any clone with the same pins shares it. Not here: what runs them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster import machine
from cluster.files import exclusive, link_whole
from cluster.places import SOURCES

PROGRESS_SECONDS = 15
UNUSED_DAYS = 30
"""Builds that nothing has asked for in this time are removed."""


@dataclass(frozen=True)
class GoModule:
    """One folder under `go/` and the commands that are built from it."""

    name: str
    """The folder's name."""
    pin: str
    """The module whose version, as its go.mod has it, is the version of the whole."""
    commands: tuple[tuple[str, str], ...]
    """Name of the binary and its Go package."""
    cold_build: str = ""
    """What a build with nothing cached takes on two cores, to say beforehand."""
    extra: tuple[tuple[str, str], ...] = ()
    """Files to keep from the pinned module: name under the build's folder, path in the module."""

    @property
    def folder(self) -> Path:
        """Where go.mod lies."""
        return SOURCES / "go" / self.name

    @property
    def version(self) -> str:
        """As go.mod pins it, for example v1.34.4; empty for a module of our own."""
        found = re.search(
            rf"^\s*(?:require )?{re.escape(self.pin)} (v\S+)", (self.folder / "go.mod").read_text(), re.MULTILINE
        )
        return found.group(1) if found else ""

    @property
    def link_flags(self) -> str:
        """Without a version set, Kubernetes calls itself v0.0.0 and clients misjudge what it can do."""
        flags = "-s -w"
        if self.name == "kubernetes":
            prefix, (major, minor, _) = "k8s.io/component-base/version", self.version.lstrip("v").split(".", 2)
            values = {"gitVersion": self.version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
            flags += "".join(f" -X {prefix}.{key}={value}" for key, value in values.items())
        return flags


def _kubernetes(*commands: str) -> tuple[tuple[str, str], ...]:
    return tuple((command, f"k8s.io/kubernetes/cmd/{command}") for command in commands)


KUBERNETES = GoModule(
    "kubernetes",
    "k8s.io/kubernetes",
    (
        *_kubernetes("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"),
        ("coredns", "./coredns"),
        ("helm", "helm.sh/helm/v3/cmd/helm"),
    ),
    "5 min",
)
"""Kubernetes, and what is built of the same libraries: one module, so that each of them is compiled once. Helm and
CoreDNS are releases for this Kubernetes; newer ones would bring its libraries once more: three minutes more."""
ETCD = GoModule("etcd", "go.etcd.io/etcd/server/v3", (("etcd", "go.etcd.io/etcd/server/v3"),), "15 s")
KWOK = GoModule(
    "kwok",
    "sigs.k8s.io/kwok",
    (("kwok", "sigs.k8s.io/kwok/cmd/kwok"),),
    "50 s",
    # kwok's binary carries no stages: what its nodes and pods do is told by these files.
    (
        ("stages/node-fast", "kustomize/stage/node/fast"),
        ("stages/node-heartbeat-with-lease", "kustomize/stage/node/heartbeat-with-lease"),
        ("stages/pod-fast", "kustomize/stage/pod/fast"),
    ),
)
"""Built once somebody wants nodes that it plays."""
NODE = GoModule("node", "", (("pause", "./pause"), ("forward", "./forward")))

KIND = GoModule("kind", "sigs.k8s.io/kind", (("read-kind-config", "."),))
"""Only reads kind's configuration, for a test."""

CONTROL_PLANE_MODULES = (KUBERNETES, ETCD)
CLUSTER_MODULES = (KUBERNETES, ETCD, NODE)
ALL_MODULES = (*CLUSTER_MODULES, KWOK)


@dataclass(frozen=True)
class Binaries:
    """The folders of the builds that the pins ask for."""

    folders: dict[str, Path]
    """By module name."""

    def command(self, name: str) -> str:
        """The path of a command, for example `kubectl`."""
        for module in (*ALL_MODULES, KIND):
            if module.name in self.folders and name in dict(module.commands):
                return str(self.folders[module.name] / name)
        raise KeyError(f"no pinned Go module builds {name!r}")

    def stages(self) -> list[Path]:
        """The stage files of kwok."""
        return sorted((self.folders["kwok"] / "stages").rglob("*.yaml"))


@functools.cache
def go_version() -> str:
    """The toolchain that builds, as it names itself: part of every build's hash."""
    ran = subprocess.run([machine.go(), "env", "GOVERSION", "GOARCH"], capture_output=True, text=True, check=True)
    return " ".join(ran.stdout.split())


def build_hash(module: GoModule, toolchain: str) -> str:
    """The name of a build: whatever changes the binaries changes it."""
    digest = hashlib.sha256(repr((module.commands, module.link_flags, module.extra, toolchain)).encode())
    for path in sorted(module.folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(module.folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def ensure(cache: Path, modules: Iterable[GoModule] = CLUSTER_MODULES) -> Binaries:
    """Build what is not cached, with progress, and say where everything is."""
    folders: dict[str, Path] = {}
    for module in modules:
        folder = cache / "binaries" / f"{module.name}-{build_hash(module, go_version())}"
        if not folder.is_dir():
            with exclusive(
                cache / "binaries" / f"{module.name}.lock", f"{module.name}: another build of it is running; waiting"
            ):
                if not folder.is_dir():
                    _build(module, folder)
                _remove_unused(folder.parent, module, keep=folder)
        os.utime(folder)
        for command, _ in module.commands:
            if os.path.realpath(cache / "bin" / command) != str((folder / command).resolve()):
                link_whole(cache / "bin" / command, folder / command)
        folders[module.name] = folder
    return Binaries(folders)


def _environment() -> dict[str, str]:
    # A compiler lives for a second: collecting its garbage is a quarter of what a cold build costs. Each of Go's
    # processes collects only where it would take more memory than this.
    memory = {"GOGC": "off", "GOMEMLIMIT": "2GiB"}
    return {**memory, **os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


def _build(module: GoModule, folder: Path) -> None:
    """Into a folder beside the target, which takes its name only when everything is there."""
    about = f" (about {module.cold_build} on two cores when nothing is cached)" if module.cold_build else ""
    names = ", ".join(command for command, _ in module.commands)
    print(f"{module.name} {module.version}: building {names}{about}", flush=True)
    started = time.monotonic()
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".{module.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)  # of a build that was killed: we hold the lock
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{module.name}-"))
    try:
        temporary.chmod(0o755)
        for commands in _by_target_name(module):
            _go_build(module, commands, temporary)
        _keep_extra(module, temporary)
        os.sync()  # a power cut must not leave a whole name on half a file
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{module.name} {module.version}: {size >> 20} MB in {time.monotonic() - started:.0f} s", flush=True)


def _by_target_name(module: GoModule) -> list[list[tuple[str, str]]]:
    """`go build` names a binary after its package; one that is to be called otherwise is built by itself."""
    plain = [(name, package) for name, package in module.commands if package.rsplit("/", 1)[-1] == name]
    return [*([plain] if plain else []), *([other] for other in module.commands if other not in plain)]


def _go_build(module: GoModule, commands: list[tuple[str, str]], target: Path) -> None:
    packages = [package for _, package in commands]
    output = f"{target}/" if len(commands) > 1 else str(target / commands[0][0])
    with _reporting(module, lambda: "fetching modules"):
        total = _run_go(module, "list", "-deps", *packages).count("\n")
    arguments = [machine.go(), "build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false"]
    arguments += ["-ldflags", module.link_flags, "-o", output, *packages]
    lines: list[str] = []  # what it fetches, and each package that is not cached
    with (
        _reporting(module, lambda: f"{len(lines)} packages compiled of at most {total}"),
        subprocess.Popen(
            arguments, cwd=module.folder, env=_environment(), stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)  # noqa: PERF402  -- read by the other thread meanwhile
    if process.returncode:
        raise RuntimeError(f"{module.name}: go build failed in {module.folder}:\n{''.join(lines[-30:])}")


@contextlib.contextmanager
def _reporting(module: GoModule, progress: Callable[[], str]) -> Iterator[None]:
    """Print a line every few seconds while something takes its time."""
    started, finished = time.monotonic(), threading.Event()

    def report() -> None:
        while not finished.wait(PROGRESS_SECONDS):
            print(f"{module.name}: {time.monotonic() - started:.0f} s, {progress()}", flush=True)

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        finished.set()
        reporter.join()


def _keep_extra(module: GoModule, target: Path) -> None:
    if not module.extra:
        return
    source = Path(_run_go(module, "list", "-m", "-f", "{{.Dir}}", module.pin).strip())
    for name, path in module.extra:
        files = [file for file in sorted((source / path).glob("*.yaml")) if file.name != "kustomization.yaml"]
        if not files:
            raise RuntimeError(f"{module.pin} {module.version} has no files in {path}: see what replaced them")
        for file in files:
            (target / name).mkdir(parents=True, exist_ok=True)
            (target / name / file.name).write_bytes(file.read_bytes())


def _run_go(module: GoModule, *arguments: str) -> str:
    ran = subprocess.run(
        ["go", *arguments], cwd=module.folder, env=_environment(), capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise RuntimeError(f"{module.name}: go {arguments[0]} failed in {module.folder}:\n{ran.stderr[-3000:]}")
    return ran.stdout


def _remove_unused(builds: Path, module: GoModule, keep: Path) -> None:
    oldest = time.time() - UNUSED_DAYS * 86_400
    for folder in builds.glob(f"{module.name}-*"):
        with contextlib.suppress(FileNotFoundError):
            if folder != keep and folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)

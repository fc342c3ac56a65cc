"""The base of all images, a minimal Debian with Python made with debootstrap, and that with a C compiler.

They serve where no image registry is reached, and come from the mirror that this machine's own apt sources name. With
Docker, the Dockerfiles' defaults serve instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.files import surviving_power_cuts

if TYPE_CHECKING:
    from cluster.images import Builder

BASE = "overspill-base"
COMPILER = "overspill-compiler"
PACKAGES = ("ca-certificates", "python3", "python3-venv", "libgomp1", "libnuma1")
"""What the base has; libgomp1 and libnuma1 are vLLM's on CPU."""
COMPILER_PACKAGES = ("python3-dev", "gcc", "libc6-dev")
"""What the image that compiles has beside that."""
SOURCES = Path("/etc/apt")
REMOVED = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
)


@dataclass(frozen=True)
class Mirror:
    """Where Debian's packages come from."""

    address: str
    suite: str
    """Such as bookworm."""


def find_mirror(texts: list[str], codename: str) -> Mirror | None:
    """The first binary source of a release with its main component, in one-line or deb822 form."""
    for text in texts:
        for mirror in (*_deb822(text), *_one_line(text)):
            if mirror.suite == codename:
                return mirror
    return None


def _deb822(text: str) -> list[Mirror]:
    found = []
    for paragraph in text.split("\n\n"):
        lines = [line for line in paragraph.splitlines() if ":" in line and not line.startswith(("#", " "))]
        fields = {key.strip().lower(): value.split() for key, value in (line.split(":", 1) for line in lines)}
        enabled = fields.get("enabled", ["yes"])[0].lower() not in ("no", "false")
        if enabled and "deb" in fields.get("types", []) and "main" in fields.get("components", []):
            found += [
                Mirror(address, suite) for address in fields.get("uris", []) for suite in fields.get("suites", [])
            ]
    return found


def _one_line(text: str) -> list[Mirror]:
    found = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] != ["deb"]:
            continue
        if len(words) > 1 and words[1].startswith("["):
            closing = next((i for i, word in enumerate(words) if word.endswith("]")), len(words))
            words = [words[0], *words[closing + 1 :]]
        if len(words) > 3 and "main" in words[3:]:
            found.append(Mirror(words[1], words[2]))
    return found


def machine_mirror() -> Mirror:
    """The mirror of this machine."""
    release = platform.freedesktop_os_release()
    files = [
        *sorted(SOURCES.glob("sources.list.d/*.sources")),
        SOURCES / "sources.list",
        *sorted(SOURCES.glob("sources.list.d/*.list")),
    ]
    texts = [file.read_text() for file in files if file.exists()]
    mirror = find_mirror(texts, release.get("VERSION_CODENAME", ""))
    if mirror is None:
        raise RuntimeError(
            f"no apt source of {release.get('PRETTY_NAME')} was found in {SOURCES}: the base image is made from one"
        )
    return mirror


def ensure(builder: Builder, folder: Path) -> str:
    """The base's reference; it is made if it is not there."""
    mirror = machine_mirror()
    reference = _reference(BASE, mirror, PACKAGES, REMOVED)
    if reference not in builder.references():
        print(f"{BASE}: installing Debian {mirror.suite} into a folder (about 40 s) ...", flush=True)
        with _building(builder, folder, BASE, reference) as work:
            _debootstrap(mirror, PACKAGES, work / "root", folder / f"{BASE}.log")
            (work / "Dockerfile").write_text('FROM scratch\nCOPY root /\nCMD ["python3"]\n')
    return reference


def ensure_compiler(builder: Builder, folder: Path) -> str:
    """The reference of the base with a C compiler and Python's headers; it is made if it is not there."""
    base = ensure(builder, folder)
    reference = _reference(COMPILER, base, COMPILER_PACKAGES)
    if reference not in builder.references():
        print(f"{COMPILER}: adding a C compiler to the base (about 20 s) ...", flush=True)
        with _building(builder, folder, COMPILER, reference) as work:
            install = f"apt-get install --quiet --yes --no-install-recommends {' '.join(COMPILER_PACKAGES)}"
            (work / "Dockerfile").write_text(
                f"FROM {base}\nENV DEBIAN_FRONTEND=noninteractive\n"
                f"RUN apt-get update --quiet && {install} && rm -rf /var/lib/apt/lists/* /var/cache/apt/*\n"
            )
    return reference


def _reference(name: str, *recipe: object) -> str:
    return f"localhost/{name}:{hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]}"


@contextlib.contextmanager
def _building(builder: Builder, folder: Path, name: str, reference: str) -> Iterator[Path]:
    """A folder to put a Dockerfile and what it copies into; it is built when the block is left."""
    started = time.monotonic()
    work = Path(tempfile.mkdtemp(dir=folder, prefix=f"{name}-"))
    try:
        yield work
        with surviving_power_cuts(builder.storage):
            builder.run("bud", "--layers=false", "-t", reference, str(work), log=folder / f"{name}.build.log")
        builder.forget_others(name, keep=reference)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


def _debootstrap(mirror: Mirror, packages: tuple[str, ...], root: Path, log: Path) -> None:
    # In namespaces of its own: debootstrap mounts /proc, and nothing may stay behind when it is killed.
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    command += [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        mirror.suite,
        str(root),
        mirror.address,
    ]
    with log.open("wb") as file:
        ran = subprocess.run(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, check=False)
    if ran.returncode:
        raise RuntimeError(f"debootstrap failed (all of it in {log}):\n{log.read_text(errors='replace')[-1500:]}")
    for name in REMOVED:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True)

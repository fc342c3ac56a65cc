"""What the machine must have, checked before anything is started, and installed where that can be done.

Every lack is one sentence with the way out. Not here: what is done with the commands.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
WAY_OUT = "; or, with Docker: `make kind`"

# A command and the Debian package that brings it.
CONTROL_PLANE_NEEDS = {"openssl": "openssl"}
CLUSTER_NEEDS = {
    **CONTROL_PLANE_NEEDS,
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "mount": "mount",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
IMAGE_NEEDS = {"buildah": "buildah", "debootstrap": "debootstrap", "unshare": "util-linux"}
CNI_PACKAGE = "containernetworking-plugins"


class LackingError(Exception):
    """What this machine lacks: one sentence, with the way out."""


def cni_folder() -> Path | None:
    """Where the network plugins lie: Debian's folder, or the one upstream uses."""
    return next((folder for folder in CNI_FOLDERS if (folder / "bridge").exists()), None)


def _find(command: str) -> str | None:
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/go/bin")


def missing_packages(needs: dict[str, str], *, with_cni: bool = False) -> list[str]:
    """Debian packages whose commands are not there."""
    missing = {package for command, package in needs.items() if not _find(command)}
    if with_cni and cni_folder() is None:
        missing.add(CNI_PACKAGE)
    return sorted(missing)


def prepare_control_plane() -> None:
    """All that a control plane needs; no root unless a package is missing."""
    _check_platform()
    go()
    _install(missing_packages(CONTROL_PLANE_NEEDS))


def prepare_cluster() -> None:
    """All that a whole cluster needs."""
    _check_platform()
    _check_root("a cluster with real pods")
    go()
    _install(missing_packages(CLUSTER_NEEDS, with_cni=True))
    _check_namespaces()


def prepare_images() -> None:
    """All that building images needs."""
    _check_platform()
    _check_root("building images without Docker")
    _install(missing_packages(IMAGE_NEEDS))


def _check_platform() -> None:
    if sys.platform != "linux":
        raise LackingError(f"this is {sys.platform}, and a cluster without Docker needs Linux{WAY_OUT}")


def _check_root(what: str) -> None:
    if os.geteuid() != 0:
        raise LackingError(f"{what} needs root (namespaces, mounts, cgroups): run it with sudo{WAY_OUT}")


def _check_namespaces() -> None:
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--", "true"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise LackingError(
            f"root may not make namespaces here ({ran.stderr.strip()}), as in a container without privileges: "
            f"run it on the machine itself or in a privileged container{WAY_OUT}"
        )


def go() -> str:
    """The Go command, also where its installer puts it and `sudo` does not look."""
    found = _find("go")
    if found is None:
        raise LackingError(
            "Go is not on the PATH, and the cluster's binaries are built from Go modules: install Go 1.24 or newer "
            f"(https://go.dev/doc/install){WAY_OUT}"
        )
    return found


def _install(packages: list[str]) -> None:
    if not packages:
        return
    names = " ".join(packages)
    if not shutil.which("apt-get"):
        raise LackingError(f"this machine lacks what Debian calls {names}, and has no apt-get: install them{WAY_OUT}")
    if os.geteuid() != 0:
        raise LackingError(f"this machine lacks {names}: run `sudo apt-get install {names}`{WAY_OUT}")
    print(f"installing Debian packages: {names}", flush=True)
    started = time.monotonic()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        ran = subprocess.run(["apt-get", *arguments], env=environment, capture_output=True, text=True, check=False)
        # `update` also fails when one of many sources is down; what counts is that the install works.
        if ran.returncode and arguments[0] == "install":
            said = (ran.stdout + ran.stderr)[-2000:]
            raise LackingError(f"apt-get could not install {names}: install them by hand{WAY_OUT}. It said:\n{said}")
    print(f"installed in {time.monotonic() - started:.0f} s", flush=True)

"""containerd's image store of one cluster, as the `ctr` command shows it. Its images outlive the cluster.

What a cluster leaves there besides images, the records of its containers, is removed before the next one
starts, so that ending a cluster needs no help from containerd and a crash ends it as well as `down` does.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.api import wait_until
from cluster.files import discard_if_cut_off, surviving_power_cuts
from cluster.plan import Wait
from cluster.supervisor import holds

NAMESPACE = "k8s.io"
"""Where kubelet's containers and images are."""
START_SECONDS = 30.0
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class CommandImage:
    """An image of one static binary and nothing else."""

    name: str
    binary: Path

    @property
    def argument(self) -> str:
        """As the command line `prepare-store` takes it."""
        return f"{self.name}={self.binary}"

    @property
    def reference(self) -> str:
        """Tagged by the build that the binary is from: another build is another image."""
        return f"localhost/{self.name}:{self.binary.parent.name.rsplit('-', 1)[-1]}"


def write_archive(image: CommandImage, archive: Path) -> None:
    """A docker-archive that holds the binary as its only layer. The same binary gives the same bytes."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        _add(tar, image.name, image.binary.read_bytes(), 0o755)
    content = layer.getvalue()
    config = {
        "os": "linux",
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "config": {"Entrypoint": [f"/{image.name}"], "User": "65534:65534"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [image.reference], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        _add(tar, "layer.tar", content, 0o644)
        _add(tar, "config.json", json.dumps(config).encode(), 0o644)
        _add(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


@dataclass(frozen=True)
class ImageStore:
    """A containerd that listens on a socket."""

    socket: Path

    def run(self, *arguments: str) -> str:
        """One `ctr` command, and what it printed."""
        command = ["ctr", "--address", str(self.socket), "--namespace", NAMESPACE, *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"ctr {' '.join(arguments)} failed: {ran.stderr.strip()[-1000:]}")
        return ran.stdout

    def references(self) -> list[str]:
        """The names of all images."""
        return self.run("images", "ls", "-q").split()

    def import_archive(self, archive: Path) -> None:
        """Take in an archive's images and unpack them."""
        self.run("images", "import", str(archive))

    def remove(self, references: list[str]) -> None:
        """Forget images; their content goes unless another image shares it."""
        if not references:
            return
        self.run("images", "rm", *references)
        # Kubernetes' part of containerd adds a name by digest to each image, which holds the content as well.
        lines = [line.split() for line in self.run("images", "ls").splitlines()[1:]]
        named = {line[2] for line in lines if not line[0].startswith("sha256:")}
        if unnamed := [line[0] for line in lines if line[0].startswith("sha256:") and line[2] not in named]:
            self.run("images", "rm", "--sync", *unnamed)

    def drop_packed_layers(self) -> None:
        """Halve the disk space: once a layer is unpacked, nothing reads its archive again."""
        self.run("content", "prune", "references")

    def remove_containers(self) -> None:
        """Drop the records and the writable layers of containers that no longer run."""
        if containers := self.run("containers", "ls", "-q").split():
            self.run("containers", "rm", *containers)


@contextmanager
def without_kubernetes(root: Path, folder: Path) -> Iterator[ImageStore]:
    """A containerd on the store with its Kubernetes part off, for work before the cluster's own starts."""
    work = Path(tempfile.mkdtemp(dir=folder, prefix="store-"))
    config, socket = work / "containerd.toml", work / "socket"
    config.write_text(
        f'version = 2\nroot = "{root}"\nstate = "{work}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{socket}"\n'
    )
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(["containerd", "--config", str(config)], stdout=log, stderr=log)
    try:
        said = lambda: (work / "log").read_text()[-1500:]  # noqa: E731
        wait_until(lambda: holds(Wait("unix", str(socket))), "containerd listens", START_SECONDS, said)
        yield ImageStore(socket)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(work, ignore_errors=True)


def prepare(root: Path, folder: Path, images: list[CommandImage]) -> None:
    """Before a cluster starts: nothing left of the last one's containers, and these images there."""
    discard_if_cut_off(root)
    with without_kubernetes(root, folder) as store:
        store.remove_containers()
        present = store.references()
        if lacking := [image for image in images if image.reference not in present]:
            with surviving_power_cuts(root):
                for image in lacking:
                    archive = folder / f"{image.name}.tar"
                    write_archive(image, archive)
                    store.import_archive(archive)
                    archive.unlink()
                store.drop_packed_layers()
        wanted = {image.reference for image in images}
        names = {reference.rsplit(":", 1)[0] for reference in wanted}
        store.remove([ref for ref in present if ref.rsplit(":", 1)[0] in names and ref not in wanted])

"""The project's images: built with buildah from the Dockerfiles that people ship, loaded into a running cluster.

An image's tag is the hash of all that it is made from, so nothing is built or loaded twice; `:dev` names the
newest. Every step runs in mount and PID namespaces of its own: a build that is killed leaves no mount and no process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster import base_image
from cluster.files import discard_if_cut_off, exclusive, surviving_power_cuts
from cluster.image_store import NAMESPACE, ImageStore
from cluster.places import CHECKOUT, Places

SANDBOX = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
COMPILED = "compiled"
"""Folder in the cache with the gateway as its image has it compiled, by what it was made from, for tests to take: the
image is made of this machine's own distribution."""
UNNAMED_IMAGES_MAX = 150
"""buildah keeps each step as an unnamed image to build on; beyond this many all of them go."""
CERTIFICATES = Path("/etc/ssl/certs")
PASSED_ON = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)
"""How this machine reaches the package registries, for those RUN steps that declare the ARG."""


@dataclass(frozen=True)
class Image:
    """One image of the project."""

    name: str
    dockerfile: str
    """Path in the checkout; the checkout is the build's context."""
    inputs: tuple[str, ...]
    """Files and folders that the Dockerfile copies: they and it make the hash."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Build arguments beside BASE."""
    compiles: bool = False
    """Whether a stage of its build needs a C compiler: COMPILER."""


DISTRIBUTION = ("pyproject.toml", "README.md", "LICENSE", "api", "operator", "inference/src", "cli", "planner")
IMAGES = (
    Image("overspill-operator", "operator/Dockerfile", (*DISTRIBUTION, "requirements/operator.txt")),
    Image(
        "overspill-gateway",
        "inference/Dockerfile",
        (
            *DISTRIBUTION,
            "requirements/gateway.txt",
            "requirements/compile.txt",
            "scripts/compile-gateway",
            "scripts/check-compiled",
        ),
        compiles=True,
    ),
    Image("overspill-standin", "tests/standin/Dockerfile", ("tests/standin",)),
    Image(
        "overspill-engine-cpu",
        "inference/engine/Dockerfile.cpu",
        (
            "box/src/overspill_box/environments/trim.py",
            *(f"inference/engine/{name}" for name in ("tiny_model.py", "check_model.py")),
        ),
        # Torch from PyPI: a machine of tests reaches the package registries and may not reach PyTorch's index.
        {"TORCH_FROM": "pypi"},
    ),
)


def content_hash(image: Image, bases: Mapping[str, str], checkout: Path = CHECKOUT) -> str:
    """Tells whether an image must be built: any change of an input, of the base or of an argument changes it."""
    digest = hashlib.sha256(repr((image.name, sorted(bases.items()), sorted(image.arguments.items()))).encode())
    for name in (image.dockerfile, *image.inputs):
        top = checkout / name
        if not top.exists():
            raise ValueError(f"{image.name} is made from {name}, which is not in {checkout}")
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts and not path.name.endswith(".egg-info"):
                executable = os.access(path, os.X_OK)
                digest.update(f"{path.relative_to(checkout)}\0{executable}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Builder:
    """buildah with its storage in the cache; only one runs at a time."""

    folder: Path
    """Storage, logs, and what cache mounts hold while a build is under way."""

    @property
    def storage(self) -> Path:
        """Where buildah keeps layers."""
        return self.folder / "storage"

    def command(self, *arguments: str) -> list[str]:
        """One buildah command line."""
        stores = ["--root", str(self.storage), "--runroot", str(self.folder / "run")]
        return [*SANDBOX, "buildah", *stores, "--storage-driver", "overlay", *arguments]

    def run(self, *arguments: str, log: Path | None = None) -> str:
        """What a command printed; with `log`, that goes to a file."""
        environment = {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(self.folder / "temporary")}
        (self.folder / "temporary").mkdir(parents=True, exist_ok=True)
        ran = subprocess.run(
            self.command(*arguments),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if log is not None:
            log.write_text(ran.stdout)
        if ran.returncode:
            where = f" (all of it in {log})" if log else ""
            raise RuntimeError(f"buildah {arguments[0]} failed{where}:\n{ran.stdout[-3000:]}")
        return ran.stdout

    def references(self) -> list[str]:
        """The names of all named images."""
        listed = self.run("images", "--format", "{{.Name}}:{{.Tag}}").split()
        return [reference for reference in listed if not reference.startswith("<none>")]

    def build(self, image: Image, reference: str, bases: Mapping[str, str]) -> None:
        """Run the Dockerfile, with this machine's certificates for steps that reach the package registries."""
        certificate = str(CERTIFICATES / "ca-certificates.crt")
        arguments = {**bases, "SSL_CERT_FILE": certificate, "PIP_CERT": certificate, **image.arguments}
        arguments.update({name: os.environ[name] for name in PASSED_ON if name in os.environ})
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        options += ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
        log = self.folder / f"{image.name}.log"
        self.run(
            "bud",
            "--layers",
            "--force-rm",
            "-f",
            str(CHECKOUT / image.dockerfile),
            "-t",
            reference,
            *options,
            str(CHECKOUT),
            log=log,
        )

    def content(self, reference: str) -> str:
        """The digest that names an image's content, in containerd as well."""
        return self.run("images", "--no-trunc", "--quiet", reference).strip()

    def take_compiled(self, reference: str, target: Path) -> None:
        """Copy what an image has compiled into a folder under ``target``, named by what it was made from."""
        script = (
            'set -eu; container=$(buildah "$@" from --pull-never "$REFERENCE")\n'
            'from=$(buildah "$@" mount "$container")/opt/overspill; to=$TARGET/$(cat "$from/made-from")\n'
            'if [ ! -d "$to" ]; then rm -rf "$to.new"; mkdir -p "$to.new"\n'
            '  cp -a "$from/overspill_gateway" "$from"/*__mypyc.*.so "$from/made-from" "$to.new"\n'
            '  mv "$to.new" "$to"; fi\n'
            'buildah "$@" rm "$container" >/dev/null\n'
        )
        stores = ["--root", str(self.storage), "--runroot", str(self.folder / "run"), "--storage-driver", "overlay"]
        environment = {**os.environ, "REFERENCE": reference, "TARGET": str(target)}
        subprocess.run([*SANDBOX, "sh", "-c", script, "sh", *stores], env=environment, check=True)

    def clear_failed(self) -> None:
        """Remove what failed and killed builds left: gigabytes each for a large image."""
        if self.run("containers", "--quiet").strip():
            self.run("rm", "--all")

    def forget_others(self, name: str, keep: str) -> None:
        """Remove the older images of a name, and all unnamed ones when there are many."""
        if others := [ref for ref in self.references() if ref.startswith(f"localhost/{name}:") and ref != keep]:
            self.run("rmi", *others)
        if self.run("images", "--all", "--quiet", "--filter", "dangling=true").count("\n") > UNNAMED_IMAGES_MAX:
            self.run("rmi", "--prune")

    def load(self, reference: str, store: ImageStore) -> None:
        """Stream an image into containerd, without a file between."""
        push = subprocess.Popen(
            self.command("push", "--quiet", reference, f"docker-archive:/dev/stdout:{reference}"),
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(self.folder / "temporary")},
        )
        assert push.stdout is not None
        address = ["--address", str(store.socket), "--namespace", NAMESPACE]
        imported = subprocess.run(
            ["ctr", *address, "images", "import", "-"], stdin=push.stdout, capture_output=True, text=True, check=False
        )
        push.stdout.close()
        if push.wait() or imported.returncode:
            raise RuntimeError(f"{reference} could not be loaded into containerd: {imported.stderr.strip()[-1000:]}")


def images_named(names: list[str]) -> list[Image]:
    """The images of these names, all without a name."""
    known = {image.name: image for image in IMAGES}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no image {unknown[0]!r}: there are {', '.join(known)}")
    return [known[name] for name in names] or list(IMAGES)


def build_and_load(places: Places, images: list[Image], store: ImageStore | None) -> dict[str, str]:
    """Build what is not built, load what is not loaded (without a store: build only); reference by name."""
    folder = places.cache / "images"
    builder = Builder(folder)
    with exclusive(folder / "lock", "another image build is running; waiting"):
        discard_if_cut_off(builder.storage)
        base = {"BASE": base_image.ensure(builder, folder)}
        references = {}
        for image in images:
            bases = base
            if image.compiles:
                bases = base | {"COMPILER": base_image.ensure_compiler(builder, folder)}
            references[image.name] = _ensure(builder, image, bases, places, store)
        # Downloads that a repeated build would want again, but several times the size of what came of them.
        shutil.rmtree(folder / "temporary", ignore_errors=True)
    return references


def _ensure(builder: Builder, image: Image, bases: Mapping[str, str], places: Places, store: ImageStore | None) -> str:
    """Build and load one image as far as needed; its reference."""
    while True:
        reference = f"localhost/{image.name}:{content_hash(image, bases)}"
        if store is not None and reference in store.references():
            break
        if reference not in builder.references():
            builder.clear_failed()
            with surviving_power_cuts(builder.storage), _timed(f"{image.name}: building"):
                builder.build(image, reference, bases)
            if image.compiles:
                builder.take_compiled(reference, places.cache / COMPILED)
            if reference != f"localhost/{image.name}:{content_hash(image, bases)}":
                # Its inputs were edited meanwhile: what was built is not what the tag says.
                builder.run("rmi", reference)
                continue
            builder.forget_others(image.name, keep=reference)
        if store is not None and (content := builder.content(reference)) in store.references():
            store.run("images", "tag", "--force", content, reference)  # another hash, and yet the same image
        elif store is not None:
            with surviving_power_cuts(places.image_store), _timed(f"{image.name}: loading"):
                builder.load(reference, store)
                store.drop_packed_layers()
        break
    if store is not None:
        _make_newest(store, image.name, reference)
    return reference


def _make_newest(store: ImageStore, name: str, reference: str) -> None:
    """Point `:dev` at an image and drop the older ones of its name."""
    newest = f"localhost/{name}:dev"
    store.run("images", "tag", "--force", reference, newest)
    others = [
        ref for ref in store.references() if ref.startswith(f"localhost/{name}:") and ref not in (reference, newest)
    ]
    store.remove(others)


@contextlib.contextmanager
def _timed(what: str) -> Iterator[None]:
    print(f"{what} ...", flush=True)
    started = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - started:.0f} s", flush=True)


def disk_use(places: Places) -> str:
    """What all of it takes, for people to judge."""
    sizes = []
    for name in ("images", "containerd", "binaries"):
        ran = subprocess.run(["du", "-sxk", str(places.cache / name)], capture_output=True, text=True, check=False)
        if ran.stdout:
            sizes.append(f"{name} {int(ran.stdout.split()[0]) / 1e6:.1f} GB")
    return ", ".join(sizes)

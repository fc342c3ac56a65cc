"""What tells whether an image must be built, and what the base is made from."""

import dataclasses
import io
import json
import tarfile
from pathlib import Path

import pytest

from cluster.base_image import Mirror, find_mirror
from cluster.image_store import CommandImage, write_archive
from cluster.images import IMAGES, Image, content_hash, images_named
from cluster.places import CHECKOUT

BASES = {"BASE": "base:1"}
IMAGE = Image("a", "Dockerfile", ("src",))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one image in it."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.py").write_text("print()")
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    return tmp_path


def test_an_image_is_named_by_all_that_it_is_made_from(checkout: Path) -> None:
    """A changed source, Dockerfile, base or argument makes another image."""
    hashes = {content_hash(IMAGE, BASES, checkout)}
    hashes.add(content_hash(IMAGE, {"BASE": "base:2"}, checkout))
    hashes.add(content_hash(dataclasses.replace(IMAGE, arguments={"TORCH": "2"}), BASES, checkout))
    (checkout / "src" / "main.py").write_text("print(1)")
    hashes.add(content_hash(IMAGE, BASES, checkout))
    (checkout / "Dockerfile").write_text("FROM scratch\nUSER 1")
    hashes.add(content_hash(IMAGE, BASES, checkout))
    (checkout / "src" / "main.py").chmod(0o755)
    hashes.add(content_hash(IMAGE, BASES, checkout))
    assert len(hashes) == 6


def test_what_the_image_does_not_contain_does_not_count(checkout: Path) -> None:
    """Bytecode and files outside the inputs change nothing."""
    before = content_hash(IMAGE, BASES, checkout)
    (checkout / "src" / "__pycache__").mkdir()
    (checkout / "src" / "__pycache__" / "main.pyc").write_text("x")
    (checkout / "README.md").write_text("x")
    assert content_hash(IMAGE, BASES, checkout) == before


def test_a_missing_input_is_named(checkout: Path) -> None:
    """Better than a Dockerfile's COPY that fails a minute later."""
    with pytest.raises(ValueError, match="made from other"):
        content_hash(dataclasses.replace(IMAGE, inputs=("other",)), BASES, checkout)


def test_an_unknown_image_is_refused_with_the_known_ones() -> None:
    """All images without a name, and a typing error says what there is."""
    assert images_named([]) == list(IMAGES)
    with pytest.raises(ValueError, match="overspill-operator"):
        images_named(["operater"])


def test_inputs_are_what_the_dockerfiles_copy() -> None:
    """A folder that a Dockerfile copies and the hash leaves out would leave a stale image in use."""
    for image in IMAGES:
        lines = (CHECKOUT / image.dockerfile).read_text().splitlines()
        copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
        for source in (source.rstrip("/") for sources in copied for source in sources if not source.startswith("--")):
            assert any(f"{source}/".startswith(f"{given}/") for given in image.inputs), (image.name, source)


def test_a_command_image_is_one_layer_with_the_binary(tmp_path: Path) -> None:
    """The same binary gives the same bytes, so that loading it twice is no change."""
    binary = tmp_path / "node-abc123" / "pause"
    binary.parent.mkdir()
    binary.write_bytes(b"ELF")
    image = CommandImage("pause", binary)
    write_archive(image, tmp_path / "1.tar")
    write_archive(image, tmp_path / "2.tar")
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    with tarfile.open(tmp_path / "1.tar") as archive:
        content = {member.name: archive.extractfile(member) for member in archive}
        files = {name: file.read() for name, file in content.items() if file is not None}
    assert json.loads(files["manifest.json"])[0]["RepoTags"] == ["localhost/pause:abc123"]
    assert json.loads(files["config.json"])["config"]["Entrypoint"] == ["/pause"]
    with tarfile.open(fileobj=io.BytesIO(files["layer.tar"])) as layer:
        assert [(member.name, member.mode) for member in layer] == [("pause", 0o755)]


DEB822 = """# the archive
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
"""


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([DEB822], Mirror("http://mirror.example/debian", "bookworm")),
        (["deb http://a.example/debian bookworm main contrib\n"], Mirror("http://a.example/debian", "bookworm")),
        (["deb [arch=amd64 signed-by=/k] http://a.example bookworm main\n"], Mirror("http://a.example", "bookworm")),
        (["deb-src http://a.example bookworm main\n", "deb http://a.example trixie main\n"], None),
        (["deb http://vendor.example stable extra\n", DEB822], Mirror("http://mirror.example/debian", "bookworm")),
        ([DEB822.replace("Types: deb\n", "Types: deb\nEnabled: no\n")], None),
    ],
)
def test_the_mirror_is_the_one_that_apt_uses(texts: list[str], expected: Mirror | None) -> None:
    """Both forms of apt's sources are read; other suites, vendors and disabled ones are passed over."""
    assert find_mirror(texts, "bookworm") == expected

"""Consumers of ``overspill serve``: a file each in its state directory, which it reads within a second."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from overspill_box.app.state_directory import StateDirectory, StateError, default_folder, write_whole
from overspill_cli.errors import CommandError

NAMESPACE: Final = "default"

Object = dict[str, Any]


class LocalConsumers:
    """What the commands ask of a cluster, of files: ``cluster.Cluster``."""

    namespace = NAMESPACE

    def __init__(self, state: str | None) -> None:
        """``state``: the state directory; None: the user's. Raises CommandError."""
        self._state = StateDirectory(Path(state) if state else default_folder(os.environ))
        with _readable_errors():
            self._state.make()

    def pepper(self, namespace: str, secret: str) -> bytes | None:  # noqa: ARG002 - there is one
        """Pepper of this machine; made where there is none."""
        with _readable_errors():
            return self._state.pepper()

    def consumer(self, namespace: str, name: str) -> Object | None:
        """One Consumer, None where there is none."""
        path = self._path(namespace, name)
        return _read(path) if path.exists() else None

    def consumers(self, namespace: str | None) -> list[Object]:
        """Consumers of one namespace, or of all."""
        found = [_read(path) for path in sorted(self._state.consumers.glob("*.yaml"))]
        return [consumer for consumer in found if namespace in (None, consumer["metadata"]["namespace"])]

    def has_namespace(self, name: str) -> bool | None:  # noqa: ARG002 - see below
        """Whether there is such a namespace: here each is."""
        return True

    def create_namespace(self, name: str) -> None:
        """Make a namespace: there is nothing to be made."""

    def route_names(self, namespace: str) -> frozenset[str] | None:  # noqa: ARG002 - it is not known
        """Names of the ModelRoutes in a namespace: their files are only known to serve."""
        return None

    def create(self, consumer: Object) -> None:
        """Create a Consumer."""
        meta = consumer["metadata"]
        self._write(self._path(meta["namespace"], meta["name"]), consumer)

    def change(self, namespace: str, name: str, change: Callable[[Object], Object]) -> None:
        """Change the spec of a Consumer by what ``change`` gives for its present state."""
        with self._alone():
            present = self.consumer(namespace, name)
            if present is None:
                raise CommandError(f"there is no Consumer {name} in namespace {namespace}: overspill keys list --local")
            changed = {**present, "spec": {**present.get("spec", {}), **change(present)}}
            self._write(self._path(namespace, name), changed)

    def _path(self, namespace: str, name: str) -> Path:
        return self._state.consumers / f"{namespace}.{name}.yaml"

    def _write(self, path: Path, consumer: Object) -> None:
        with _readable_errors():
            write_whole(path, yaml.safe_dump(consumer, sort_keys=False))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other command changes a Consumer here."""
        with _readable_errors(), (self._state.consumers / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except (StateError, OSError) as error:
        raise CommandError(str(error)) from error


def _read(path: Path) -> Object:
    """A Consumer. Raises CommandError for what is none."""
    try:
        content = yaml.safe_load(path.read_text())
        name, namespace = content["metadata"]["name"], content["metadata"].setdefault("namespace", NAMESPACE)
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise CommandError(f"{path} is no Consumer that can be read: mend it, or delete it") from error
    if not isinstance(name, str) or not isinstance(namespace, str):
        raise CommandError(f"{path} is no Consumer that can be read: mend it, or delete it")
    found: Object = content
    return found

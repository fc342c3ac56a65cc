"""Sees changes of Kubernetes objects as they happen, by ``kubectl get --watch``, each with the time it was seen.

kubectl's own delay (some milliseconds) counts against what is measured.
"""

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from e2e.kubernetes_cli import Cluster, GaveUpError


@dataclass(frozen=True)
class Seen:
    """One line that a watch printed."""

    at: float
    """When, on the clock of time.monotonic."""
    text: str
    """What."""


class Watch:
    """A running ``kubectl get ... --watch`` whose lines are kept with their times; a context manager."""

    def __init__(self, cluster: Cluster, *arguments: str) -> None:
        self._arguments = " ".join(arguments)
        self._process = subprocess.Popen(
            ["kubectl", "get", *arguments, "--watch"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            env=cluster.environment,
        )
        self._changed = threading.Condition()
        self._lines: list[Seen] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(Seen(time.monotonic(), line.strip()))
                self._changed.notify_all()

    @property
    def lines(self) -> list[Seen]:
        """All that was seen so far."""
        with self._changed:
            return list(self._lines)

    def first(self, matches: Callable[[str], bool], after: float, seconds: float) -> Seen:
        """The first line after a time that matches; GaveUpError when none comes in so many seconds."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for seen in self._lines:
                    if seen.at >= after and matches(seen.text):
                        return seen
                left = deadline - time.monotonic()
                if left <= 0:
                    last = self._lines[-1].text if self._lines else "nothing"
                    raise GaveUpError(f"no such line in {seconds:.0f} s of {self._arguments}; last: {last}")
                self._changed.wait(left)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=10)
        self._thread.join(timeout=10)
        assert self._process.stdout is not None
        self._process.stdout.close()

"""The listener's certificate: read from files, and anew whenever they change, without touching open connections.

A Secret's files in a pod are symlinks that the kubelet swaps all at once, so what they lead to is watched, and both
files are read from one swap. A pair that can't be used changes nothing: the last good one goes on, and the log says so.
"""

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Final

from overspill_gateway.wire.own_thread import in_own_thread

logger = logging.getLogger(__name__)

_CHECK_SECONDS: Final = 5.0
_Version = tuple[tuple[str, int, int, int], ...]
"""For each file: where its symlinks lead to, its inode, its length, and when it was changed."""


class TlsFiles:
    """A certificate chain and its key, for new connections always as they are on disk now."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.reloads = 0
        """Pairs that were taken over since the start."""
        self.refused = 0
        """Looks at a pair that could not be used."""
        self._certificate = certificate
        self._key = key
        self._version = self._read_version()
        self._current = self._load()
        self._timer: asyncio.TimerHandle | None = None
        self._look: asyncio.Task[None] | None = None
        self._complaint = ""

    def watch(self) -> ssl.SSLContext:
        """The context to listen with; the files are looked at from now on. ``close`` ends it."""
        context = _new_context()
        certificate, key = self._resolved()
        context.load_cert_chain(certificate, key)
        context.sni_callback = self._choose
        self._later()
        return context

    def close(self) -> None:
        """Look at the files no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._look is not None:
            self._look.cancel()

    def look_now(self) -> None:
        """Look at the files now rather than at the next time."""
        if self._timer is not None:
            self._timer.cancel()
            self._tick()

    def check(self) -> None:
        """Take a changed pair over, if it can be used; waits for the disk."""
        try:
            self._take(self.load_if_changed())
        except OSError as error:  # SSLError is one
            self._complain(str(error))

    async def _check_beside(self) -> None:
        """The same, waiting beside the event loop: a disk that hangs keeps nobody else."""
        try:
            self._take(await in_own_thread(self.load_if_changed, "certificate"))
        except OSError as error:
            self._complain(str(error))

    def _take(self, changed: "tuple[_Version, ssl.SSLContext] | None") -> None:
        self._complaint = ""
        if changed is None:
            return
        self._version, self._current = changed
        self.reloads += 1
        logger.info("the TLS certificate has changed", extra={"certificate": str(self._certificate)})

    def _complain(self, reason: str) -> None:
        self.refused += 1
        if reason != self._complaint:
            self._complaint = reason
            logger.error(
                "the new TLS certificate can't be used; the last good one is served on",
                extra={"certificate": str(self._certificate), "key": str(self._key), "reason": reason},
            )

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:  # noqa: ARG002
        """Called in each handshake, with a server name or without: serve the pair that is current."""
        connection.context = self._current

    def _later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_CHECK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._look is None or self._look.done():
            self._look = asyncio.get_running_loop().create_task(self._check_beside())
        self._later()

    def load_if_changed(self) -> tuple[_Version, ssl.SSLContext] | None:
        """The pair as it is in the files now; None: it is the one that is served. It reads the disk."""
        version = self._read_version()
        return None if version == self._version else (version, self._load())

    def _load(self) -> ssl.SSLContext:
        context = _new_context()
        context.load_cert_chain(*self._resolved())
        return context

    def _resolved(self) -> tuple[Path, Path]:
        return self._certificate.resolve(strict=True), self._key.resolve(strict=True)

    def _read_version(self) -> _Version:
        files = [(path, path.stat()) for path in self._resolved()]
        return tuple((str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in files)


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # for TLS 1.2; those of 1.3 are all good
    return context

"""Answers that come compressed although they were asked for plain: unpacked in slices, or named where nobody can.

gzip and deflate are unpacked. A slice bounds what one step makes of however little came, so that neither memory nor the
event loop is at a backend's mercy; what all slices together may be is bounded where answers are kept. Not here: pacing.
"""

import zlib
from typing import Final

from overspill_gateway.core.http.head import Header

SLICE_BYTES_MAX: Final = 16 * 1024
"""Unpacked at a time: less than a tenth of a millisecond, however little came."""
_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_RAW_DEFLATE: Final = -15
_GZIP_MAGIC: Final = b"\x1f\x8b"


def coding_of(headers: list[Header]) -> str:
    """How an answer is packed; empty: it is not."""
    codings = ""
    for name, value in headers:
        if name == b"content-encoding":
            coding = value.strip().lower().decode("latin-1")
            if coding not in {"", "identity"}:
                codings = f"{codings}, {coding}" if codings else coding
    return codings


def is_unpacked(coding: str) -> bool:
    """Whether answers that are packed so can be unpacked."""
    return coding in _WINDOW_BITS


def unpacked_head(headers: list[Header]) -> list[Header]:
    """The head of an answer once it is unpacked: of another length, and no coding."""
    return [header for header in headers if header[0] not in {b"content-encoding", b"content-length"}]


class Unpacker:
    """One answer that is being unpacked."""

    __slots__ = ("_coding", "_done", "_framed", "_packed", "_unpacks", "fault")

    def __init__(self, coding: str) -> None:
        self.fault: str | None = None
        """Why it can't be unpacked any further."""
        self._coding = coding
        self._packed = b""
        self._done = False
        self._framed = coding != "deflate"
        self._unpacks = zlib.decompressobj(_WINDOW_BITS[coding])

    @property
    def has_more(self) -> bool:
        """Whether there may be a further slice of what has come."""
        # Deflate's frame, where it is there, has two bytes.
        return len(self._packed) > (0 if self._framed else 1) and self.fault is None

    def feed(self, data: bytes) -> None:
        """More of the packed answer."""
        if self.fault is None:
            self._packed += data

    def slice(self) -> bytes:
        """The next slice of what has come."""
        if not self.has_more:
            return b""
        packed, self._packed = self._packed, b""
        try:
            return self._unpacked(packed)
        except zlib.error as error:
            self.fault = f"its answer says content-encoding {self._coding} and is not packed so ({error})"
            return b""

    def close(self) -> None:
        """That was all: it has a fault if its end is missing."""
        if self.fault is None and not self._done:
            self.fault = f"its answer in content-encoding {self._coding} lacks its end"

    def _unpacked(self, packed: bytes) -> bytes:
        if self._done:
            if self._coding == "deflate" or not packed.startswith(_GZIP_MAGIC):
                return b""  # padding
            self._unpacks = zlib.decompressobj(_WINDOW_BITS[self._coding])  # another member
            self._done = False
        try:
            data = self._unpacks.decompress(packed, SLICE_BYTES_MAX)
        except zlib.error:
            if self._framed:
                raise
            self._unpacks = zlib.decompressobj(_RAW_DEFLATE)
            data = self._unpacks.decompress(packed, SLICE_BYTES_MAX)
        self._framed = True  # some servers leave deflate's frame out, which shows at its first bytes
        self._done = self._unpacks.eof
        self._packed = self._unpacks.unconsumed_tail or self._unpacks.unused_data
        return data

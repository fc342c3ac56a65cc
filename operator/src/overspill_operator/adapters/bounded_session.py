"""HTTP answers within bounds of size and time, for libraries that read whatever comes; redirects are not followed.

``requests`` waits for a socket's next bytes, however often, and keeps all of them. Not here: what is asked of whom.
"""

import io
from collections.abc import Callable
from typing import Any, Final

from requests import RequestException, Response, Session

PIECE_BYTES: Final = 256 * 1024


class BoundedSession(Session):
    """A session of ``requests`` whose answers have bounds."""

    def __init__(self, bytes_max: int, seconds_max: float, monotonic: Callable[[], float]) -> None:
        """``bytes_max``: of a body, unpacked; ``seconds_max``: for a body, from its head on, by ``monotonic``."""
        super().__init__()
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._monotonic = monotonic

    def request(self, method: str, url: str | bytes, *arguments: Any, **options: Any) -> Response:
        """As ``Session.request``; raises ``RequestException`` for an answer beyond the bounds."""
        options |= {"stream": True, "allow_redirects": False}
        response = super().request(method, url, *arguments, **options)
        try:
            content = self._read(response.raw)
        finally:
            response.close()
        response.raw = io.BytesIO(content)
        return response

    def _read(self, raw: Any) -> bytes:
        """The body."""
        until = self._monotonic() + self._seconds_max
        pieces = bytearray()
        while piece := raw.read1(PIECE_BYTES, decode_content=True):
            pieces += piece
            if len(pieces) > self._bytes_max:
                raise RequestException(f"the answer has more than {self._bytes_max} bytes")
            if self._monotonic() > until:
                raise RequestException(f"the answer was not there within {self._seconds_max:g} s")
        return bytes(pieces)

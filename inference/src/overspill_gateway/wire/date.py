"""The Date field of answers, made once a second."""

import time
from email.utils import formatdate


class DateLine:
    """The header line, for as many answers of one second as there are."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def now(self) -> bytes:
        """``date: Sun, 06 Nov 1994 08:49:37 GMT`` and its line end."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = b"date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line

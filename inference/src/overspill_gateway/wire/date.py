"""The Date field of answers, made once a second."""

from email.utils import formatdate

from overspill_gateway.clock import Clock


class DateLine:
    """The header line, for as many answers of one second as there are."""

    __slots__ = ("_clock", "_line", "_second")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._line = b""

    def line(self) -> bytes:
        """``date: Sun, 06 Nov 1994 08:49:37 GMT`` and its line end."""
        second = int(self._clock.unix())
        if second != self._second:
            self._second = second
            self._line = b"date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line

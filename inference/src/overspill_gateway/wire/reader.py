"""Reads requests out of a client's bytes: framing, limits, refusals. It answers nothing and knows no deadline.

llhttp parses; ``core.head`` decides what of a head is accepted. A request is ready when its whole message was found
good, so that nothing of an ambiguous one ever goes on.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import httptools

from overspill_gateway.core.errors import ApiError, malformed
from overspill_gateway.core.head import Head, Header, read_head
from overspill_gateway.wire.limits import Limits

_SWALLOWED_BYTES_MAX: Final = 256 * 1024
"""A refused request's body up to this long is read away, so that the connection can be used again."""


class Incoming:
    """One request that was read, or why it is refused."""

    __slots__ = ("body", "head", "keep_alive", "refusal")

    def __init__(self, head: Head | None, body: bytes, refusal: ApiError | None, *, keep_alive: bool) -> None:
        self.head = head
        self.body = body
        self.refusal = refusal
        self.keep_alive = keep_alive


class _Stop(Exception):  # noqa: N818 - it stops the parser, which is no error
    """Raised inside a callback of the parser: read no further."""


class RequestReader:
    """Reads the requests of one connection."""

    def __init__(
        self, limits: Limits, admit: Callable[[Head], ApiError | None], say_continue: Callable[[], None]
    ) -> None:
        self.ready: deque[Incoming] = deque()
        """Requests that wait to be answered, in their order."""
        self.in_message = False
        """Whether a request has begun and not ended."""
        self.stopped = False
        """Whether further bytes have no meaning."""
        self._limits = limits
        self._admit = admit
        self._say_continue = say_continue
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: list[Header] = []
        self._head: Head | None = None
        self._refusal: ApiError | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._wire_bytes = 0
        self._raw_bytes_left = -1

    @property
    def in_body(self) -> bool:
        """Whether the head of the request that is being read is whole."""
        return self._head is not None

    def feed(self, data: bytes) -> None:
        """Read bytes; whole requests then stand in ``ready``."""
        if self._raw_bytes_left >= 0:
            self._feed_raw(data)
            return
        self._wire_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._after_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError:
            if self._refusal is None:
                raise
            self.stop(self._refusal)
        except httptools.HttpParserError as error:
            self.stop(_not_http(error, data))
        else:
            self._check_sizes()

    def _check_sizes(self) -> None:
        if not self.in_message and not self._wire_bytes:
            return
        limits = self._limits
        if self._head is None:
            if len(self._target) > limits.target_bytes_max:
                self.stop(malformed("The request's target is too long.", status=414, code="target_too_long"))
            elif self._wire_bytes > limits.head_bytes_max:
                self.stop(malformed("The request's head is too long.", status=431, code="head_too_long"))
        elif self._wire_bytes - self._body_bytes > limits.head_bytes_max * 2 + 8 * self._body_bytes:
            self.stop(malformed("The body's chunks carry more than their content."))

    def stop(self, error: ApiError) -> None:
        """The rest of this connection's input has no meaning; what was read before it is still answered."""
        if self.stopped:
            return
        self.stopped = True
        self.in_message = False
        self.ready.append(Incoming(self._head, b"", error, keep_alive=False))

    def on_message_begin(self) -> None:
        """A message begins."""
        self.in_message = True
        self._target = b""
        self._headers = []
        self._head = None
        self._refusal = None
        self._body = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or a trailer."""
        if self._head is None:  # trailers come through here as well; they are dropped
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        parser, limits = self._parser, self._limits
        if len(self._target) > limits.target_bytes_max:
            self._refuse(malformed("The request's target is too long.", status=414, code="target_too_long"))
        if len(self._headers) > limits.header_fields_max or (
            self._wire_bytes > limits.head_bytes_max
            and sum(len(name) + len(value) + 4 for name, value in self._headers) > limits.head_bytes_max
        ):
            self._refuse(malformed("The request's head is too long.", status=431, code="head_too_long"))
        head = read_head(parser.get_method(), self._target, parser.get_http_version(), self._headers)
        if isinstance(head, ApiError):
            self._refuse(head)
            return
        self._head = head
        length = head.content_length or 0
        if length > limits.body_bytes_max:
            self._refuse(self._too_large())
        if parser.should_upgrade():
            # Nothing is upgraded here. The parser reads no body then, so it is counted by hand (see _feed_raw).
            if head.chunked:
                self._refuse(malformed("A request that asks for an upgrade can't come in chunks."))
            self._raw_bytes_left = length
        refusal = self._admit(head)
        if refusal is not None:
            if head.expects_continue or head.chunked or length > _SWALLOWED_BYTES_MAX or refusal.close:
                self._refuse(refusal)
            self._refusal = refusal
        elif head.expects_continue and not self.ready:
            self._say_continue()

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > self._limits.body_bytes_max:
            self._refuse(self._too_large())

    def on_message_complete(self) -> None:
        """The message is whole."""
        if self._raw_bytes_left < 0:
            self._message_complete(keep_alive=self._parser.should_keep_alive())

    def _message_complete(self, *, keep_alive: bool) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self.ready.append(Incoming(self._head, body, self._refusal, keep_alive=keep_alive))
        self.in_message = False
        self._head = None
        self._body = []
        self._wire_bytes = self._body_bytes = 0

    def _refuse(self, error: ApiError) -> None:
        self._refusal = error
        raise _Stop

    def _too_large(self) -> ApiError:
        mib = self._limits.body_bytes_max / 2**20
        return malformed(f"The body is longer than {mib:g} MiB.", status=413, code="body_too_large")

    def _after_upgrade(self, rest: bytes) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._feed_raw(rest)

    def _feed_raw(self, data: bytes) -> None:
        piece, rest = data[: self._raw_bytes_left], data[self._raw_bytes_left :]
        self._body.append(piece)
        self._raw_bytes_left -= len(piece)
        if self._raw_bytes_left == 0:
            self._raw_bytes_left = -1
            self._message_complete(keep_alive=True)
            if rest:
                self.feed(rest)


def _not_http(error: httptools.HttpParserError, data: bytes) -> ApiError:
    """What to say to bytes that the parser refuses."""
    if not isinstance(error, httptools.HttpParserInvalidMethodError):
        return malformed(f"This is not HTTP/1.1: {error}.")
    if not data.isascii() or data[:1] < b" ":
        return malformed("This is not HTTP/1.1; if it is TLS, use http:// here.")
    return malformed("The request's method is not known here.", status=501, code="method_not_implemented")

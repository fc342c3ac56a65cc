"""What a client may send and what it may not, with how a strict server answers, by RFC 9110 and RFC 9112.

Each case is the bytes of one request, or the beginning of one, with HOST for the gateway's own address. ``statuses``
are all right answers; a refusal must end the connection as well, so that nothing behind it is ever read.
"""

from __future__ import annotations

from dataclasses import dataclass

HOST = b"gw.test:8080"
H = b"Host: " + HOST + b"\r\n"
END = b"\r\n"
TE = b"Transfer-Encoding: chunked"


@dataclass(frozen=True)
class Case:
    """One request and how it is to end."""

    name: str
    data: bytes
    statuses: frozenset[int]
    """Right answers; empty: none comes while the request is unfinished."""
    ends: bool
    """Whether the connection has to end after the answer."""


def refused(name: str, data: bytes, *statuses: int) -> Case:
    """To be refused, by 400 unless said otherwise, and the connection with it."""
    return Case(name, data, frozenset(statuses or (400,)), ends=True)


def taken(name: str, data: bytes, status: int = 200, *, ends: bool = False) -> Case:
    """To be served."""
    return Case(name, data, frozenset({status}), ends=ends)


def waited_for(name: str, data: bytes) -> Case:
    """Unfinished: more has to come."""
    return Case(name, data, frozenset(), ends=False)


def get(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = H) -> bytes:
    """A request without a body."""
    return line + b"\r\n" + host + b"".join(field + b"\r\n" for field in fields) + END


def post(*fields: bytes, body: bytes = b"", line: bytes = b"POST / HTTP/1.1") -> bytes:
    """A request with whatever body."""
    return get(*fields, line=line) + body


def chunks(body: bytes) -> bytes:
    """A request whose body comes in these chunks."""
    return post(b"Transfer-Encoding: chunked", body=body)


REQUEST_LINE = [
    taken("a plain request", get()),
    taken("one empty line before it", b"\r\n" + get()),
    refused("two empty lines before it", b"\r\n\r\n" + get()),
    refused("a bare LF before it", b"\n" + get()),
    refused("a bare LF behind it", b"GET / HTTP/1.1\n" + H + END),
    refused("a bare CR behind it", b"GET / HTTP/1.1\r" + H + END),
    refused("two spaces before the target", get(line=b"GET  / HTTP/1.1")),
    refused("two spaces before the version", get(line=b"GET /  HTTP/1.1")),
    refused("a tab for a space", get(line=b"GET\t/ HTTP/1.1")),
    refused("a space in front", get(line=b" GET / HTTP/1.1")),
    refused("a space behind", get(line=b"GET / HTTP/1.1 ")),
    refused("white space only", b"   \r\n\r\n"),
    refused("no target", get(line=b"GET HTTP/1.1")),
    refused("a space in the target", get(line=b"GET /a b HTTP/1.1")),
    refused("no version", b"GET /\r\n"),
    refused("version without minor", get(line=b"GET / HTTP/1")),
    refused("version with leading zeros", get(line=b"GET / HTTP/01.01")),
    refused("version with a space", get(line=b"GET / HTTP/ 1.1")),
    refused("version in lower case", get(line=b"GET / http/1.1")),
    refused("version of another protocol", get(line=b"GET / RTSP/1.1")),
    refused("version 9.9", get(line=b"GET / HTTP/9.9"), 400, 505),
    refused("version 2.0", get(line=b"GET / HTTP/2.0"), 400, 505),
    taken("version 1.2 is 1.1 to a server of 1.1", get(line=b"GET / HTTP/1.2")),
    refused("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 505),
    refused("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    refused("another protocol's greeting", b"SSH-2.0-OpenSSH_9.2\r\n"),
    refused("bytes of any kind", bytes(range(255, 0, -1))),
    waited_for("half a head", b"GET / HTTP/1.1\r\n" + H + b"X-A: b"),
    waited_for("nothing at all", b""),
]

TARGETS = [
    taken("this host in the target", get(line=b"GET http://" + HOST + b"/ HTTP/1.1")),
    taken("this host in the target, in capitals", get(line=b"GET HTTP://" + HOST.upper() + b" HTTP/1.1")),
    refused("another host in the target", get(line=b"GET http://evil.test/ HTTP/1.1")),
    refused("another scheme", get(line=b"GET ftp://" + HOST + b"/ HTTP/1.1")),
    refused("no slash", get(line=b"GET index HTTP/1.1")),
    refused("a fragment", get(line=b"GET /a#b HTTP/1.1")),
    refused("a backslash", get(line=b"GET /a\\b HTTP/1.1")),
    refused("NUL", get(line=b"GET /a\0b HTTP/1.1")),
    refused("NUL, encoded", get(line=b"GET /a%00b HTTP/1.1")),
    refused("CR LF, encoded", get(line=b"GET /a%0D%0aX:%20y HTTP/1.1")),
    refused("UTF-8", get(line="GET /caf\u00e9 HTTP/1.1".encode())),
    refused("overlong UTF-8", get(line=b"GET /\xc0\xaf HTTP/1.1")),
    refused("DEL", get(line=b"GET /\x7f HTTP/1.1")),
    refused("* with GET", get(line=b"GET * HTTP/1.1")),
    taken("* with OPTIONS", get(line=b"OPTIONS * HTTP/1.1"), 204),
    Case("8,000 bytes", get(line=b"GET /" + b"a" * 7960 + b" HTTP/1.1"), frozenset({401, 404}), ends=False),
    refused("100,000 bytes", get(line=b"GET /" + b"a" * 100_000 + b" HTTP/1.1"), 414),
]

METHODS = [
    taken("HEAD", get(line=b"HEAD / HTTP/1.1")),
    taken("OPTIONS", get(line=b"OPTIONS / HTTP/1.1"), 204),
    Case("DELETE where there is none", get(line=b"DELETE / HTTP/1.1"), frozenset({405}), ends=False),
    refused("a lower-case method", get(line=b"get / HTTP/1.1"), 501),
    refused("a method that nobody knows", get(line=b"BREW / HTTP/1.1"), 501),
    refused("TRACE", get(b"Authorization: Bearer secret", line=b"TRACE / HTTP/1.1"), 501),
    refused("TRACE with a body", post(b"Content-Length: 2", body=b"ab", line=b"TRACE / HTTP/1.1"), 501),
    refused("CONNECT", get(line=b"CONNECT gw.test:443 HTTP/1.1"), 501),
    refused("CONNECT without a port", get(line=b"CONNECT gw.test HTTP/1.1")),
    refused("CONNECT with an empty port", get(line=b"CONNECT gw.test: HTTP/1.1")),
    refused("CONNECT with a path", get(line=b"CONNECT / HTTP/1.1")),
    refused("100,000 bytes of method", get(line=b"M" * 100_000 + b" / HTTP/1.1")),
    refused("a method with a slash", get(line=b"GE/T / HTTP/1.1")),
]

HOSTS = [
    refused("none", get(host=b"")),
    refused("two", get(b"Host: evil.test")),
    refused("the same twice", get(H.strip())),
    refused("empty", get(host=b"Host: \r\n")),
    refused("with a user", get(host=b"Host: me@gw.test\r\n")),
    refused("with a path", get(host=b"Host: gw.test/a\r\n")),
    refused("a list", get(host=b"Host: gw.test, evil.test\r\n")),
    refused("with a space", get(host=b"Host: gw test\r\n")),
    refused("with a long port", get(host=b"Host: gw.test:123456\r\n")),
    refused("with a port of letters", get(host=b"Host: gw.test:http\r\n")),
    taken("an IPv6 address", get(host=b"Host: [::1]:8080\r\n")),
    taken("none in HTTP/1.0", get(line=b"GET / HTTP/1.0", host=b""), ends=True),
]

FIELDS = [
    taken("white space around a value", get(b"X-A: \t b \t")),
    taken("no white space before a value", get(b"X-A:b")),
    taken("an empty value", get(b"X-A:")),
    taken("bytes above ASCII in a value", get("X-A: caf\u00e9".encode())),
    taken("a tab within a value", get(b"X-A: a\tb")),
    taken("every character that a name may have", get(b"!#$%&'*+-.^`|~09AZaz: b")),
    refused("a bare LF behind it", b"GET / HTTP/1.1\r\n" + H.strip() + b"\nX-A: b\r\n\r\n"),
    refused("a bare CR within its value", get(b"X-A: a\rb")),
    refused("NUL in its value", get(b"X-A: a\0b")),
    refused("control characters in its value", get(b"X-A: a\x07\x08\x0bb")),
    refused("DEL in its value", get(b"X-A: a\x7fb")),
    refused("folded", get(b"X-A: a\r\n b")),
    refused("folded by a tab", get(b"X-A: a\r\n\tb")),
    refused("folded at once", get(b"X-A:\r\n b")),
    refused("white space before the first one", b"GET / HTTP/1.1\r\n " + H + END),
    refused("a line of white space before the first one", b"GET / HTTP/1.1\r\n \r\n" + H + END),
    refused("a space before the colon", get(b"X-A : b")),
    refused("a tab before the colon", get(b"X-A\t: b")),
    refused("a tab in its name", get(b"Content\tLength: 5")),
    refused("no name", get(b": b")),
    refused("no colon", get(b"Nothing")),
    refused("a known name and no colon", get(b"Accept")),
    refused("a bracket in its name", get(b"X[A: b")),
    refused("UTF-8 in its name", get("X-\u00e9: b".encode())),
    refused("an underscore in its name", get(b"X_A: b")),
    refused("two types of content", post(b"Content-Length: 0", b"Content-Type: text/plain", b"Content-Type: a/b")),
    refused("two authorizations", get(b"Authorization: Bearer a", b"Authorization: Bearer b")),
    refused("100,000 bytes of value", get(b"X-A: " + b"b" * 100_000), 431),
    refused("100,000 bytes of name", get(b"A" * 100_000 + b": b"), 431),
    refused("10,000 fields", get(*(b"X-%d: a" % number for number in range(10_000))), 431),
]

LENGTHS = [
    taken("a body of its length", post(b"Content-Length: 5", body=b"hello")),
    taken("none", post(b"Content-Length: 0")),
    taken("neither length nor encoding", post()),
    taken("a range asked of POST", post(b"Content-Length: 2", b"Range: bytes=0-1", body=b"ab")),
    taken("with GET", post(b"Content-Length: 2", body=b"ab", line=b"GET / HTTP/1.1")),
    taken("with HEAD", post(b"Content-Length: 2", body=b"ab", line=b"HEAD / HTTP/1.1")),
    taken("with OPTIONS", post(b"Content-Length: 2", body=b"ab", line=b"OPTIONS / HTTP/1.1"), 204),
    waited_for("less than its length", post(b"Content-Length: 10", body=b"hello")),
    *(
        refused(f"{value!r}", get(b"Content-Length:" + value, line=b"POST / HTTP/1.1") + b"hello" * 60)
        for value in (
            b" abc", b" +5", b" -1", b" -0", b" 05", b" 00", b" 0200", b" 0x5", b" 0o5", b" 1_0", b" 1 0", b" 5.0",
            b" 5e0", b" 5,", b" 5, 5", b" 5, 5, 5", b" 5, 10", b" 5 ", b"  5", b"\t5", b"", b" ", b" 5x",
            b" 99999999999999999999", "\u0665".encode(),
        )
    ),
    refused("two", post(b"Content-Length: 5", b"Content-Length: 10", body=b"helloworld")),
    refused("the same twice", post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")),
    refused("a space before the colon of the second", post(b"Content-Length: 5", b"Content-Length : 4", body=b"hello")),
    refused("an underscore in the second", post(b"Content-Length: 5", b"Content_Length: 4", body=b"hello")),
    refused("more than is taken", post(b"Content-Length: 999999999"), 413),
]  # fmt: skip

ENCODINGS = [
    taken("in capitals", post(b"TRANSFER-ENCODING: CHUNKED", body=b"2\r\nab\r\n0\r\n\r\n")),
    *(
        refused(f"{value!r}", post(b"Transfer-Encoding:" + value, body=b"0\r\n\r\n"), *statuses)
        for value, statuses in (
            (b" gzip", (400, 501)), (b" gzip, chunked", (400, 501)), (b" chunked, gzip", (400,)), (b"", (400,)),
            (b" identity", (400, 501)), (b" chunked, chunked", (400,)), (b" , chunked", (400,)), (b" chunked,", (400,)),
            (b" xchunked", (400, 501)), (b" chunked;a=b", (400, 501)), (b" chunked ", (400,)), (b"\tchunked", (400,)),
            (b"\r\n chunked", (400,)), (b" \x0bchunked", (400,)), (b" \x0cchunked", (400,)), (b" chunked\0", (400,)),
            (b' "chunked"', (400,)),
        )
    ),
    *(
        refused(f"{value!r} and a length", post(b"Transfer-Encoding:" + value, b"Content-Length: 5", body=b"hello"))
        for value in (b" chunked", b" Chunked", b" xchunked", b" chunked ", b" , chunked", b" chunked,", b" identity")
    ),
    refused("a length and then chunked", post(b"Content-Length: 6", TE, body=b"0\r\n\r\nX")),
    refused("twice", post(TE, TE, body=b"0\r\n\r\n")),
    refused("chunked and identity, and a length", post(TE, b"Transfer-Encoding: identity",
            b"Content-Length: 5", body=b"hello")),
    refused("a space before the colon", post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n")),
    refused("an underscore", post(b"Transfer_Encoding: chunked", body=b"0\r\n\r\n")),
    refused("in HTTP/1.0", post(TE, line=b"POST / HTTP/1.0", body=b"0\r\n\r\n")),
    refused("folded, with OPTIONS", post(b"Transfer-Encoding:\r\n chunked", b"Content-Length: 5", body=b"hello",
            line=b"OPTIONS / HTTP/1.1")),
]  # fmt: skip

CHUNKS = [
    taken("one", chunks(b"5\r\nhello\r\n0\r\n\r\n")),
    taken("two", chunks(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")),
    taken("none", chunks(b"0\r\n\r\n")),
    taken("a size in capitals", chunks(b"A\r\nhelloworld\r\n0\r\n\r\n")),
    taken("a size with zeros in front", chunks(b"0005\r\nhello\r\n000\r\n\r\n")),
    taken("an extension", chunks(b"5;a=b\r\nhello\r\n0;c\r\n\r\n")),
    taken("a quoted extension", chunks(b'5;a="b;\\" c"\r\nhello\r\n0\r\n\r\n')),
    taken("a trailer", chunks(b"5\r\nhello\r\n0\r\nX-Sum: a\r\n\r\n")),
    waited_for("no last one", chunks(b"5\r\nhello\r\n")),
    waited_for("no end behind the last one", chunks(b"5\r\nhello\r\n0\r\n")),
    *(
        refused(f"{size!r} for a size", chunks(size + b"\r\nhello\r\n0\r\n\r\n"))
        for size in (
            b"0x5", b"+5", b"-5", b"5 ", b" 5", b"\t5", b"1_0", b"", b"g", b"5.", b"FFFFFFFFFFFFFFFF0", b"5;", b"5;=a",
            b"5;a=", b"5;a[=b", b"5;\0a", b"5;a\rb", b"5 ;a", b"5; a", b'5;a="b', b"5,5", b"5;" + b"a" * 65_536,
            b"5;a=" + b"b" * 100_000,
        )
    ),
    refused("a bare CR behind a size", chunks(b"5\rhello\r\n0\r\n\r\n")),
    refused("a bare LF behind a size", chunks(b"5\nhello\r\n0\r\n\r\n")),
    refused("a bare LF behind an extension", chunks(b"5;a\nhello\r\n0\r\n\r\n")),
    refused("a bare LF behind content", chunks(b"5\r\nhello\n0\r\n\r\n")),
    refused("a bare CR behind content", chunks(b"5\r\nhello\r0\r\n\r\n")),
    refused("nothing behind content", chunks(b"5\r\nhello0\r\n\r\n")),
    refused("more content than the size says", chunks(b"5\r\nhello!!\r\n0\r\n\r\n")),
    refused("less content than the size says", chunks(b"7\r\nhello\r\n0\r\n\r\n0\r\n\r\n")),
    refused("a bare LF at the end", chunks(b"5\r\nhello\r\n0\r\n\n")),
    refused("a bare LF behind a trailer", chunks(b"0\r\nX-Sum: a\n\r\n")),
    refused("a trailer without a colon", chunks(b"0\r\nX-Sum\r\n\r\n")),
    refused("a folded trailer", chunks(b"0\r\nX-Sum: a\r\n b\r\n\r\n")),
    refused("NUL in a trailer", chunks(b"0\r\nX-Sum: a\0\r\n\r\n")),
    refused("a length in a trailer", chunks(b"0\r\nContent-Length: 5\r\n\r\n")),
    refused("an encoding in a trailer", chunks(b"0\r\ntransfer-encoding: chunked\r\n\r\n")),
    taken("a host and a key in a trailer, dropped", chunks(b"0\r\nHost: evil.test\r\nAuthorization: Bearer a\r\n\r\n")),
    refused("an endless trailer", chunks(b"0\r\n" + b"X-Sum: a\r\n" * 2000)),
    refused("many extensions", chunks((b"1;a=" + b"b" * 900 + b"\r\nx\r\n") * 31)),
    refused("more content than is taken", chunks(b"FFFFFFFF\r\nhello"), 413),
]  # fmt: skip

CONNECTIONS = [
    taken("close", get(b"Connection: close"), ends=True),
    taken("close in a list", get(b"Connection: X-A, Close", b"X-A: b"), ends=True),
    taken("HTTP/1.0", get(line=b"GET / HTTP/1.0"), ends=True),
    taken("a WebSocket", get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
          b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")),
    taken("an upgrade with POST", post(b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk",
          b"Content-Length: 2", body=b"ab")),
    taken("an upgrade in HTTP/1.0", get(b"Connection: Upgrade", b"Upgrade: websocket", line=b"GET / HTTP/1.0"),
          ends=True),
    taken("an upgrade that no option names", get(b"Upgrade: websocket")),
    refused("an expectation that nobody knows", get(b"Expect: tea"), 417),
    taken("100-continue with the body sent along", post(b"Expect: 100-continue", b"Content-Length: 2", body=b"ab")),
    taken("100-continue without a body", get(b"Expect: 100-continue")),
    taken("100-continue in HTTP/1.0", post(b"Expect: 100-continue", b"Content-Length: 2", body=b"ab",
          line=b"POST / HTTP/1.0"), ends=True),
]  # fmt: skip

TABLES: dict[str, list[Case]] = {
    "request line": REQUEST_LINE,
    "target": TARGETS,
    "method": METHODS,
    "host": HOSTS,
    "field": FIELDS,
    "length": LENGTHS,
    "encoding": ENCODINGS,
    "chunk": CHUNKS,
    "connection": CONNECTIONS,
}

SMUGGLED = get()
TUNNEL = b"0\r\n\r\n" + SMUGGLED
TUNNEL_LENGTH = b"Content-Length: %d" % len(TUNNEL)
INNER = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
POISONED: dict[str, bytes] = {
    "a length over chunks": post(TUNNEL_LENGTH, TE, body=TUNNEL),
    "chunks over a length": post(TE, b"Content-Length: 4", body=INNER),
    "a signed length": post(b"Content-Length: +%d" % len(TUNNEL), TE, body=TUNNEL),
    "a length with a letter": post(TUNNEL_LENGTH + b"x", TE, body=TUNNEL),
    "a folded encoding": post(b"Transfer-Encoding:\r\n chunked", TUNNEL_LENGTH, body=TUNNEL),
    "an encoding with a space": post(TE + b" ", TUNNEL_LENGTH, body=TUNNEL),
    "an encoding with a comma": post(b"Transfer-Encoding: , chunked", TUNNEL_LENGTH, body=TUNNEL),
    "an encoding in capitals": post(b"Transfer-Encoding: Chunked", TUNNEL_LENGTH, body=TUNNEL),
    "two encodings": post(TE, b"Transfer-Encoding: identity", TUNNEL_LENGTH, body=TUNNEL),
    "two lengths": post(b"Content-Length: 4", b"Content-Length: %d" % (4 + len(SMUGGLED)), body=b"PING" + SMUGGLED),
    "a signed chunk": chunks(b"+0\r\n\r\n" + SMUGGLED),
    "HEAD within": post(b"Content-Length: 5", TE, body=b"0\r\n\r\n" + get(line=b"HEAD / HTTP/1.1")),
}
"""Requests that hide another one: exactly one answer, a refusal, and the end."""

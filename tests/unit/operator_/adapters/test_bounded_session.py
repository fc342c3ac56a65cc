"""Answers of HTTP servers that do not mean well: none takes more memory or time than it may, none sends elsewhere."""

import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from requests import RequestException

from overspill_operator.adapters.bounded_session import BoundedSession

BYTES_MAX = 1_000_000
SECONDS_MAX = 0.2

Serve = Callable[[Callable[[BaseHTTPRequestHandler], None]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server on loopback that answers as it is told; its URL."""
    servers = []

    def start(answer: Callable[[BaseHTTPRequestHandler], None]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def head(handler: BaseHTTPRequestHandler, status: int = 200, **headers: str) -> None:
    """The beginning of an answer."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def session() -> BoundedSession:
    """With small bounds."""
    return BoundedSession(BYTES_MAX, SECONDS_MAX, time.monotonic)


def test_an_answer_within_the_bounds_is_as_it_was_sent(serve: Serve) -> None:
    """Packed as well."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, Content_Encoding="deflate")
        handler.wfile.write(zlib.compress(json.dumps({"data": "x" * 500_000}).encode()))

    assert session().get(serve(answer), timeout=5).json() == {"data": "x" * 500_000}


@pytest.mark.parametrize("is_packed", [False, True])
def test_an_answer_that_is_too_long_is_not_kept(serve: Serve, *, is_packed: bool) -> None:
    """Also where few bytes become many."""
    body = bytes(BYTES_MAX + 1)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, Content_Encoding="deflate" if is_packed else "identity")
        handler.wfile.write(zlib.compress(body) if is_packed else body)

    with pytest.raises(RequestException, match="more than 1000000 bytes"):
        session().get(serve(answer), timeout=5)


def test_an_answer_that_drips_is_given_up(serve: Serve) -> None:
    """A byte now and then would keep the reader for ever."""
    over = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, Content_Length="100000")
        while not over.wait(0.02):
            handler.wfile.write(b" ")

    try:
        with pytest.raises(RequestException, match=r"not there within 0\.2 s"):
            session().get(serve(answer), timeout=5)
    finally:
        over.set()


def test_a_redirect_is_an_answer_like_any_other(serve: Serve) -> None:
    """Whoever answers for Prometheus does not say what else is asked with its credentials."""
    asked = []

    def other(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        head(handler)

    elsewhere = serve(other)
    assert session().get(serve(lambda handler: head(handler, 302, Location=elsewhere)), timeout=5).status_code == 302
    assert asked == []

"""What was found out about a backend's head holds for its next answer, and for nothing else."""

import pytest

from overspill_gateway.backends.problems import BackendProblems
from overspill_gateway.clock import Clock
from overspill_gateway.core.http.answer_head import AnswerHead
from overspill_gateway.core.http.forwarding import to_client
from overspill_gateway.wire.answer_memory import AnswerMemory

HEADERS = [(b"server", b"uvicorn"), (b"x-a", b"key-of-one"), (b"content-length", b"2"), (b"content-type", b"text/a")]


def answer(length: bytes, body: bytes) -> bytes:
    """The bytes of an answer with that head."""
    lines = b"".join(b"%b: %b\r\n" % (name, length if name == b"content-length" else value) for name, value in HEADERS)
    return b"HTTP/1.1 200 OK\r\n%b\r\n%b" % (lines, body)


def remembers() -> AnswerMemory:
    """A memory of such an answer, after its first one."""
    memory = AnswerMemory()
    memory.remember(answer(b"2", b"ab"), 200, AnswerHead(HEADERS))
    return memory


def problems_of(secret: str) -> BackendProblems:
    """Of a backend that is sent this secret."""
    return BackendProblems("a/b", "hosted/x", (secret,), lambda: None, Clock())


def test_the_same_head_again_is_the_same_object() -> None:
    """Nothing about it is found out twice."""
    memory = remembers()
    head = memory.head
    told = head.told
    assert answer(b"2", b"cd")[memory.body_start(answer(b"2", b"cd")) :] == b"cd"
    assert memory.head is head
    assert memory.head.told is told


def test_another_length_changes_the_length_alone() -> None:
    """All else that was found out holds for the new head as if it had been looked at."""
    memory = remembers()
    before = memory.head.told
    data = answer(b"11", b"hello world")
    assert data[memory.body_start(data) :] == b"hello world"
    told, anew = memory.head.told, to_client(memory.head.headers)
    assert told.content_length == anew.content_length == 11
    assert told.lines == anew.lines == before.lines
    assert memory.body_start(answer(b"2", b"ab")), "the first length again"
    assert memory.head.told.content_length == 2


@pytest.mark.parametrize(
    "data",
    [
        answer(b"2", b"abc"), answer(b"3", b"ab"), answer(b"02", b"ab"), answer(b"", b""), answer(b"2", b"ab")[:-1],
        answer(b"2", b"ab").replace(b"uvicorn", b"uvicorm"), b"",
    ],
)  # fmt: skip
def test_what_is_no_such_answer_is_not_taken_for_one(data: bytes) -> None:
    """It is left to the parser, and the memory stays as it is."""
    memory = remembers()
    head = memory.head
    assert memory.body_start(data) == 0
    assert memory.head is head


def test_a_memory_that_has_forgotten_knows_nothing() -> None:
    """An answer without a length can't be known again by it, nor can the one before any more."""
    memory = remembers()
    memory.remember(b"HTTP/1.1 200 OK\r\n\r\n", 200, AnswerHead([]))
    assert memory.body_start(answer(b"2", b"ab")) == 0
    assert memory.body_start(b"") == 0


def test_each_looks_for_its_own_secrets() -> None:
    """A head in which one backend found none of its secrets may have another's; with another length it is looked at."""
    head = AnswerHead(HEADERS)
    one, other = problems_of("key-of-one"), problems_of("key-of-another")
    assert other.head_without_secrets(head) is head
    assert b"key-of-one" not in one.head_without_secrets(head).told.lines
    longer = head.with_length(b"11")
    assert other.head_without_secrets(longer) is longer
    assert b"key-of-one" not in one.head_without_secrets(longer).told.lines

"""Waiting for the pepper: a key is often asked for before the operator has started."""

import pytest

from overspill_cli.errors import CommandError
from overspill_cli.pepper import read_pepper


class Installing:
    """A release whose operator makes the pepper after some looks; its clock moves when somebody sleeps."""

    def __init__(self, looks: int, *, namespace: bool | None = True) -> None:
        self.looks = looks
        self.namespace = namespace
        self.now = 100.0

    def pepper(self, namespace: str, secret: str) -> bytes | None:
        """See ``PepperSource``."""
        assert (namespace, secret) == ("system", "pepper")
        self.looks -= 1
        return None if self.looks >= 0 else b"made"

    def has_namespace(self, name: str) -> bool | None:
        """See ``PepperSource``."""
        assert name == "system"
        return self.namespace

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    def read(self, wait_seconds: float = 60.0) -> bytes:
        """The pepper as the command reads it."""
        return read_pepper(
            self, "system", "pepper", wait_seconds=wait_seconds, sleep=self.sleep, clock=lambda: self.now
        )


def test_it_is_waited_for_and_that_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, with the Secret, its namespace, who makes it, and how long."""
    fresh = Installing(looks=5)
    assert fresh.read() == b"made"
    assert fresh.now == 105.0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("Waiting up to 60 s for Secret pepper in namespace system: the operator makes it") == 1


def test_one_that_is_there_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor spoken of."""
    assert Installing(looks=0).read() == b"made"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("wait_seconds", [0.0, 1.0, 60.0])
def test_the_wait_ends_with_a_way_out(wait_seconds: float) -> None:
    """Where another release may be meant, and where to look if not."""
    never = Installing(looks=10_000, namespace=None)
    with pytest.raises(CommandError, match=r"--release-namespace .*kubectl -n system get pods -l app\.kubernetes\.io"):
        never.read(wait_seconds)
    assert never.now == 100.0 + wait_seconds


def test_nothing_is_waited_for_where_nothing_can_come() -> None:
    """A namespace that is not there has no operator."""
    nowhere = Installing(looks=10_000, namespace=False)
    with pytest.raises(CommandError, match="no namespace system, so Overspill is not installed there"):
        nowhere.read()
    assert nowhere.now == 100.0

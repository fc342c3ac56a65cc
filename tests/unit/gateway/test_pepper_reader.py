"""A gateway that starts before the operator has made the pepper: what it waits for, and that it takes it once."""

import base64
import json
import logging

import httpx
import pytest

from overspill_gateway.sources import pepper as pepper_module
from overspill_gateway.sources.pepper import PepperReader

PATH = "/api/v1/namespaces/system/secrets/pepper"


class Server:
    """An API server that gives one answer after the other; the last one stays."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.asked.append(request.url.path)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def secret(**data: str) -> httpx.Response:
    """A Secret with these values."""
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return httpx.Response(200, content=json.dumps({"data": encoded}))


async def states(reader: PepperReader, server: Server, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What /readyz would say after each look, up to the last answer."""
    said: list[str | None] = []

    async def pause(_seconds: float) -> None:
        said.append(reader.missing())
        if len(server.asked) > 20:
            raise AssertionError("asked for ever")

    monkeypatch.setattr("overspill_gateway.sources.pepper.asyncio.sleep", pause)
    async with httpx.AsyncClient(transport=httpx.MockTransport(server), base_url="https://api.test") as client:
        await reader.run(client, lambda: {"authorization": "Bearer t"})
    return [*said, reader.missing()]


async def test_readyz_says_what_is_waited_for_until_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Secret, who makes it, and what is wrong with it now; then nothing."""
    taken: list[bytes] = []
    reader = PepperReader("system", "pepper", taken.append)
    before = reader.missing()
    server = Server(
        httpx.Response(404),
        httpx.Response(403),
        httpx.ConnectError("refused"),
        secret(other="x"),
        httpx.Response(200, content=b"no JSON"),
        secret(pepper="abc"),
    )

    said = await states(reader, server, monkeypatch)

    place = "the pepper of API keys is not there yet (Secret pepper in namespace system; the operator makes it): "
    assert before == f"{place}it is being asked for"
    assert said[0] == f"{place}there is no such Secret"
    assert "403" in (said[1] or "")
    assert said[2] == f"{place}it can't be read: refused"
    assert said[3] == f"{place}it has no key 'pepper'"
    assert "it can't be read" in (said[4] or "")
    assert said[5:] == [None]
    assert taken == [b"abc"]
    assert set(server.asked) == {PATH}


async def test_each_state_is_logged_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """However long it lasts."""
    server = Server(*[httpx.Response(404)] * 9, secret(pepper="abc"))
    with caplog.at_level(logging.INFO):
        await states(PepperReader("system", "pepper", lambda _pepper: None), server, monkeypatch)
    assert [record.message for record in caplog.records if record.name == pepper_module.__name__] == [
        "waiting for the pepper of API keys",
        "the pepper of API keys is there",
    ]


async def test_a_gateway_that_was_given_its_pepper_asks_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Secret is named: nothing is missing."""
    server = Server(httpx.Response(500))
    assert await states(PepperReader("system", "", lambda _pepper: None), server, monkeypatch) == [None]
    assert server.asked == []

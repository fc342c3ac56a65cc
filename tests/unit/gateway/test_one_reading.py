"""What the gateway decides by is what every parser reads: names in another case, and names that come twice."""

import json
from typing import Any

import pytest

from overspill_gateway.core.dialects.endpoints import CHAT, COMPLETIONS, RESPONSES, Endpoint, endpoint_of
from overspill_gateway.core.requests.body import read_body
from overspill_gateway.core.text.splice import BodyError

MESSAGES = [{"role": "user", "content": "hi"}]
BASE = {"model": "m", "messages": MESSAGES}


def refusal(body: bytes, endpoint: Endpoint = CHAT, content_type: bytes = b"") -> str:
    """Why a body is refused."""
    with pytest.raises(BodyError) as caught:
        read_body(body, endpoint, content_type)
    assert caught.value.error.status == 400
    return caught.value.error.message


@pytest.mark.parametrize(
    "name",
    ["Model", "MODEL", "Max_Tokens", "max_To\u212aens", "Stream", "\u017ftream", "N", "Messages", "Tools", "API_BASE",
     "Max_Completion_Tokens", "Stream_Options", "Response_Format", "Best_Of", "model ", "Base_URL"],
)  # fmt: skip
def test_a_name_that_another_parser_takes_for_a_decisive_one_is_refused(name: str) -> None:
    """Go ignores case, by Unicode's folding: beside the field, and also in its place."""
    plain = name.strip().casefold()
    for document in (BASE | {plain: "m" if plain == "model" else BASE.get(plain), name: "x"}, BASE | {name: "x"}):
        if plain not in {"api_base", "base_url"}:
            message = refusal(json.dumps(document).encode())
            assert f'"{name}"' in message
            assert f'"{plain}"' in message
    assert name in refusal(json.dumps(BASE | {name: "x"}).encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","mod\\u0065l":"b","messages":[]}',
        b'{"model":"a","messages":[],"max_tokens":1,"max\\u005ftokens":9}',
        b'{"model":"a","messages":[],"n":1,"n":5}',
        b'{"model":"a","messages":[],"stream_options":{"include_usage":true,"include\\u005fusage":false}}',
        b'{"model":"a","messages":[],"stream_options":{"include_usage":true,"Include_Usage":false}}',
        b'{"model":"a","messages":[],"response_format":{"type":"text","Type":"json_object"}}',
        b'{"model":"a","messages":[],"response_format":{"type":"json_schema","json_schema":{"schema":{},"Schema":{}}}}',
    ],
)
def test_what_comes_twice_is_refused_however_it_is_spelled(body: bytes) -> None:
    """By escapes, by case, at the top and where the gateway looks deeper."""
    refusal(body)


def test_nested_fields_of_responses_are_looked_at_as_well() -> None:
    """``text.format`` is what ``response_format`` is in chat."""
    refusal(b'{"model":"a","input":"x","text":{"format":{"type":"text"},"Format":{}}}', RESPONSES)


def test_paths_that_are_not_looked_into_are_as_strict_with_what_decides() -> None:
    """A body without a model, one with two, and a form."""
    rerank = endpoint_of(b"/v1/rerank")
    audio = endpoint_of(b"/v1/audio/transcriptions")
    assert rerank is not None
    assert audio is not None
    refusal(b'{"Model":"a","query":"x"}', rerank)
    refusal(b'{"query":"x","stream":true,"stream":false}', rerank)
    form = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\na\r\n--b--\r\n'
    for name in (b"Model", b"STREAM", b" model"):
        assert name.decode() in refusal(form % name, audio, b"multipart/form-data; boundary=b")


@pytest.mark.parametrize("document", [BASE, BASE | {"Temperature": 1, "X": 1, "x": 2, "tool_choice": "auto"}])
def test_names_that_nothing_is_decided_by_pass(document: dict[str, Any]) -> None:
    """Fields that the gateway does not know reach the engine as they came."""
    assert read_body(json.dumps(document).encode()).model == "m"
    assert read_body(json.dumps(document | {"prompt": "x"}).encode(), COMPLETIONS).model == "m"

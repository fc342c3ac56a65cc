"""An answer that broke off and goes on elsewhere: one stream for the client, and true to what was generated."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.answers.continuation import CONTINUATIONS_MAX, Partial, continuation_body
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.http import errors
from overspill_gateway.core.http.answer_head import AnswerHead
from overspill_gateway.core.http.head import Header
from overspill_gateway.proxy.relay import Relay
from unit.gateway.client_double import ClientDouble
from unit.gateway.generated import DONE, ROLE, chunk, data_event, said, text_chunk, usage_chunk, usage_of

relayed = pytest.mark.interpreted  # its client is a double

STREAM: list[Header] = [(b"content-type", b"text/event-stream")]
MESSAGES = [{"role": "user", "content": "Tell me"}]
SECOND = {"id": "chatcmpl-2", "object": "chat.completion.chunk", "created": 99, "model": "other"}


def second(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """A chunk of the backend that goes on."""
    return data_event(SECOND | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} | more)


def second_usage(prompt: int, output: int, cached: int = 0) -> bytes:
    """Its token counts."""
    return data_event(SECOND | {"choices": [], "usage": usage_of(prompt, output, cached)})


def begun(client: ClientDouble, *events: bytes, **options: Any) -> Relay:
    """An answer whose first part has come."""
    known: dict[str, Any] = {"dialect": Dialect.CHAT, "keep": True}
    relay = Relay(client.connection, 200, AnswerHead(STREAM), b"", **(known | options))
    for event in events:
        relay.feed(event)
    return relay


def go_on(relay: Relay, *events: bytes, may_echo: bool = False, served_by: str = "local/tiny-1") -> None:
    """Another backend's part."""
    partial = relay.partial()
    assert partial is not None
    relay.continue_with(200, AnswerHead(STREAM), partial, served_by=served_by, may_echo=may_echo)
    for event in events:
        relay.feed(event)


def documents(client: ClientDouble) -> list[Any]:
    """What the client got, decoded."""
    data = [event.removeprefix("data: ") for event in client.body.decode().split("\n\n") if event]
    return [None if text == "[DONE]" else json.loads(text) for text in data]


def assembled(client: ClientDouble) -> str:
    """The text as a client assembles it."""
    choices = [choice for document in documents(client) if document for choice in document["choices"]]
    return "".join(choice.get("delta", {}).get("content") or choice.get("text") or "" for choice in choices)


# -- the stream --------------------------------------------------------------------------------------------------------


@relayed
def test_the_client_sees_one_stream() -> None:
    """One id, one model, one role, one [DONE]; the last reason; token counts added up; the final chunks marked."""
    client = ClientDouble()
    relay = begun(client, ROLE, said("The sky"), said(" is"))
    assert relay.close() == "its stream ended without [DONE]"

    go_on(
        relay,
        second({"role": "assistant", "content": ""}),
        second({"content": " blue"}),
        second({"content": "."}, "stop"),
        second_usage(prompt=19, output=2, cached=19),
        DONE,
    )

    assert relay.finish()
    seen = documents(client)
    assert assembled(client) == "The sky is blue."
    assert seen[-1] is None
    assert seen.count(None) == 1
    assert {(document["id"], document["created"], document["model"]) for document in seen[:-1]} == {
        ("chatcmpl-1", 1795221245, "tiny")
    }
    assert [document for document in seen[1:-1] for choice in document["choices"] if "role" in choice["delta"]] == []
    assert [choice["finish_reason"] for choice in seen[-3]["choices"]] == ["stop"]
    assert seen[-2]["usage"] == usage_of(prompt=17, output=4, cached=17)
    mark = {"continued": [{"served_by": "local/tiny-1", "after_tokens": 2}], "usage_estimated": True}
    assert [document.get("overspill") for document in seen[:-1]] == [None] * (len(seen) - 3) + [mark, mark]


@relayed
def test_usage_stays_hidden_where_nobody_asked() -> None:
    """The mark is in the chunk with the reason then."""
    client = ClientDouble()
    relay = begun(client, said("a"), strip_usage=True)

    go_on(relay, second({"content": "b"}, "stop"), second_usage(18, 1), DONE)

    assert relay.finish()
    assert "usage" not in documents(client)[-2]
    assert "continued" in documents(client)[-2]["overspill"]
    usage = relay.usage()
    assert usage is not None
    assert usage.prompt_tokens == 18  # what the second backend is paid for


@relayed
def test_reported_counts_of_the_first_part_are_taken_as_they_are() -> None:
    """Engines that report as they go leave nothing to estimate."""
    client = ClientDouble()
    relay = begun(client, said("a", usage=usage_of(17, 5)), said("b", usage=usage_of(17, 9)))

    go_on(relay, second({"content": "c"}, "stop"), second_usage(26, 3), DONE)

    assert relay.finish()
    final = documents(client)[-2]
    assert final["usage"] == usage_of(17, 12)
    assert final["overspill"]["usage_estimated"] is False


@relayed
@pytest.mark.parametrize("part", [{"type": "text", "text": " bc"}, {"type": "text", "text": {"value": " bc"}}])
def test_text_in_parts_goes_on_as_any_other(part: dict[str, Any]) -> None:
    """No blank comes twice at the seam, and a third backend is given these words too."""
    client = ClientDouble()
    relay = begun(client, said("a "))

    go_on(relay, second({"content": [part]}))

    assert assembled(client) == "a bc"
    partial = relay.partial()
    assert partial is not None
    assert partial.text == "a bc"


@relayed
def test_counts_in_quotes_are_added_up_too() -> None:
    """What money counts by is what the client is shown."""
    client = ClientDouble()
    relay = begun(client, said("a", usage=usage_of(17, 5)), said("b", usage=usage_of(17, 9)))
    counts = {"prompt_tokens": "26", "completion_tokens": "3", "total_tokens": "29"}

    quoted = data_event(SECOND | {"choices": [], "usage": counts | {"prompt_tokens_details": {"cached_tokens": "20"}}})
    go_on(relay, second({"content": "c"}, "stop"), quoted, DONE)

    assert relay.finish()
    assert documents(client)[-2]["usage"] == usage_of(17, 12, 17)


words = st.lists(st.text(alphabet="ab \n.é👋", min_size=1, max_size=4), min_size=1, max_size=12)


@relayed
@given(words, st.data())
def test_the_text_is_the_first_part_and_the_second(tokens: list[str], data: st.DataObject) -> None:
    """Wherever it breaks off, and however often up to the bound: nothing is lost and nothing comes twice."""
    client = ClientDouble()
    cut = data.draw(st.integers(1, len(tokens)))
    again = data.draw(st.integers(cut, len(tokens)))
    relay = begun(client, ROLE, *[said(token) for token in tokens[:cut]])

    go_on(relay, second({"role": "assistant"}), *continued_by_engine(relay, tokens[cut:again], "".join(tokens[:cut])))
    before = "".join(tokens[:again])
    if relay.partial() is not None:
        go_on(relay, *continued_by_engine(relay, tokens[again:], before))
    relay.feed(second({"content": ""}, "stop") + DONE)

    assert relay.finish()
    assert assembled(client) == "".join(tokens)


def continued_by_engine(relay: Relay, tokens: list[str], before: str) -> list[bytes]:
    """What an engine writes that got the text without the blanks it ends with: those, and then the rest."""
    partial = relay.partial()
    assert partial is not None
    body = continuation_body(json.dumps({"messages": MESSAGES}).encode(), partial, local=True)
    assert body is not None
    sent = json.loads(body)["messages"][-1]
    given_text = sent["content"] if sent["role"] == "assistant" else ""
    assert before.startswith(given_text)
    return [second({"content": piece}) for piece in [before[len(given_text) :], *tokens] if piece]


@relayed
def test_blanks_at_the_seam_come_once() -> None:
    """The text was sent without its last blanks, since chat templates drop them: a repetition of them is dropped."""
    for first, then, whole in (
        ("Hello ", " world", "Hello world"),
        ("Hello ", "world", "Hello world"),
        ("Hello\n\n", "\n\n- one", "Hello\n\n- one"),
        ("Hello\n\n", "\n- one", "Hello\n\n- one"),
        ("Hello", "\n\n", "Hello\n\n"),
    ):
        client = ClientDouble()
        relay = begun(client, said(first))
        go_on(relay, second({"content": then}), second({}, "stop"), DONE)
        assert assembled(client) == whole


@relayed
@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_a_repetition_of_the_text_is_dropped(size: int) -> None:
    """A hosted API that starts over with the same words: only what is new passes."""
    first = "The sky is blue because"
    answer = first + " of scattering."
    client = ClientDouble()
    relay = begun(client, said(first))

    pieces = [answer[start : start + size] for start in range(0, len(answer), size)]
    go_on(relay, *[second({"content": piece}) for piece in pieces], second({}, "stop"), DONE, may_echo=True)

    assert relay.finish()
    assert assembled(client) == answer


@relayed
def test_a_repetition_that_ends_early_is_a_fault() -> None:
    """Neither the repetition nor its end is a true ending of the answer."""
    first = "The sky is blue because of the way that light"
    client = ClientDouble()
    relay = begun(client, said(first))

    go_on(relay, second({"content": "The sky is blue because"}), second({}, "stop"), DONE, may_echo=True)

    assert relay.fault == "it repeated the beginning of the answer instead of going on with it"
    assert assembled(client) == first
    assert not relay.ended
    relay.break_off(errors.SHUTTING_DOWN)
    assert None not in documents(client)
    assert documents(client)[-1]["error"]["code"] == "shutting_down"


@relayed
def test_what_only_looks_like_a_repetition_passes() -> None:
    """Text is held back no longer than it agrees with the first part."""
    first = "The sky is blue because"
    client = ClientDouble()
    relay = begun(client, said(first))

    go_on(relay, second({"content": " The"}), second({"content": " sky has"}), second({}, "stop"), DONE, may_echo=True)

    assert assembled(client) == first + " The sky has"


@relayed
def test_a_short_end_that_agrees_with_the_beginning_passes() -> None:
    """A few characters agree by chance."""
    client = ClientDouble()
    relay = begun(client, said("The sky is blue because"))

    go_on(relay, second({"content": "The"}, "stop"), DONE, may_echo=True)

    assert relay.fault is None
    assert assembled(client) == "The sky is blue becauseThe"


@relayed
def test_plain_completions_go_on_exactly() -> None:
    """The prompt is extended by the very text, blanks included: nothing is dropped."""
    client = ClientDouble()
    relay = begun(client, text_chunk("one "), dialect=Dialect.COMPLETIONS)
    partial = relay.partial()
    assert partial is not None
    body = continuation_body(b'{"prompt":"count: ","max_tokens":5}', partial, local=True)

    go_on(relay, text_chunk(" two", "stop"), DONE)

    assert body is not None
    assert json.loads(body) == {"prompt": "count: one ", "max_tokens": 4}
    assert assembled(client) == "one  two"


@relayed
def test_a_continuation_that_fails_can_be_tried_again_elsewhere() -> None:
    """An error before its first token leaves the answer as it was; the next one is marked alone."""
    client = ClientDouble()
    relay = begun(client, ROLE, said("a"), said("b"))
    written = client.body

    go_on(relay, second({"role": "assistant"}), data_event({"error": {"message": "full"}}), DONE)
    assert (relay.fault, relay.committed, client.body) == ("full", False, written)
    first = relay.partial()
    assert first is not None
    relay.continue_with(503, AnswerHead([]), first, served_by="hosted/x", may_echo=True)
    assert relay.fault == "it answered 503 with no stream"
    plain = AnswerHead([(b"content-type", b"application/json")])
    relay.continue_with(200, plain, first, served_by="hosted/x", may_echo=True)
    relay.feed(b'{"choices":[]}')
    assert relay.fault == "it answered 200 with no stream"
    assert (relay.finish(), client.body) == (False, written)


@relayed
def test_an_answer_goes_on_so_many_times() -> None:
    """The bound ends what would otherwise travel through every replica of a broken pool."""
    client = ClientDouble()
    relay = begun(client, said("a"))
    body = json.dumps({"messages": MESSAGES}).encode()

    for number in range(CONTINUATIONS_MAX):
        partial = relay.partial()
        assert partial is not None
        assert continuation_body(body, partial, local=True) is not None
        go_on(relay, second({"content": str(number)}), served_by=f"local/tiny-{number}")
    partial = relay.partial()

    assert partial is not None
    assert partial.text == "a01"
    assert partial.output_tokens == 3
    assert [part["served_by"] for part in partial.continued] == ["local/tiny-0", "local/tiny-1"]
    assert [part["after_tokens"] for part in partial.continued] == [1, 2]
    assert continuation_body(body, partial, local=True) is None


@relayed
@pytest.mark.parametrize(
    "event",
    [
        chunk({"tool_calls": [{"index": 0, "function": {"name": "f"}}]}),
        chunk({"reasoning": "hm"}),
        said("", "stop"),
        data_event({"choices": [{"index": 1, "delta": {"content": "b"}}]}),
        data_event({"choices": [{"index": 0, "delta": {"content": "b"}, "logprobs": {"content": [1]}}]}),
    ],
)
def test_what_is_not_one_unfinished_text_does_not_go_on(event: bytes) -> None:
    """Tool calls, reasoning, several answers, log probabilities, and an answer whose reason has come."""
    relay = begun(ClientDouble(), said("a"), event)

    assert relay.partial() is None


@relayed
def test_only_kept_answers_that_have_begun_go_on() -> None:
    """Before the first token another backend simply serves the request."""
    assert begun(ClientDouble(), ROLE).partial() is None
    assert begun(ClientDouble(), said("a"), keep=False).partial() is None
    assert begun(ClientDouble(), b"data: x\n\n", dialect=Dialect.OTHER).partial() is None


# -- the request -------------------------------------------------------------------------------------------------------


def partial_of(text: str, tokens: int = 3, dialect: Dialect = Dialect.CHAT) -> Partial:
    """An answer that broke off behind this text."""
    return Partial(dialect, text, tokens, None, exact=False, first_chunk={})


def continued(request: dict[str, Any], text: str = "Once upon", *, local: bool = True) -> Any:
    """The request that goes on; None: there is none."""
    body = continuation_body(json.dumps({"messages": MESSAGES} | request).encode(), partial_of(text), local=local)
    return json.loads(body) if body is not None else None


def test_an_engine_is_told_to_go_on_with_the_text() -> None:
    """As its last message, not as a turn that is over."""
    request = {"model": "m", "temperature": 0.25, "stream": True, "unknown": {"x": 1}}

    assert continued(request) == request | {
        "messages": [*MESSAGES, {"role": "assistant", "content": "Once upon"}],
        "continue_final_message": True,
        "add_generation_prompt": False,
    }


def test_a_hosted_api_gets_the_text_as_the_last_message() -> None:
    """Without fields that only an engine knows."""
    assert continued({}, "Once upon ", local=False) == {
        "messages": [*MESSAGES, {"role": "assistant", "content": "Once upon"}]
    }


def test_a_prefill_of_the_clients_own_is_extended() -> None:
    """The client's message and the text are one message; hosted APIs have no such thing."""
    request = {"messages": [*MESSAGES, {"role": "assistant", "content": "Once "}], "continue_final_message": True}

    assert continued(request, "upon")["messages"][-1] == {"role": "assistant", "content": "Once upon"}
    assert continued(request, "upon", local=False) is None
    assert continued(request | {"continue_final_message": False}, "upon") is None


def test_limits_are_lowered_by_what_came() -> None:
    """max_tokens and its kin hold for the whole answer; where nothing is left there is nothing to go on with."""
    assert continued({"max_tokens": 10})["max_tokens"] == 7
    assert continued({"max_completion_tokens": 4, "min_tokens": 2})["max_completion_tokens"] == 1
    assert continued({"max_completion_tokens": 4, "min_tokens": 2})["min_tokens"] == 0
    assert continued({"max_tokens": 3}) is None


def test_a_text_of_blanks_begins_anew() -> None:
    """There is nothing to go on with; the blanks are not repeated."""
    assert continued({}, " \n") == {"messages": MESSAGES}


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"best_of": 2},
        {"logprobs": True},
        {"top_logprobs": 3},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        {"guided_json": {"type": "object"}},
        {"structured_outputs": {"regex": "x"}},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function"}},
        {"messages": []},
        {"messages": "x"},
    ],
)
def test_what_can_not_be_true_is_not_tried(fields: dict[str, Any]) -> None:
    """Several answers, shapes that the engine enforces from the first token, log probabilities."""
    assert continued(fields) is None


def test_ordinary_fields_do_not_hinder() -> None:
    """Tools that the model may call, one answer, text as the format."""
    fields = {"n": 1, "tools": [{"type": "function"}], "tool_choice": "auto", "logprobs": False, "stop": ["x"]}

    assert continued(fields | {"response_format": {"type": "text"}}) is not None


def test_a_prompt_of_tokens_or_several_prompts_do_not_go_on() -> None:
    """Text can't be put behind them."""
    partial = partial_of("x", dialect=Dialect.COMPLETIONS)

    for prompt in ([1, 2, 3], ["a", "b"], None):
        assert continuation_body(json.dumps({"prompt": prompt}).encode(), partial, local=True) is None
    assert continuation_body(b"no json", partial, local=True) is None


@relayed
def test_a_continuation_keeps_what_is_unrelated() -> None:
    """Usage chunks without counts, and comments, pass."""
    client = ClientDouble()
    relay = begun(client, said("a"))
    odd = usage_chunk().replace(b'"prompt_tokens":17', b'"prompt_tokens":"x"')

    go_on(relay, second({"content": "b"}), b": hm\n\n", odd, second({}, "stop"), DONE)

    assert relay.finish()
    assert b": hm\n\n" in client.body

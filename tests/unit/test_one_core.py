"""One core decides in gateways, in the operator and in virtual time: a real trace goes through it twice, alike."""

import socket
import threading

import pytest

from unit.simulation import azure_conversation, simulate


def no_socket(*_: object) -> None:
    """What stands in for sockets."""
    raise AssertionError("deciding opens no socket")


@pytest.mark.exhaustive
@pytest.mark.timeout(600)  # twenty seconds of one processor that has nothing else to do
def test_a_trace_is_decided_twice_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 requests through flow, pool and scaling in virtual time: the same seed, the same decisions; no I/O."""
    monkeypatch.setattr(socket, "socket", no_socket)
    threads = threading.active_count()
    arrivals = azure_conversation(100_000)

    first, second = simulate(arrivals, seed=1), simulate(arrivals, seed=1)

    assert first.digest == second.digest
    assert first.requests == 100_000
    assert not first.outcomes["refused"], "a hosted API takes whatever replicas can't"
    assert first.outcomes["local"] > 0.9 * first.requests, "and replicas come for what there is"
    assert max(change.after for change in first.changes) > 1
    assert first.changes[-1].after == 0, "when nobody asks any more they go"
    assert threading.active_count() == threads


def test_what_decides_differs_when_what_is_seen_differs() -> None:
    """The digest is one of decisions: another load time makes another one."""
    arrivals = azure_conversation(2_000)

    assert simulate(arrivals, load_seconds=60.0).digest != simulate(arrivals, load_seconds=20.0).digest


def test_what_the_operator_hears_is_what_happened() -> None:
    """Over contract 2: requests, tokens, what spilled and how long first tokens took, line by line added up."""
    arrivals = azure_conversation(2_000)
    outcome = simulate(arrivals)
    heard = outcome.heard

    assert heard.arrivals == outcome.requests == 2_000
    assert (heard.local.answers, heard.hosted.answers) == (outcome.outcomes["local"], outcome.outcomes["hosted"])
    prompts = sum(arrival.prompt_tokens for arrival in arrivals)
    assert heard.local.prompt_tokens + heard.hosted.prompt_tokens == prompts
    assert heard.spilled.requests == outcome.outcomes["hosted"] > 0, "while its first replica came"
    assert heard.spilled.prompt_tokens == heard.hosted.prompt_tokens
    assert heard.spilled.request_seconds == pytest.approx(3.0 * heard.spilled.requests)
    told = heard.local.first_token
    assert told.count == len(outcome.first_tokens)
    assert told.seconds_sum == pytest.approx(sum(outcome.first_tokens))
    for share in (0.5, 0.95):
        true = outcome.first_tokens[int(share * told.count)]
        assert told.quantile(share) == pytest.approx(true, rel=0.35), "within its bound by proportion"
    assert heard.local.inter_token.count > 0.9 * heard.local.answers, "those of two tokens or more"

"""An engine dies or is replaced under load: no plain request fails, and a cut stream says that it was cut.

And the gateway itself is replaced under load: nobody notices.

The stand-in plays the engine, so that it is back at once and many requests fit into seconds.
"""

from collections.abc import Iterator

import pytest

from e2e import installation
from e2e.killing import CONNECTIONS, KINDS, NAMESPACE, killed_under_load, roll_out_gateway
from e2e.kubernetes_cli import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def key(cluster: Cluster) -> Iterator[str]:
    """An API key of a fresh installation, which is removed afterwards."""
    installation.remove(cluster, NAMESPACE)
    installation.install(cluster)
    installation.start_hosted_standin(cluster, NAMESPACE)
    yield installation.create_key(cluster, "failure", NAMESPACE)
    installation.remove(cluster, NAMESPACE)


@pytest.mark.parametrize("kind", KINDS)
def test_two_replicas_lose_no_plain_request(cluster: Cluster, key: str, kind: str) -> None:
    """With a second replica every plain request is answered, however the first one goes, or both in a roll-out."""
    outcome = killed_under_load(cluster, key, KINDS[kind], replicas=2, hosted=False, streamed=False)

    assert outcome.failures == []
    assert len(outcome.seconds) > 100


def test_hosted_api_stands_in_for_the_only_replica(cluster: Cluster, key: str) -> None:
    """With one replica and a hosted API every plain request is answered."""
    outcome = killed_under_load(cluster, key, KINDS["sigkill"], replicas=1, hosted=True, streamed=False)

    assert outcome.failures == []
    assert len(outcome.seconds) > 100


def test_rolling_out_a_change_cuts_no_stream(cluster: Cluster, key: str) -> None:
    """A change of the spec replaces all replicas while streams run to their ends."""
    outcome = killed_under_load(cluster, key, KINDS["roll_out"], replicas=1, hosted=False, streamed=True)

    assert outcome.failures == []
    assert outcome.cut_silently == 0
    assert outcome.cut_with_error_event == 0


def test_cut_stream_ends_with_an_error_event(cluster: Cluster, key: str) -> None:
    """A stream that was under way when its replica died ends with an error event, never as if it were whole."""
    outcome = killed_under_load(cluster, key, KINDS["sigkill"], replicas=2, hosted=False, streamed=True)

    assert outcome.failures == []
    assert outcome.cut_silently == 0
    assert outcome.cut_with_error_event > 0


def test_replacing_the_gateway_loses_no_plain_request(cluster: Cluster, key: str) -> None:
    """A rolling update of the gateway under load: every request is answered."""
    outcome = killed_under_load(cluster, key, roll_out_gateway, replicas=1, hosted=False, streamed=False)

    assert outcome.failures == []
    assert len(outcome.seconds) > 100


def test_replacing_the_gateway_cuts_no_stream(cluster: Cluster, key: str) -> None:
    """Streams that last longer than new ones are still let in (3 s) go on to their ends in the old gateway."""
    outcome = killed_under_load(cluster, key, roll_out_gateway, replicas=1, hosted=False, streamed=True, token_ms=200)

    assert outcome.failures == []
    assert outcome.cut_silently == 0
    assert outcome.cut_with_error_event == 0
    assert len(outcome.seconds) > CONNECTIONS

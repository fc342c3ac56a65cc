"""The plan that the supervisor is given."""

from cluster.plan import Component, Plan, Wait, restart_delay_seconds


def test_a_plan_survives_its_file() -> None:
    """What the starter writes is what the supervisor reads."""
    component = Component("a", ["run", "--it"], [Wait("tcp", "127.0.0.1:1")], [7], {"KEY": "value"})
    plan = Plan("/state", "/state/log", "/state/status.json", [component], [["true"]], "/state")
    assert Plan.from_json(plan.to_json()) == plan


def test_a_component_that_keeps_failing_is_started_less_and_less_often() -> None:
    """The first restart comes at once, later ones at most every five seconds."""
    delays = [restart_delay_seconds(failures) for failures in range(12)]
    assert delays[0] <= 0.1
    assert delays == sorted(delays)
    assert delays[-1] == 5.0

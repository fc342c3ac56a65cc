"""What a replica has read of the line of prompts, and what its last step read in which time."""

from overspill_gateway.core.prediction.steps import EngineSteps


def test_the_place_in_the_line_is_what_was_sent_before() -> None:
    """In prompt tokens, of which those are unread whose first token has not come."""
    steps = EngineSteps()
    steps.request_sent(100)
    steps.request_sent(50)
    assert (steps.sent, steps.unread) == (150, 150)
    steps.first_token(100, 1.0)

    assert (steps.sent, steps.unread) == (150, 50)
    steps.request_gone(50)
    assert steps.unread == 0


def test_first_tokens_at_once_are_of_one_step() -> None:
    """Only the first of them begins a new one."""
    steps = EngineSteps()
    for _ in range(3):
        steps.request_sent(100)

    assert steps.first_token(100, 1.0)
    assert not steps.first_token(100, 1.001)
    assert steps.first_token(100, 1.2)


def test_a_step_that_read_all_that_there_was_is_known_to_the_token() -> None:
    """It began with the first tokens of the step before, at 1.0, with 300 unread, and ended with theirs at 1.2."""
    steps = EngineSteps()
    steps.request_sent(100)
    steps.request_sent(200)
    steps.request_sent(100)
    steps.first_token(100, 1.0)
    steps.request_sent(77)
    steps.first_token(200, 1.2)
    steps.first_token(100, 1.2)
    steps.first_token(77, 1.3)

    assert steps.step_tokens == 300
    assert 0.19 < steps.step_seconds < 0.21


def test_a_step_that_left_something_says_nothing_nor_does_the_next() -> None:
    """It may have ended in the middle of a prompt, of which the next one read the rest."""
    steps = EngineSteps()
    for _ in range(4):
        steps.request_sent(100)
    told = []
    for now in (1.0, 1.2, 1.4, 1.6):
        steps.first_token(100, now)
        told.append(steps.step_tokens)

    assert told == [0, 0, 0, 0]

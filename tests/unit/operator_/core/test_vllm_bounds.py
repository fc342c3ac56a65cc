"""VLLM's own bounds on what waits inside it: from the route's target, where the image's version has them."""

import pytest

from overspill_api.modelroute import SelfHosted
from overspill_api.profile import Profile
from overspill_operator.core.vllm_arguments import engine_arguments
from overspill_operator.core.vllm_bounds import bound_arguments, vllm_version


def profile(image: str = "vllm/vllm-openai:v0.32.0", *, version: str | None = None, rate: int | None = 8000) -> Profile:
    """A profile whose replicas read 8,000 prompt tokens a second."""
    return Profile(image=image, vllm_version=version, prompt_tokens_per_second=rate)


def test_tokens_are_what_is_read_within_the_target_and_requests_two_full_batches() -> None:
    """2.5 s at 8,000 tokens a second are 20,000; 64 run and as many wait."""
    assert bound_arguments(profile(), 2.5, ["--max-num-seqs=64"]) == [
        "--max-num-queued-tokens=20000",
        "--max-num-queued-reqs=128",
    ]


@pytest.mark.parametrize(
    ("given", "requests"),
    [
        ([], 2048),
        (["--max-num-seqs=8", "--max-num-seqs=16"], 32),
        (["--max_num_seqs", "16", "--enforce-eager"], 32),
        (["--max-num-seqs=0"], 2048),
        (["--max-num-seqs"], 2048),
        (["--max-num-seqs=many"], 2048),
    ],
)
def test_the_size_of_the_batch_is_what_vllm_would_take_it_to_be(given: list[str], requests: int) -> None:
    """The last one counts, in either spelling; where it is no number, vLLM says so itself."""
    assert bound_arguments(profile(), 1.0, given)[1] == f"--max-num-queued-reqs={requests}"


@pytest.mark.parametrize(
    ("made", "seconds"),
    [
        (profile(rate=None), 2.0),
        (profile(), None),
        (profile("vllm/vllm-openai:v0.31.2"), 2.0),
        (profile("vllm/vllm-openai:latest"), 2.0),
        (profile("vllm/vllm-openai@sha256:" + "0" * 64), 2.0),
        (profile("example.com/engine:v0.32.0"), 2.0),
        (profile(version="0.31"), 2.0),
    ],
)
def test_where_something_is_not_known_nothing_is_set(made: Profile, seconds: float | None) -> None:
    """Of an option that it does not know vLLM does not start."""
    assert bound_arguments(made, seconds, []) == []


@pytest.mark.parametrize(
    ("image", "version", "found"),
    [
        ("vllm/vllm-openai:v0.32.0", None, (0, 32)),
        ("example.com:5000/vllm/vllm-openai:0.33.1-cu129@sha256:" + "0" * 64, None, (0, 33)),
        ("example.com:5000/vllm", None, None),
        ("example.com/engine:latest", "0.32.0", (0, 32)),
        ("vllm/vllm-openai:v0.32.0", "1.0", (1, 0)),
    ],
)
def test_the_version_is_the_profiles_or_the_tags(
    image: str, version: str | None, found: tuple[int, int] | None
) -> None:
    """A port of a registry is no version, and a tag of something else than vLLM says nothing of vLLM."""
    assert vllm_version(profile(image, version=version)) == found


def test_a_persons_own_bounds_follow_and_win() -> None:
    """As with every option that may be overridden."""
    self_hosted = SelfHosted.model_validate(
        {"source": "hf://org/model", "profile": "x", "args": ["--max-num-queued-tokens=7"]}
    )
    arguments = engine_arguments(
        self_hosted, profile(), model="m", served="m", port=8000, host="0.0.0.0", first_token_seconds=1.0
    )
    bounds = [argument for argument in arguments if argument.startswith("--max-num-queued-tokens")]
    assert bounds == ["--max-num-queued-tokens=8000", "--max-num-queued-tokens=7"]


def test_another_program_than_vllm_gets_none() -> None:
    """It would not know them."""
    self_hosted = SelfHosted.model_validate({"source": "hf://org/model", "profile": "x"})
    arguments = engine_arguments(
        self_hosted, profile(), model="m", served="m", port=8000, host=None, first_token_seconds=1.0
    )
    assert not [argument for argument in arguments if argument.startswith("--max-num-queued")]

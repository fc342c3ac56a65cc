"""Arguments of an engine's command, wherever it runs: the model, its names, its port, what profile and route add."""

from math import ceil

from overspill_api.modelroute import SelfHosted
from overspill_api.profile import Profile
from overspill_operator.core import served_model, sources
from overspill_operator.core.vllm_bounds import bound_arguments

EXIT_SECONDS = 10
"""For vLLM to free its devices after the last request."""


def engine_arguments(
    self_hosted: SelfHosted,
    profile: Profile,
    *,
    model: str,
    served: str,
    port: int | str,
    host: str | None,
    first_token_seconds: float | None = None,
) -> list[str]:
    """What follows the command. VLLM takes the last of two equal options, so those that may be overridden come first.

    ``model``: what answers call it, ``served``: what gateways ask for. ``host``: the address that vLLM listens on;
    None: the command is another program than vLLM, and gets only what every engine must know. ``first_token_seconds``:
    the route's target, from which vLLM's own bounds follow (see ``vllm_bounds``).
    """
    source = sources.resolve(self_hosted.source)
    options = [*served_model.arguments(model, served), f"--port={port}"]
    replica_gpus = gpus(self_hosted, profile)
    if replica_gpus > 1 or self_hosted.tensor_parallel_size:
        options.append(f"--tensor-parallel-size={self_hosted.tensor_parallel_size or replica_gpus}")
    if host is not None:
        # Without it vLLM aborts what runs when it is told to stop; with it, it finishes that first.
        options.append(f"--shutdown-timeout={drain_seconds(profile)}")
        options.append(f"--host={host}")
        options += bound_arguments(profile, first_token_seconds, [*source.args, *profile.args, *self_hosted.args])
    return [source.model, *options, *source.args, *profile.args, *self_hosted.args]


def drain_seconds(profile: Profile) -> int:
    """The longest that a replica going away may finish what it has begun, in whole seconds."""
    return ceil(profile.drain_timeout.seconds)


def gpus(self_hosted: SelfHosted, profile: Profile) -> int:
    """Accelerators of one replica; 0 on CPU."""
    if profile.gpus is None:
        return 0
    return self_hosted.tensor_parallel_size or profile.gpus.count

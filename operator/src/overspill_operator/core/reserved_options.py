"""Arguments and variables of an engine that its route may not set, wherever it runs."""

from overspill_api.modelroute import SelfHosted
from overspill_api.profile import Profile
from overspill_operator.core.engine_options import RESERVED_VARIABLES, misused_arguments
from overspill_operator.core.faults import Fault, FaultReason

VLLM_COMMAND = ("vllm", "serve")
"""The command whose options may be added to; another one gets only what every engine must know."""


def reserved_arguments(self_hosted: SelfHosted, profile: Profile | None = None) -> tuple[Fault, ...]:
    """Faults for arguments and variables that would take the engine away from the gateways.

    Without a profile it is not known whose command takes the arguments: then only options are judged.
    """
    is_vllm = profile is not None and tuple(profile.command) == VLLM_COMMAND
    arguments = [
        f"args[{misuse.index}] {misuse.what}" for misuse in misused_arguments(self_hosted.args, positional=is_vllm)
    ]
    variables = [
        f"env[{index}] sets {variable.name}, {RESERVED_VARIABLES[variable.name]}: remove it"
        for index, variable in enumerate(self_hosted.env)
        if variable.name in RESERVED_VARIABLES
    ]
    return tuple(
        Fault(FaultReason.RESERVED_ARGUMENT, f"spec.selfHosted.{problem}.") for problem in [*arguments, *variables]
    )

"""Arguments and environment variables that would take an engine from its gateways, in every spelling that vLLM takes.

vLLM's parser reads ``_`` as ``-``, ``--name=value`` and two arguments alike, unambiguous beginnings of names, dotted
names, and letters in place of names. Options are compared with those of one version (``vllm_options``); what is
reserved is refused of other versions all the same. Not here: options that are a person's to choose, however badly.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from overspill_operator.core.vllm_options import WITH_AT_MOST_ONE, WITH_ONE_VALUE, WITH_SEVERAL, WITHOUT_VALUE

_SET_HERE: Final = "which Overspill sets itself"
_UNREACHABLE: Final = "with which the gateways would not reach the engine"
_NOT_ALONE: Final = "which makes an engine of several pods, and a replica is one pod"

RESERVED_OPTIONS: Final[Mapping[str, str]] = {
    "--port": _SET_HERE,
    "--host": _SET_HERE,
    "--served-model-name": _SET_HERE,
    "--model": "which spec.selfHosted.source says",
    "--uds": _UNREACHABLE,
    "--api-key": _UNREACHABLE,
    "--ssl-keyfile": _UNREACHABLE,
    "--ssl-certfile": _UNREACHABLE,
    "--ssl-ca-certs": _UNREACHABLE,
    "--ssl-cert-reqs": _UNREACHABLE,
    "--ssl-ciphers": _UNREACHABLE,
    "--enable-ssl-refresh": _UNREACHABLE,
    "--root-path": _UNREACHABLE,
    "--headless": _UNREACHABLE,
    "--grpc": _UNREACHABLE,
    "--grpc-port": _UNREACHABLE,
    "--tokens-only": _UNREACHABLE,
    "--config": "a file that could set anything; write its options as arguments",
    "--help": "with which vLLM prints its help and ends",
    "-h": "with which vLLM prints its help and ends",
    "--data-parallel-address": _NOT_ALONE,
    "-dpa": _NOT_ALONE,
    "--data-parallel-external-lb": _NOT_ALONE,
    "-dpe": _NOT_ALONE,
    "--data-parallel-hybrid-lb": _NOT_ALONE,
    "-dph": _NOT_ALONE,
    "--data-parallel-multi-port-external-lb": _NOT_ALONE,
    "-dpm": _NOT_ALONE,
    "--data-parallel-rank": _NOT_ALONE,
    "-dpn": _NOT_ALONE,
    "--data-parallel-start-rank": _NOT_ALONE,
    "-dpr": _NOT_ALONE,
    "--data-parallel-size-local": _NOT_ALONE,
    "-dpl": _NOT_ALONE,
    "--data-parallel-supervisor-port": _NOT_ALONE,
    "--nnodes": _NOT_ALONE,
    "-n": _NOT_ALONE,
    "--node-rank": _NOT_ALONE,
    "-r": _NOT_ALONE,
    "--master-addr": _NOT_ALONE,
    "--master-port": _NOT_ALONE,
}
"""Options that a route may not set, each with what it is."""

RESERVED_VARIABLES: Final[Mapping[str, str]] = {
    "VLLM_API_KEY": _UNREACHABLE,
    "VLLM_PORT": "from which vLLM takes ports of its own, so that it may meet the one that the gateways ask",
    "VLLM_HOST_IP": "an address, which each pod has another one of",
    "VLLM_MODEL_REDIRECT_PATH": "a file that could name another model; spec.selfHosted.source says the model",
    "VLLM_DP_RANK": _NOT_ALONE,
    "VLLM_DP_RANK_LOCAL": _NOT_ALONE,
    "VLLM_DP_SIZE": _NOT_ALONE,
    "VLLM_DP_MASTER_IP": _NOT_ALONE,
    "VLLM_DP_MASTER_PORT": _NOT_ALONE,
}
"""Environment variables that a route may not set, each with what it is."""

_ALL: Final = WITHOUT_VALUE | WITH_ONE_VALUE | WITH_AT_MOST_ONE | WITH_SEVERAL
_COUNT: Final = "--api-server-count"
_COUNT_SHORT: Final = "-asc"
_NUMBER: Final = re.compile(r"-[0-9]+|-[0-9]*\.[0-9]+")
"""What looks like an option and is a value."""


@dataclass(frozen=True, slots=True)
class Misuse:
    """One argument that may not stand there."""

    index: int
    """Its place in the list."""
    what: str
    """What it does; follows the place."""


def misused_arguments(arguments: Sequence[str], *, positional: bool = True) -> Iterator[Misuse]:
    """Arguments that may not stand among those that follow the model.

    ``positional``: whether one that belongs to no option is among them; false for a command that may not be vLLM's.
    """
    values = 0.0
    """How many values the option before may still take."""
    for index, argument in enumerate(arguments):
        if not argument.startswith("-") or argument == "-" or _NUMBER.fullmatch(argument) or " " in _name(argument):
            if values < 1 and positional:
                shown = argument if len(argument) <= 40 else argument[:40] + "..."
                yield Misuse(
                    index,
                    f"({shown!r}) is neither an option nor the value of one: write each option as one argument "
                    "(--name=value); the model is what spec.selfHosted.source says",
                )
            values -= 1
            continue
        name = _name(argument)
        meanings = _meanings(name)
        reserved = [(option, RESERVED_OPTIONS[option]) for option in meanings if option in RESERVED_OPTIONS]
        if name == "--":
            yield Misuse(index, "(--) ends the options, and nothing may follow them: remove it")
        elif reserved:
            option, meaning = reserved[0]
            written = argument.partition("=")[0]
            spelt = "" if written == option else f" (written {written!r})"
            yield Misuse(index, f"sets {option}{spelt}, {meaning}: remove it")
        elif {_COUNT, _COUNT_SHORT} & set(meanings) and not _is_above_zero(argument, arguments[index + 1 : index + 2]):
            yield Misuse(index, f"sets {_COUNT} to none, {_UNREACHABLE}: write a number above zero")
        values = 0 if "=" in argument else _values_taken(meanings)


def _name(argument: str) -> str:
    """The option's name as vLLM compares it: dashes throughout, without value and dotted rest."""
    name = argument.partition("=")[0].partition(".")[0]
    return "--" + name[2:].replace("_", "-") if name.startswith("--") else name


def _meanings(name: str) -> tuple[str, ...]:
    """Options that a name may mean: itself where it is whole, else all that begin with it, as argparse has it."""
    if name in _ALL:
        return (name,)
    if name.startswith("--"):
        return tuple(sorted(option for option in _ALL | RESERVED_OPTIONS.keys() if option.startswith(name)))
    letter = name[:2]  # -n2 is -n with the value 2
    return tuple(sorted(option for option in _ALL if option == letter or option.startswith(name)))


def _values_taken(meanings: tuple[str, ...]) -> float:
    if len(meanings) == 1 and meanings[0] in WITHOUT_VALUE:
        return 0
    if len(meanings) == 1 and meanings[0] in WITH_ONE_VALUE | WITH_AT_MOST_ONE:
        return 1
    return float("inf")  # several, or an option of another version


def _is_above_zero(argument: str, rest: Sequence[str]) -> bool:
    _, equals, value = argument.partition("=")
    text = value if equals else next(iter(rest), "")
    return text.isascii() and text.isdigit() and int(text) > 0


def misused_template(made: Mapping[str, Any], merged: Mapping[str, Any]) -> Iterator[str]:
    """What a pod template has changed in the engine's container so that the gateways would lose it. Sentences' ends.

    ``made``: the container as Overspill makes it, ``merged``: with the person's template over it.
    """
    if merged.get("args") != made.get("args"):
        yield "args replaces all arguments, by some of which the gateways find the engine; use spec.selfHosted.args"
    command = merged.get("command")
    if command != made.get("command"):
        words = [word for part in command or () if isinstance(part, str) for word in part.split()]
        yield from (f"command {misuse.what}" for misuse in misused_arguments(words, positional=False))
    before = {entry.get("name"): entry for entry in made.get("env") or ()}
    for entry in merged.get("env") or ():
        name = str(entry.get("name")) if isinstance(entry, Mapping) else ""
        if name in RESERVED_VARIABLES and entry != before.get(name) and (name != "VLLM_HOST_IP" or "value" in entry):
            yield f"env sets {name}, {RESERVED_VARIABLES[name]}: remove it"

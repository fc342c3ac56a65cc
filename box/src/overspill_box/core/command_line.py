"""A replica's command line and environment: from what an engine shall be, for one port. No shell, no I/O.

VLLM gets the arguments that it has on Kubernetes; another program is called as its profile says, with placeholders.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from overspill_operator.core import sources
from overspill_operator.core.plan import EngineSpec
from overspill_operator.core.vllm_arguments import engine_arguments

LOOPBACK: Final = "127.0.0.1"
"""The only address that engines of one machine listen on."""

ARGS: Final = "{args}"
"""An item that stands for the arguments of profile and route."""

KNOWN: Final = ("model", "revision", "port", "served_model", "api_key")
"""Names of placeholders inside items."""

_PLACEHOLDER: Final = re.compile(r"\{\{([a-z_]+)\}\}|\{([a-z_]+)\}")
"""In double braces it is the text itself in single ones."""

_PORT_HERE: Final = "\0"
"""Stands for the port until there is one: no argument and no variable can have it."""

_SLEEP_VARIABLE: Final = "VLLM_SERVER_DEV_MODE"
"""In this mode alone vLLM answers /sleep and /wake_up. It guards neither by its key: loopback is what keeps them."""


@dataclass(frozen=True, slots=True)
class VllmProgram:
    """VLLM of this machine."""

    command: tuple[str, ...]
    """How it is called, such as ``/path/bin/vllm serve``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that it needs beside those of ``serve``; profiles and routes may set others."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A replica's command and environment but for its port."""

    items: tuple[str, ...] = field(repr=False)
    """Program and arguments; may hold secrets."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables; may hold secrets."""

    def for_port(self, port: int) -> tuple[tuple[str, ...], dict[str, str]]:
        """Command and environment with the port in its places."""
        text = str(port)
        items = tuple(item.replace(_PORT_HERE, text) for item in self.items)
        return items, {name: value.replace(_PORT_HERE, text) for name, value in self.environment.items()}


def is_vllm(command: Sequence[str]) -> bool:
    """Whether a profile's local command is vLLM's, so that it takes vLLM's arguments; an empty one is."""
    return not command or (len(command) > 1 and command[-1] == "serve" and command[-2].rpartition("/")[2] == "vllm")


def uses(texts: Sequence[str], placeholder: str) -> bool:
    """Whether one of the texts has the placeholder of this name in it."""
    return any(match.group(2) == placeholder for text in texts for match in _PLACEHOLDER.finditer(text))


def unknown_placeholders(command: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Items of a command with a placeholder that is none: its place and what is written."""
    for index, item in enumerate(command):
        for match in _PLACEHOLDER.finditer(item):
            if match.group(2) is not None and match.group(2) not in KNOWN and item != ARGS:
                yield index, match.group(0)


def vllm_command_line(
    engine: EngineSpec, program: VllmProgram, added: Mapping[str, str], *, can_sleep: bool
) -> CommandLine:
    """VLLM's; ``added``: variables that Secret and route add to the profile's."""
    profile = engine.profile
    arguments = engine_arguments(
        engine.self_hosted, profile, model=engine.model, served=engine.served, port=_PORT_HERE, host=LOOPBACK,
        first_token_seconds=engine.first_token_seconds,
    )  # fmt: skip
    if any(argument.startswith("--host") for argument in profile.args):
        arguments.append(f"--host={LOOPBACK}")  # the address that suits a pod would let the network in here
    environment = {**program.environment, **profile.env, **added}
    if can_sleep:
        arguments.append("--enable-sleep-mode")
        environment[_SLEEP_VARIABLE] = "1"
    if engine.api_key is not None:
        environment["VLLM_API_KEY"] = engine.api_key
    return CommandLine((*program.command, *arguments), environment)


def own_command_line(engine: EngineSpec, added: Mapping[str, str]) -> CommandLine:
    """A profile's own command with its placeholders replaced, in its variables as well; ``added``: as above."""
    source = sources.resolve(engine.self_hosted.source)
    values = {
        "model": source.model,
        "revision": revision(engine.self_hosted.source),
        "port": _PORT_HERE,
        "served_model": engine.served,
        "api_key": engine.api_key or "",
    }
    items: list[str] = []
    for item in engine.profile.local.command:
        if item == ARGS:
            items += [*engine.profile.args, *engine.self_hosted.args]
        else:
            items.append(_replaced(item, values))
    environment = {name: _replaced(value, values) for name, value in engine.profile.env.items()}
    return CommandLine(tuple(items), {**environment, **added})


def revision(source: str) -> str:
    """The revision that a source on Hugging Face names; empty: none."""
    return source.partition("@")[2] if source.startswith("hf://") else ""


def _replaced(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match.group(1) is not None:
            return "{" + match.group(1) + "}"
        return values.get(match.group(2), match.group(0))

    return _PLACEHOLDER.sub(value, text)

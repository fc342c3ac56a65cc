"""A replica's command line and environment: from what an engine shall be, for one port. No shell, no I/O."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from overspill_operator.core import sources
from overspill_operator.core.plan import EngineSpec
from overspill_operator.core.vllm_arguments import engine_arguments

LOOPBACK: Final = "127.0.0.1"
"""The only address that engines of one machine listen on."""

PORT: Final = "{port}"
"""Stands for the port until one is chosen."""
API_KEY: Final = "{api_key}"
"""Stands for the key that the engine asks for."""
ARGS: Final = "{args}"
"""An item that stands for the arguments of profile and route."""

_PLACEHOLDER: Final = re.compile(r"\{\{([a-z_]+)\}\}|\{([a-z_]+)\}")
KNOWN: Final = ("model", "revision", "port", "served_model", "api_key")
"""Names of placeholders inside items."""


@dataclass(frozen=True, slots=True)
class VllmProgram:
    """VLLM of this machine."""

    command: tuple[str, ...]
    """How it is called, such as ``/path/bin/vllm serve``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that it needs beside those of ``serve``."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A replica's command and environment but for its port, which may still stand as ``{port}``."""

    items: tuple[str, ...] = field(repr=False)
    """Program and arguments; may hold secrets."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables; may hold secrets."""
    port_items: frozenset[int] = frozenset()
    """Which items have the port in them."""
    port_variables: frozenset[str] = frozenset()
    """Which variables have the port in them."""

    def for_port(self, port: int) -> tuple[tuple[str, ...], dict[str, str]]:
        """Command and environment with the port in its places."""
        items = tuple(
            item.replace(PORT, str(port)) if index in self.port_items else item for index, item in enumerate(self.items)
        )
        environment = {
            name: value.replace(PORT, str(port)) if name in self.port_variables else value
            for name, value in self.environment.items()
        }
        return items, environment


def is_vllm(command: tuple[str, ...] | list[str]) -> bool:
    """Whether a profile's local command is vLLM's, so that it takes vLLM's arguments; an empty one is."""
    return not command or (len(command) > 1 and command[-1] == "serve" and command[-2].rpartition("/")[2] == "vllm")


def uses(profile_command: list[str], environment: Mapping[str, str], placeholder: str) -> bool:
    """Whether a command or its variables have the placeholder in them."""
    return any(placeholder in _escaped_away(text) for text in (*profile_command, *environment.values()))


def unknown_placeholders(command: list[str]) -> Iterator[tuple[int, str]]:
    """Items of a command with a placeholder that is none, each with its place."""
    for index, item in enumerate(command):
        for match in _PLACEHOLDER.finditer(item):
            name = match.group(2)
            if name is not None and name not in KNOWN and item != ARGS:
                yield index, "{" + name + "}"


def vllm_command_line(
    engine: EngineSpec, program: VllmProgram, environment: Mapping[str, str], *, can_sleep: bool
) -> CommandLine:
    """VLLM's, with the arguments that it has on Kubernetes; ``environment``: what profile, Secret and route add."""
    arguments = engine_arguments(
        engine.self_hosted,
        engine.profile,
        model=engine.model,
        served=engine.served,
        port=PORT,
        host=LOOPBACK,
    )
    port = arguments.index(f"--port={PORT}")
    sleep = ["--enable-sleep-mode"] if can_sleep else []
    variables = {**program.environment, **environment}
    if can_sleep:
        variables["VLLM_SERVER_DEV_MODE"] = "1"  # /sleep and /wake_up are answered in it alone
    if engine.api_key is not None:
        variables["VLLM_API_KEY"] = engine.api_key
    return CommandLine(
        items=(*program.command, *arguments, *sleep),
        environment=variables,
        port_items=frozenset({len(program.command) + port}),
    )


def own_command_line(engine: EngineSpec, environment: Mapping[str, str]) -> CommandLine:
    """A profile's own command, its placeholders replaced but the port's."""
    source = sources.resolve(engine.self_hosted.source)
    values = {
        "model": source.model,
        "revision": engine.self_hosted.source.partition("@")[2] if source.args else "",
        "served_model": engine.served,
        "api_key": engine.api_key or "",
    }
    items: list[str] = []
    port_items: set[int] = set()
    for item in engine.profile.local.command:
        if item == ARGS:
            items += [*engine.profile.args, *engine.self_hosted.args]
            continue
        if _has_port(item):
            port_items.add(len(items))
        items.append(_replaced(item, values))
    of_profile = {name: value for name, value in environment.items() if name in engine.profile.env}
    variables = {name: _replaced(value, values) if name in of_profile else value for name, value in environment.items()}
    port_variables = frozenset(name for name, value in of_profile.items() if _has_port(value))
    return CommandLine(tuple(items), variables, frozenset(port_items), port_variables)


def _has_port(text: str) -> bool:
    return PORT in _escaped_away(text)


def _escaped_away(text: str) -> str:
    return re.sub(r"\{\{[a-z_]+\}\}", "", text)


def _replaced(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match.group(1) is not None:
            return "{" + match.group(1) + "}"
        return values.get(match.group(2), match.group(0))

    return _PLACEHOLDER.sub(value, text)

"""The command ``overspill serve`` as it was typed: serves, or says how a running one fares, or prints a unit."""

import argparse
import asyncio
import os
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from overspill_box.app.state_directory import RUNNING, StateDirectory, default_folder
from overspill_box.core.process import Listener
from overspill_box.environment import Vllm, VllmOfMachine
from overspill_box.environments.faults import MakingError
from overspill_box.processes.listeners import listener_at
from overspill_box.settings import ServeError, ServeOptions, read_settings
from overspill_box.unit import unit

STATUS_SECONDS = 5.0


def serve(options: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> int:
    """Do what was typed; the exit code."""
    try:
        if options.status:
            print(status(options.state, environment), end="")
        elif options.print_unit:
            print(unit(sys.executable, sys.argv[1:], Path.cwd()), end="")
        elif options.prepare:
            print(prepare(options.vllm, environment))
        elif not options.files:
            raise ServeError("name a file with a ModelRoute, such as: overspill serve route.yaml")  # noqa: TRY301
        else:
            _run(options, environment)
    except ServeError as error:
        for line in str(error).splitlines():
            print(f"overspill serve: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(options: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Serve. Raises ServeError, for what is typed wrong at once."""
    folder = StateDirectory(Path(options.state) if options.state else default_folder(environment)).folder
    settings = read_settings(_options(options), folder)
    # Imported late: it takes a second, which no other command, and nobody who mistypes, need wait for.
    from overspill_box.serve import run  # noqa: PLC0415

    run(settings, environment)


def status(state: str | None, environment: Mapping[str, str]) -> str:
    """How the routes of the running ``serve`` fare, as a table. Raises ServeError."""
    folder = StateDirectory(Path(state) if state else default_folder(environment))
    where = folder.read_json(RUNNING).get("admin")
    try:
        if not isinstance(where, str) or not where.startswith("http://"):
            raise OSError  # noqa: TRY301
        # That process may have been killed, and its port be another user's now.
        if listener_at(urlsplit(where).port or 0) is Listener.STRANGER:
            raise OSError  # noqa: TRY301
        with urllib.request.urlopen(f"{where}/status", timeout=STATUS_SECONDS) as answer:  # noqa: S310 - checked above
            text: str = answer.read().decode()
    except (OSError, ValueError):
        raise ServeError(
            f"no overspill serve runs with the state directory {folder.folder}; name another directory with --state"
        ) from None
    return text


def prepare(given: str | None, environment: Mapping[str, str]) -> str:
    """Have vLLM ready before an engine needs it, made now if need be; where it is. Raises ServeError."""

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    async def get() -> Vllm:
        return await VllmOfMachine(given, environment, tell).get()

    try:
        vllm = asyncio.run(get())
    except MakingError as error:
        raise ServeError(str(error)) from error
    return f"vLLM is {vllm.origin}"


def _options(options: argparse.Namespace) -> ServeOptions:
    return ServeOptions(
        files=tuple(options.files),
        listen=options.listen,
        admin_listen=options.admin_listen,
        state=options.state,
        profiles=options.profiles,
        secrets=options.secrets,
        memory=options.memory,
        vllm=options.vllm,
        no_auth=options.no_auth,
        cors_origins=options.cors_origins,
        keep_engines=options.keep_engines,
        log_level=options.log_level,
    )

"""``overspill-operator``: run, or clean up after the release."""

import argparse
import gc
import logging
import os
import sys

import uvloop

from overspill_operator import json_logs
from overspill_operator.adapters.api_server import ApiServer
from overspill_operator.app.cleanup import clean_up
from overspill_operator.clock import SystemClock
from overspill_operator.process import LeadershipLostError, Process, ignore_harmless_signals
from overspill_operator.settings import Settings

logger = logging.getLogger(__name__)


def main() -> int:
    """Entry point; the exit code is 0 after an orderly end."""
    parser = argparse.ArgumentParser(prog="overspill-operator", description="Overspill's control plane.")
    parser.add_argument(
        "command",
        nargs="?",
        choices=["run", "cleanup"],
        default="run",
        help="run (default), or cleanup: delete engines, compiled documents and the Lease",
    )
    command = parser.parse_args().command
    try:
        settings = Settings.from_environment()
    except ValueError as error:
        parser.error(str(error))
    ignore_harmless_signals()
    json_logs.configure(settings.log_level)
    # Thousands of cached objects make a full collection a pause that a waiting request feels; there are few cycles.
    gc.set_threshold(20_000, 50, 100)
    try:
        uvloop.run(_run(settings) if command == "run" else _clean_up(settings))
    except LeadershipLostError as error:
        logger.error("stopping: %s", error)  # noqa: TRY400 - the trace would say nothing more
        return 1
    except Exception:
        logger.exception("stopping")
        return 1
    return 0


async def _run(settings: Settings) -> None:
    await Process(settings, SystemClock()).run()


async def _clean_up(settings: Settings) -> None:
    cluster = await ApiServer.connect(SystemClock())
    try:
        pepper = os.environ.get("OVERSPILL_DELETE_KEY_PEPPER", "")
        await clean_up(cluster, settings.namespace, settings.watched_namespaces, pepper)
    finally:
        await cluster.close()


if __name__ == "__main__":
    sys.exit(main())

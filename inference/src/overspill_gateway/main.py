"""The command ``overspill-gateway``: read settings, run a gateway until SIGTERM, drain, end."""

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Final

import uvloop

from overspill_gateway.gateway import Gateway
from overspill_gateway.logs import set_up_logs
from overspill_gateway.settings import Settings, SettingsError, read_settings
from overspill_gateway.sources.port import Sink, Source
from overspill_gateway.wire.tls import TlsFiles

GARBAGE_THRESHOLDS: Final = (50_000, 20, 20)
"""More objects made than freed before the youngest are looked through, and so on up."""

HARMLESS_SIGNALS: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

logger = logging.getLogger(__name__)


def main() -> None:
    """Run a gateway."""
    ignore_harmless_signals()
    try:
        settings = read_settings(sys.argv[1:], os.environ)
        check_certificate(settings)
        make_source = source_of(settings, os.environ.get("KUBERNETES_SERVICE_HOST"))
    except SettingsError as error:
        sys.exit(f"overspill-gateway: {error}")
    set_up_logs(settings.log_level)
    raise_open_files_limit()
    failure = uvloop.run(run(settings, make_source))
    if failure:
        sys.exit(f"overspill-gateway: {failure}")


def check_certificate(settings: Settings) -> None:
    """Whether the listener's certificate can be used; raises SettingsError."""
    if settings.tls is not None:
        try:
            TlsFiles(*settings.tls)
        except OSError as error:
            raise SettingsError(f"--tls-cert and --tls-key can't be used: {error}") from None


def raise_open_files_limit() -> None:
    """As many sockets as the system allows: a stream takes two, and many containers begin with 1,024 of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # unlimited is more than some systems give
        logger.warning("the limit of open files can't be raised", extra={"soft": soft, "reason": str(error)})


def source_of(settings: Settings, in_cluster_host: str | None) -> Callable[[Sink], Source]:
    """The source that the settings name; raises SettingsError when they name none."""
    if settings.folder is not None:
        from overspill_gateway.sources.folder import FolderSource  # noqa: PLC0415 - only one source is ever needed

        folder = settings.folder
        if not folder.is_dir():
            raise SettingsError(f"--folder {folder} is not a folder")
        return lambda sink: FolderSource(folder, sink)
    # httpx takes 0.2 s to import: only where it is used
    import httpx  # noqa: PLC0415

    from overspill_gateway.sources.kubernetes import KubernetesAccess, KubernetesSource  # noqa: PLC0415

    if settings.kube_url is not None:
        access = KubernetesAccess(
            settings.kube_url, settings.kube_ca, settings.kube_token_file, settings.kube_client_certificate
        )
    elif in_cluster_host:
        access = KubernetesAccess.in_cluster(in_cluster_host, os.environ.get("KUBERNETES_SERVICE_PORT", "443"))
    else:
        raise SettingsError("this is no pod: name an API server by --kube-url, or a folder with routes by --folder")
    try:
        access.check()
    except (OSError, ValueError, httpx.InvalidURL) as error:
        raise SettingsError(f"the API server at {access.url} can't be watched: {error}") from None
    return lambda sink: KubernetesSource(
        access,
        settings.namespace,
        sink,
        pepper_secret=settings.pepper_secret,
        watched=settings.watched_namespaces,
    )


def ignore_harmless_signals() -> None:
    """What means "read your files anew" to other servers must not end this one while it starts."""
    for number in HARMLESS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def take_harmless_signals(loop: asyncio.AbstractEventLoop, gateway: Gateway) -> None:
    """SIGHUP looks at the certificate's files now, the others do nothing; each says so in the log."""

    def taken(number: signal.Signals) -> None:
        effect = "nothing: routes are watched, settings are read at the start"
        if number is signal.SIGHUP and gateway.look_at_certificate():
            effect = "the certificate's files are looked at"
        logger.info("signal", extra={"signal": number.name, "effect": effect})

    for number in HARMLESS_SIGNALS:
        loop.add_signal_handler(number, taken, number)


async def run(settings: Settings, make_source: Callable[[Sink], Source]) -> str:
    """Run a gateway until SIGTERM, SIGINT or SIGQUIT; a second one ends it at once.

    Why it had to end; empty: it was told to.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        loop.add_signal_handler(number, stopping.set)
    gateway = Gateway(settings, make_source)
    take_harmless_signals(loop, gateway)
    await gateway.start()
    # What lives as long as the process need not be looked at again by each collection; and requests leave no cycles
    # behind, so that collections after every 700 new objects would find nothing, at a tenth of all CPU.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    stop = asyncio.create_task(stopping.wait())
    failed = asyncio.create_task(gateway.failed.wait())
    await asyncio.wait({stop, failed}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    failed.cancel()
    stopping.clear()
    drained = asyncio.create_task(gateway.drain())
    again = asyncio.create_task(stopping.wait())
    await asyncio.wait({drained, again}, return_when=asyncio.FIRST_COMPLETED)
    again.cancel()
    if not drained.done():
        drained.cancel()
        await gateway.stop()
    else:
        drained.result()
    return gateway.failure


if __name__ == "__main__":
    main()

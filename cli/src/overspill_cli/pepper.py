"""The pepper of a release: read, and for a while waited for, since the operator makes it when it first starts."""

import sys
import time
from collections.abc import Callable
from typing import Final, Protocol

from overspill_cli.errors import CommandError

WAIT_SECONDS: Final = 60.0
"""An operator's image is pulled and its pod started within that, as a rule."""
LOOK_EVERY_SECONDS: Final = 1.0


class PepperSource(Protocol):
    """A cluster, as far as the pepper goes."""

    def pepper(self, namespace: str, secret: str) -> bytes | None:
        """Pepper of the release in a namespace; None where its Secret is not there."""
        ...

    def has_namespace(self, name: str) -> bool | None:
        """Whether there is such a namespace; None where this account may not know."""
        ...


def read_pepper(
    cluster: PepperSource,
    namespace: str,
    secret: str,
    *,
    wait_seconds: float = WAIT_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> bytes:
    """The pepper, as soon as it is there. Raises CommandError where it does not come, or cannot."""
    began, has_said_why = clock(), False
    while (pepper := cluster.pepper(namespace, secret)) is None:
        if cluster.has_namespace(namespace) is False:
            raise CommandError(
                f"there is no namespace {namespace}, so Overspill is not installed there: say with --release-namespace "
                "where it is"
            )
        if clock() - began >= wait_seconds:
            raise CommandError(_absent(namespace, secret))
        if not has_said_why:
            has_said_why = True
            print(
                f"Waiting up to {wait_seconds:g} s for Secret {secret} in namespace {namespace}: the operator makes it "
                "when it first starts.",
                file=sys.stderr,
            )
        sleep(min(LOOK_EVERY_SECONDS, wait_seconds))
    return pepper


def _absent(namespace: str, secret: str) -> str:
    return (
        f"there is no Secret {secret} in namespace {namespace}: is Overspill installed there? "
        "Say with --release-namespace where it is, and with --pepper-secret how the Secret is called. If both are "
        "right, the operator that makes it does not run yet: "
        f"kubectl -n {namespace} get pods -l app.kubernetes.io/component=operator says why; then type this again"
    )

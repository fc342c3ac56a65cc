"""The pepper under which API keys are hashed: made once, by the leader, where there is none; never changed.

A chart's template cannot make it: tools that render without asking the cluster would make another one at each sync,
and no key that was given out would work any more.
"""

import logging
import secrets
from base64 import b64encode

from overspill_api.keys import ALPHANUMERIC
from overspill_api.names import LABEL_MANAGED_BY, MANAGED_BY, PEPPER_KEY
from overspill_operator.clock import Clock
from overspill_operator.ports import SECRETS, Cluster, ClusterError

logger = logging.getLogger(__name__)

LENGTH = 64
"""64 of 62 characters are 381 bits."""

LOOK_EVERY_SECONDS = 60.0
RETRY_SECONDS = 2.0


async def keep_pepper(cluster: Cluster, clock: Clock, namespace: str, name: str) -> None:
    """Make it, and for ever after make it anew should somebody delete it: new keys shall work."""
    told = ""
    while True:
        try:
            await ensure_pepper(cluster, namespace, name)
        except ClusterError as error:
            if str(error) != told:
                logger.warning("the pepper of API keys cannot be made, so no key works: %s", error)
            told = str(error)
            await clock.sleep(RETRY_SECONDS)
        else:
            told = ""
            await clock.sleep(LOOK_EVERY_SECONDS)


async def ensure_pepper(cluster: Cluster, namespace: str, name: str) -> bool:
    """Make it where there is none; whether it was made. Whatever is there already stays as it is."""
    if await cluster.get(SECRETS.path(namespace, name)) is not None:
        return False
    text = "".join(secrets.choice(ALPHANUMERIC) for _ in range(LENGTH))
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {LABEL_MANAGED_BY: MANAGED_BY}},
        "type": "Opaque",
        "data": {PEPPER_KEY: b64encode(text.encode()).decode()},
    }
    try:
        await cluster.create(SECRETS.path(namespace), manifest)
    except ClusterError as error:
        if error.status == 409:
            return False
        raise
    logger.info("the pepper of API keys is made", extra={"secret": f"{namespace}/{name}"})
    return True

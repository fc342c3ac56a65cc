"""Why an environment could not be made: from what an installer has said to one sentence with the way out."""

import errno
import os
import platform
import re
import sys

OWN = "or name a vLLM of yours with --vllm PATH"
SAID_CHARACTERS_MAX = 300


class MakingError(Exception):
    """An environment could not be made; the text says why and what mends it."""


NO_ROOM = re.compile(r"no space left on device|os error 28\b|disk quota exceeded|os error 122\b", re.IGNORECASE)
NO_NETWORK = re.compile(
    r"dns error|name resolution|failed to lookup address|error sending request|client error \(connect\)"
    r"|connection refused|network is unreachable|failed to fetch|could not connect|timed out|newconnectionerror"
    r"|certificate",
    re.IGNORECASE,
)
NO_PACKAGE = re.compile(
    r"no solution found|no matching distribution|has no wheels with a matching|requires-python|no compatible",
    re.IGNORECASE,
)


def no_room(needed_gigabytes: float, free_gigabytes: float, folder: str) -> str:
    """The cache's disk is too full."""
    return (
        f"There is no room for it: {needed_gigabytes:.0f} GB are needed in {folder}, and {free_gigabytes:.1f} GB are"
        f" free. Make room, set XDG_CACHE_HOME to a folder on a larger disk, {OWN}."
    )


def no_library(names: tuple[str, ...]) -> str:
    """Libraries of the system are missing."""
    packages = {"libnuma.so.1": "libnuma1", "libgomp.so.1": "libgomp1"}
    return (
        f"It needs {' and '.join(names)}, which this system does not have. Install them, on Debian and Ubuntu with"
        f" `apt-get install {' '.join(packages.get(name, name) for name in names)}`, {OWN}."
    )


def no_linux(system: str) -> str:
    """Another operating system."""
    return (
        f"vLLM's packages are for Linux, and this is {system}. Give a profile another engine's command line"
        f" (`local: {{command: [llama-server, ...]}}`), {OWN}."
    )


def from_output(output: str, needed_gigabytes: float, folder: str) -> str:
    """What an installer has said, as one sentence that a person can act on."""
    said = _last_words(output)
    if NO_ROOM.search(output):
        return (
            f"The disk is full: some {needed_gigabytes:.0f} GB are needed in {folder}, and room for downloads"
            f" (UV_CACHE_DIR). Make room, set XDG_CACHE_HOME to a folder on a larger disk, {OWN}."
        )
    if NO_NETWORK.search(output):
        return (
            f"The package index can't be reached: {said}. Look at the network, or at HTTPS_PROXY, SSL_CERT_FILE and"
            f" UV_DEFAULT_INDEX, {OWN}."
        )
    if NO_PACKAGE.search(output):
        return (
            f"There is no package of it for Python {sys.version_info.major}.{sys.version_info.minor} on"
            f" {platform.machine()}: {said}. Run overspill with Python 3.12, {OWN}."
        )
    return f"The installer says: {said}. Mend that, {OWN}."


def from_error(error: OSError, needed_gigabytes: float, folder: str) -> str:
    """An operating system's error on the way."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return from_output(os.strerror(errno.ENOSPC), needed_gigabytes, folder)
    return f"{error}. Set XDG_CACHE_HOME to a folder that can be written, {OWN}."


def _last_words(output: str) -> str:
    """The gist of an error: its lines without their drawing, on one."""
    lines = (re.sub(r"^\W+", "", line).strip() for line in output.splitlines())
    text = " ".join(line for line in lines if line) or "nothing"
    return text[-SAID_CHARACTERS_MAX:].rstrip(".")

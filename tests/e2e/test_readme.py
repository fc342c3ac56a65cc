"""The README's Install block is typed as it stands, top to bottom, on the cluster that `make demo` starts."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from e2e import installation
from e2e.kubernetes_cli import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
NAMESPACE = "chat"


def blocks() -> tuple[str, str]:
    """The shell lines and the Python lines of the section."""
    text = (installation.CHECKOUT / "README.md").read_text()
    section = text.partition("\n## Install\n")[2].partition("\n### ")[0]
    shell, python = (re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL) for language in ("sh", "python"))
    assert len(shell) == len(python) == 1
    return shell[0], python[0]


@pytest.fixture
def nothing_installed(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster without a release, before and after."""
    installation.remove(cluster, NAMESPACE)
    yield cluster
    installation.remove(cluster, NAMESPACE)


def test_whoever_types_the_readme_gets_an_answer(nothing_installed: Cluster) -> None:
    """Every line works in its turn, and the model answers."""
    shell, python = blocks()
    # Background jobs of a script end with it only where somebody sees to it; at a prompt they are the person's.
    script = f"""
        set -euo pipefail
        trap 'kill $(jobs -p)' EXIT
        {shell}
        until curl --silent --output /dev/null http://127.0.0.1:8081/; do sleep 0.2; done
        {sys.executable} -c "$PYTHON"
    """
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=installation.CHECKOUT,
        env={**os.environ, **nothing_installed.environment, "PYTHON": python},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )

    assert ran.returncode == 0, f"{ran.stdout[-2000:]}\n{ran.stderr[-3000:]}"
    answer = ran.stdout.splitlines()[-1]
    assert answer.strip()

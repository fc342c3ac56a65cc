"""A real Prometheus, as Debian packages it, unpacked into the cache without root; it scrapes what a test names."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.places import cache_folder
from waiting import wait_for

SCRAPE_SECONDS = 1
PACKAGE = "prometheus"


def program() -> Path:
    """Prometheus' binary: this machine's, or that of Debian's package in the cache (19 MB, fetched once)."""
    installed = shutil.which(PACKAGE)
    if installed:
        return Path(installed)
    folder = cache_folder() / PACKAGE
    binary = folder / "usr" / "bin" / PACKAGE
    if not binary.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            _run("apt-get", "download", PACKAGE, folder=work)
            (package,) = Path(work).glob("*.deb")
            _run("dpkg-deb", "-x", package.name, "unpacked", folder=work)
            if not binary.exists():  # another test may have been quicker
                Path(work, "unpacked").rename(folder)
    return binary


def _run(*command: str, folder: str) -> None:
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, (
        f"Debian's package {PACKAGE} is needed: install it, or let apt-get fetch it.\n{ran.stderr}"
    )


@contextmanager
def prometheus(folder: Path, targets: list[str], path: str, labels: dict[str, str]) -> Iterator[str]:
    """Scrapes ``path`` of ``targets`` each second; its URL. ``labels``: of each series, as by a ServiceMonitor."""
    static = [{"targets": targets, "labels": labels}]
    scrape = {"job_name": "gateways", "metrics_path": path, "static_configs": static}
    every = {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": f"{SCRAPE_SECONDS}s"}
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({"global": every, "scrape_configs": [scrape]}))  # JSON is YAML
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    places = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([program(), *places], stdout=log, stderr=log, env={"PATH": os.environ["PATH"]})
    url = f"http://{address}"
    try:
        wait_for("Prometheus is ready", lambda: _is_ready(url), 30.0)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False

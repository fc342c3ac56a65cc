"""``--print-unit``: a unit that runs the same command from anywhere."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from overspill_box.unit import unit

TYPED = ["serve", "a.yaml", "--profiles", "p.yaml", "--listen", "127.0.0.1:80", "--state=s", "--no-auth", "my models",
         "--print-unit"]  # fmt: skip


def test_paths_hold_wherever_systemd_starts_it() -> None:
    """Whatever was typed, relative to where it was typed; other words stay."""
    [line] = [line for line in unit("/opt/python", TYPED, Path("/srv")).splitlines() if line.startswith("ExecStart=")]

    assert line == (
        "ExecStart=/opt/python -m overspill_cli.main serve /srv/a.yaml --profiles /srv/p.yaml --listen 127.0.0.1:80 "
        '--state=/srv/s --no-auth "/srv/my models"'
    )


def test_what_systemd_would_read_otherwise_is_written_so_that_it_does_not() -> None:
    """Percent and dollar have meanings of their own."""
    assert "/a%%b$$c.yaml" in unit("/p", ["serve", "/a%b$c.yaml"], Path("/"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_it(tmp_path: Path) -> None:
    """As its own check has it."""
    path = tmp_path / "overspill.service"
    path.write_text(unit(sys.executable, TYPED, tmp_path))

    checked = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)

    assert (checked.returncode, [line for line in checked.stderr.splitlines() if "overspill.service" in line]) == (
        0,
        [],
    )

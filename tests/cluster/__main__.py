"""The command line of the local cluster: `python3 tests/cluster --help`. It only takes arguments apart."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036  -- the system's Python runs this, whatever it is
    sys.exit("error: this is Python %d.%d, and the cluster needs 3.11 or newer" % sys.version_info[:2])  # noqa: UP031

# Run as a folder, Python puts the folder itself on the path, where `plan` would be a top-level module.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from cluster import command_line  # noqa: E402

if __name__ == "__main__":
    sys.exit(command_line.main(sys.argv[1:]))

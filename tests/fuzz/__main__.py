"""``python -m tests.fuzz TARGET``: coverage-guided fuzzing with atheris (libFuzzer), bounded in time.

What it finds that reaches new code goes to the folder given by --found, so that the next run begins there; an input
that breaks a rule ends the run with status 77 and is written beside it, to be made a seed and a test.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NAMES = ("requests", "answers", "events", "complexity")


def main() -> None:
    """Fuzz one target."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: %(default)s)")
    parser.add_argument("--found", type=Path, help="folder of inputs that reached new code (default: a new one)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations; 0: another one each time")
    options = parser.parse_args()
    atheris: Any = importlib.import_module("atheris")  # has no types, and no wheel for every machine
    with atheris.instrument_imports(include=["overspill_gateway.core", "overspill_gateway.wire"]):
        from . import complexity, targets  # noqa: PLC0415 - instrumented as they are imported
    found = options.found or Path(tempfile.mkdtemp(prefix="overspill-fuzz-"))
    found.mkdir(parents=True, exist_ok=True)
    flags = [
        f"-max_total_time={options.seconds}", "-timeout=20", "-max_len=2048", "-len_control=20", "-print_final_stats=1",
        f"-seed={options.seed}", f"-dict={HERE / 'tokens.dict'}", f"-artifact_prefix={found}/broken-",
    ]  # fmt: skip
    corpus = [str(found), str(HERE / "corpus" / options.target)]
    atheris.Setup(
        [sys.argv[0], *flags, *corpus], (targets.TARGETS | {"complexity": complexity.complexity})[options.target]
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()

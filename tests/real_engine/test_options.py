"""vLLM's own parser: the operator knows all its options, and refuses whatever it reads as one that is reserved."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from overspill_operator.core import vllm_options
from overspill_operator.core.engine_options import RESERVED_OPTIONS, misused_arguments
from real_engine.environments import CHECKOUT, VLLM, made

pytestmark = pytest.mark.timeout(180)

LISTED = Path(vllm_options.__file__)

PARSE = """
import contextlib, io, json, logging, sys
logging.disable(logging.CRITICAL)
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
usual = vars(parser.parse_args(["m"]))
for line in sys.stdin:
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            read = vars(parser.parse_args(["m", *json.loads(line)]))
        changed = [name for name in read if repr(read[name]) != repr(usual[name])]
    except (SystemExit, Exception):
        changed = None
    print("RESULT " + json.dumps(changed))
"""


def test_the_list_is_what_the_parser_says() -> None:
    """A newer vLLM is read anew: PYTHON scripts/vllm-options."""
    python = made(VLLM) / "bin" / "python"
    script = CHECKOUT / "scripts" / "vllm-options"
    printed = subprocess.run([python, script], check=True, capture_output=True, text=True).stdout
    assert printed == LISTED.read_text()


def test_whatever_the_parser_reads_as_reserved_is_refused() -> None:
    """Every beginning of every reserved name: where it changes what is reserved, the operator has refused it."""
    reserved = {name.lstrip("-").replace("-", "_") for name in RESERVED_OPTIONS} - {"h", "help"}
    asked = []
    for name in sorted(name for name in RESERVED_OPTIONS if name.startswith("--") and name != "--help"):
        for written in {name[:length] for length in range(4, len(name) + 1)} | {
            name.replace("-", "_").replace("__", "--", 1)
        }:
            has_value = name not in vllm_options.WITHOUT_VALUE
            asked += [[f"{written}=9"], [written, "9"]] if has_value else [[written]]
    asked += [["-n2"], ["-r", "1"], ["-dpn=1"], ["-dpe"], ["-dpa", "x"]]
    python = made(VLLM) / "bin" / "python"
    lines = "".join(json.dumps(arguments) + "\n" for arguments in asked)
    told = subprocess.run([python, "-c", PARSE], input=lines, check=True, capture_output=True, text=True).stdout
    results = [json.loads(line.removeprefix("RESULT ")) for line in told.splitlines() if line.startswith("RESULT ")]
    assert len(results) == len(asked)

    taken = [
        arguments for arguments, changed in zip(asked, results, strict=True) if changed and reserved & set(changed)
    ]
    missed = [arguments for arguments in taken if not list(misused_arguments(arguments))]

    assert len(taken) > len(RESERVED_OPTIONS)
    assert missed == []

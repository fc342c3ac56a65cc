"""Engines by the name of a profile: how fast a replica with a model of some 8B parameters is, and what it costs.

A start, for somebody who has measured nothing: figures of others for the GPU, spread by a factor of two either way by
model, precision, version and lengths. Measure your own and give them (``--engine``, ``--replica-usd-per-hour``). Prices
are those of the chart's profiles.

Sources. L4: KubeAI's published benchmark of Llama 3.1 8B in FP8, 832 tokens in and 76 out, 6.3 to 9.6 requests a
second and replica. A100: from SageServe's measurements of Llama 3.1 8B on two of them (15,500 prompt tokens a second,
8.5 ms a token alone and 16 ms with 32 in the batch). L40S by memory bandwidth; H100 by a published 7,000 output tokens
a second.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from overspill_planner.simulator.engine import Speed


class SettingError(Exception):
    """What was given can't be simulated: its message says what is wrong and what mends it."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of replica."""

    speed: Speed
    """How fast it is."""
    usd_per_hour: float
    """What it costs."""


PROFILES: Final[Mapping[str, Profile]] = {
    "nvidia-l4": Profile(
        Speed(0.030, 1.0 / 8_000.0, 0.0003, running_max=64, kv_tokens=120_000), usd_per_hour=0.81
    ),
    "nvidia-l40s": Profile(
        Speed(0.012, 1.0 / 20_000.0, 0.00015, running_max=128, kv_tokens=200_000), usd_per_hour=1.87
    ),
    "nvidia-a100-80gb": Profile(
        Speed(0.014, 1.0 / 10_000.0, 0.00025, running_max=256, kv_tokens=400_000), usd_per_hour=5.07
    ),
    "nvidia-h100": Profile(
        Speed(0.008, 1.0 / 30_000.0, 0.00011, running_max=256, kv_tokens=400_000), usd_per_hour=6.88
    ),
}  # fmt: skip

SETTINGS: Final[Mapping[str, Callable[[Speed, float], Speed]]] = {
    "prompt_tokens_per_second": lambda speed, number: replace(speed, prompt_token_seconds=1.0 / number),
    "step_ms": lambda speed, number: replace(speed, step_seconds=number / 1e3),
    "answer_ms": lambda speed, number: replace(speed, answer_seconds=number / 1e3),
    "attention_us": lambda speed, number: replace(speed, attention_seconds=number / 1e6),
    "batched_tokens": lambda speed, number: replace(speed, batched_tokens_max=max(int(number), 1)),
    "running": lambda speed, number: replace(speed, running_max=max(int(number), 1)),
    "kv_tokens": lambda speed, number: replace(speed, kv_tokens=max(int(number), 1)),
}
"""What ``--engine`` may set; what they mean stands at ``Speed``."""


def speed_with(speed: Speed, text: str) -> Speed:
    """A speed with other settings, from ``KEY=NUMBER,...``; raises SettingError."""
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = pair.partition("=")
        if key not in SETTINGS:
            raise SettingError(f"--engine: there is no {key!r}; there are {', '.join(SETTINGS)}")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0.0 < number < 1e12:
            raise SettingError(f"--engine: {key} is {value!r}, and a number above 0 is wanted, as in {key}=30")
        speed = SETTINGS[key](speed, number)
    return speed

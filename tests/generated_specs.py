"""Specs of ModelRoutes as nobody writes them: right types, values at and beyond every edge. One seed, one list.

``tests/unit/operator_`` feeds them to the types and to a gateway's catalog, ``tests/integration`` to an API server.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Spec = dict[str, Any]

ODD = (
    "",
    " ",
    "a\n",
    "\u00e4",
    "\u0663",
    "a\u00a0b",
    "\ufeffa",
    "../a",
    "a/b",
    "a%2fb",
    "A",
    "-a",
    "a-",
    ".",
    "..",
    "a" * 300,
)
NAMES = ("a", "openai", "a.b", "a-1", "x" * 63, *ODD)
MODELS = ("gpt", "org/Model-1:free", "a@b", "a+b", "a b", 'a"b', "a\\b", *ODD)
URLS = (
    "https://x.test/v1",
    "http://x.test",
    "https://x.test:65535/v1/",
    "https://x.test:65536/v1",
    "https://x.test:0",
    "http://x:08",
    "http://[::1]:8000/v1",
    "http://[::1",
    "http://[::ffff:1.2.3.4]/",
    "http://[1:2:3:4:5:6:7:8]/v1",
    "http://[1:2:3:4:5:6:7:8:9]",
    "http://[v1.a]/",
    "https://\u00e4.test",
    "https://x_y.test/v1",
    "https://a..b",
    "https://x.test./v1",
    "https://x.test/%20",
    "https://x.test/%",
    "https://x.test/a;b=c",
    "https://u@x.test",
    "https://x.test/v1?",
    "https://x.test/v1#",
    "https://x.test/{a}",
    "https://x.test/v1/chat/completions",
    "https://x.test/messages/",
    "https://x.test/messagesx",
    "https://-x.test",
    "https://999.999.1.1",
    "https://x.test//v1",
    "https://x.test/v1\r\nhost: y",
    "https://" + "a" * 63 + ".test",
    "https://" + "a" * 64 + ".test",
    *ODD,
)
DURATIONS = (
    "1s",
    "500ms",
    "1.5s",
    "0.001ms",
    "0",
    "0s",
    "0.0s",
    "00001s",
    "9999h",
    "10000h",
    "99999m",
    "9999999s",
    "9999999999ms",
    "1h1h1h",
    "9999h9999h9999h9999h9999h9999h",
    "1",
    "1d",
    "-1s",
    "1 s",
    "\u0661s",
    "1s\n",
    "0m1s",
    "5m",
    "40s",
    "1.s",
    ".5s",
)
AMOUNTS = (
    "0",
    "0.15",
    "999999999.999999999",
    "1000000000",
    "0.0000000001",
    "-1",
    "1e3",
    "1,5",
    "\u0661",
    "1\n",
    "",
    "00.10",
)
SOURCES = (
    "hf://a/b",
    "hf://a/b@main",
    "hf://a/b@-x",
    "s3://bucket/p",
    "s3://bucket/../p",
    "pvc://c",
    "pvc://c/a/b",
    "pvc://c/../b",
    "pvc://../c",
    "oci://r/i:1",
    "oci://r/i@sha256:ab",
    "oci://a b",
    "file:///m",
    "file:///../m",
    "file://m",
    "http://x",
    "hf://a",
    "pvc://C",
    "hf://a/b\n",
)
SIZES = ("50Gi", "1.5Ti", "50", "0Gi", "1e3", "999999999Pi", "9999999999Pi", "5gi", "5G\n", "\u0665Gi")
ZONES = ("UTC", "Europe/Berlin", "Mars/Phobos", "+01:00", "a b", "America", "../UTC", "UTC\n", "")
COUNTS = (0, 1, 2, 63, 64, 1000, 1001, 100_000, 10**12, 10**12 + 1, -1, 2**63 - 1)


class Generator:
    """Draws values: mostly usable ones, so that the rest of a spec is judged as well."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def pick(self, values: tuple[Any, ...], usual: Any) -> Any:
        """The usual value, or any of the list."""
        return self._random.choice(values) if self._random.random() < 0.05 else usual

    def maybe(self, fields: dict[str, Callable[[], Any]]) -> Spec:
        """Some of the fields."""
        return {name: make() for name, make in fields.items() if self._random.random() < 0.35}

    def duration(self, usual: str) -> Callable[[], str]:
        """A duration."""
        return lambda: str(self.pick(DURATIONS, usual))

    def count(self, usual: int) -> Callable[[], int]:
        """A whole number."""
        return lambda: int(self.pick(COUNTS, usual))

    def price(self) -> Spec:
        """A price."""
        price = {"input": self.pick(AMOUNTS, "0.15"), "output": self.pick(AMOUNTS, "0.60")}
        return price | self.maybe({"cachedInput": lambda: self.pick(AMOUNTS, "0.1")})

    def hosted(self, index: int) -> Spec:
        """A hosted API."""
        entry = {
            "name": self.pick(NAMES, f"api-{index}"),
            "baseURL": self.pick(URLS, self._random.choice(URLS[:3])),
            "model": self.pick(MODELS, "gpt"),
        }

        def credentials() -> Spec:
            return {"secretName": self.pick(NAMES, "s"), "key": self.pick(NAMES, "api-key")}

        numbers = ("requestsPerMinute", "tokensPerMinute", "concurrency")
        return entry | self.maybe(
            {
                "credentials": credentials,
                "price": self.price,
                "limits": lambda: self.maybe({name: self.count(10) for name in numbers}),
                "capabilities": lambda: self.maybe(
                    {"contextTokens": self.count(4096), "maxOutputTokens": self.count(512)}
                ),
            }
        )

    def self_hosted(self) -> Spec:
        """An engine."""

        def cache() -> Spec:
            return {"size": self.pick(SIZES, "50Gi")} | self.maybe(
                {"storageClassName": lambda: self.pick(NAMES, "fast")}
            )

        return {"source": self.pick(SOURCES, "hf://a/b"), "profile": self.pick(NAMES, "cpu")} | self.maybe(
            {"sourceSecretName": lambda: self.pick(NAMES, "s"), "cache": cache}
        )

    def spec(self) -> Spec:
        """A whole spec."""
        timeouts = {"connect": "2s", "firstToken": "30s", "idle": "20s", "total": "10m"}
        spec = self.maybe(
            {
                "model": lambda: self.pick(MODELS, "gpt"),
                "aliases": lambda: [self.pick(MODELS, "other")],
                "allowedConsumers": lambda: [
                    {"namespace": self.pick((*NAMES, "*"), "team-b"), "name": self.pick((*NAMES, "*"), "b")}
                ],
                "selfHosted": self.self_hosted,
                "timeouts": lambda: self.maybe({name: self.duration(usual) for name, usual in timeouts.items()}),
                "overflow": lambda: self.maybe(
                    {
                        "timeToFirstToken": self.duration("2s"),
                        "hold": lambda: self.maybe({"timeout": self.duration("1m"), "maxRequests": self.count(5)}),
                    }
                ),
                "hedging": lambda: (
                    {"after": self.duration("2s")()}
                    | self.maybe({"hostedCostPerHour": lambda: self.pick(AMOUNTS, "1.5")})
                ),
                "budget": lambda: (
                    {"limit": self.pick(AMOUNTS, "500")} | self.maybe({"timeZone": lambda: self.pick(ZONES, "UTC")})
                ),
                "retries": lambda: self.maybe({"attempts": self.count(2)}),
                "rateLimit": lambda: {"perConsumer": self.maybe({"tokensPerMinute": self.count(100)})},
                "scaling": lambda: self.maybe({"idleAfter": self.duration("10m"), "maxReplicas": self.count(2)}),
            }
        )
        if self._random.random() < 0.9:
            spec["hosted"] = [self.hosted(index) for index in range(self._random.randint(1, 2))]
        return spec


def generated_specs(count: int, seed: int = 20) -> list[Spec]:
    """So many specs."""
    generator = Generator(seed)
    return [generator.spec() for _ in range(count)]

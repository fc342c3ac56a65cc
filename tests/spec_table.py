"""Good and bad specs, each with the fields to blame and what to say: Python's types and the real API server must agree.

``tests/unit/api`` feeds the table to the types, ``tests/integration`` to an API server that has the generated CRDs.
"""

# ruff: noqa: E501  one line for each case reads as a table

from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]

SELF_HOSTED: Spec = {"source": "hf://org/model", "profile": "cpu"}
HOSTED: Spec = {"name": "openai", "baseURL": "https://api.openai.com/v1", "model": "gpt-4o-mini"}
PRICE: Spec = {"input": "0.15", "output": "0.60"}


@dataclass(frozen=True)
class Bad:
    """A spec with one mistake."""

    name: str
    """What is wrong."""
    spec: Spec
    """Spec with the mistake."""
    path: str
    """Field that is blamed."""
    says: str = ""
    """Part of the message, the same on both sides; empty where each has its own words."""
    python_path: str = ""
    """Field that Python blames, where it is another (of duplicates it blames the list)."""


def hybrid(**changes: Any) -> Spec:
    """A good spec with replicas and a hosted API, and changes to it."""
    return {"selfHosted": SELF_HOSTED, "hosted": [HOSTED], **changes}


def window(**changes: Any) -> Spec:
    """A good spec with one window, and changes to that."""
    return hybrid(scaling={"windows": [{"name": "w", "from": "08:00", "to": "20:00", **changes}]})


def api(**changes: Any) -> Spec:
    """A good spec with one hosted API, and changes to that."""
    return {"hosted": [{**HOSTED, **changes}]}


def without(values: Spec, name: str) -> Spec:
    """Take one field away."""
    return {key: value for key, value in values.items() if key != name}


DURATION = "is not a duration; write a number with ms, s, m or h"
POSITIVE = "is not a duration above zero"
TIME = "is not a time of day"
USD = "is not an amount of US dollars"
SOURCE = "is not a source of weights; write hf://org/model"
URL = "is not the base URL of an API"
NAME = "is not a Kubernetes name"
OBJECT = "is not the name of a Kubernetes object"
MODEL = "is not a model name"
ZONE = "is not the name of a time zone"

BAD_ROUTES: tuple[Bad, ...] = (
    Bad("nobody answers", {}, "", "nobody would answer: add selfHosted"),
    Bad("an empty hosted list", {"hosted": []}, "", "nobody would answer: add selfHosted"),
    # Forms.
    Bad("a model name with a space", hybrid(model="a b"), "model", f'"a b" {MODEL}'),
    Bad("an alias with a quote", hybrid(aliases=["a'"]), "aliases[0]", MODEL),
    Bad("a source of another scheme", {"selfHosted": {**SELF_HOSTED, "source": "http://x"}}, "selfHosted.source", SOURCE),
    Bad("a source without an organisation", {"selfHosted": {**SELF_HOSTED, "source": "hf://model"}}, "selfHosted.source", SOURCE),
    Bad("a relative file", {"selfHosted": {**SELF_HOSTED, "source": "file://models"}}, "selfHosted.source", SOURCE),
    Bad("a cache without a number", {"selfHosted": {**SELF_HOSTED, "cache": {"size": "big"}}}, "selfHosted.cache.size", "is not a size"),
    Bad("a cache without a unit", {"selfHosted": {**SELF_HOSTED, "cache": {"size": "50"}}}, "selfHosted.cache.size", "write a number with a unit such as Gi"),
    Bad("a cache beyond all disks", {"selfHosted": {**SELF_HOSTED, "cache": {"size": "9999999999999999Pi"}}}, "selfHosted.cache.size", "is not a size"),
    Bad("a secret's name in capitals", {"selfHosted": {**SELF_HOSTED, "sourceSecretName": "HF"}}, "selfHosted.sourceSecretName", OBJECT),
    Bad("a source's secret of elsewhere", {"selfHosted": {**SELF_HOSTED, "sourceSecretName": "../b/secrets/c"}}, "selfHosted.sourceSecretName", OBJECT),
    Bad("a secret of another namespace", api(credentials={"secretName": "../../team-a/secrets/bank"}), "hosted[0].credentials.secretName", OBJECT),
    Bad("a secret's name with a query", api(credentials={"secretName": "a?limit=1"}), "hosted[0].credentials.secretName", OBJECT),
    Bad("a secret's name with an escape", api(credentials={"secretName": "a%2fb"}), "hosted[0].credentials.secretName", OBJECT),
    Bad("a secret's name of two dots", api(credentials={"secretName": ".."}), "hosted[0].credentials.secretName", OBJECT),
    Bad("a secret without a name", api(credentials={"secretName": ""}), "hosted[0].credentials.secretName", OBJECT),
    Bad("a secret's name with a line's end", api(credentials={"secretName": "a\n"}), "hosted[0].credentials.secretName", OBJECT),
    Bad("a secret's name in other digits", api(credentials={"secretName": "a\u0663"}), "hosted[0].credentials.secretName", OBJECT),
    Bad("a key of a secret with a slash", api(credentials={"secretName": "a", "key": "b/c"}), "hosted[0].credentials.key", "is not a key of a Secret"),
    Bad("a profile with a slash", {"selfHosted": {**SELF_HOSTED, "profile": "../cpu"}}, "selfHosted.profile", "is not the name of a profile"),
    Bad("a storage class with a slash", {"selfHosted": {**SELF_HOSTED, "cache": {"size": "5Gi", "storageClassName": "a/b"}}}, "selfHosted.cache.storageClassName", OBJECT),
    Bad("a claim of elsewhere", {"selfHosted": {**SELF_HOSTED, "source": "pvc://../b"}}, "selfHosted.source", SOURCE),
    Bad("a path out of a claim", {"selfHosted": {**SELF_HOSTED, "source": "pvc://a/../../etc"}}, "selfHosted.source", SOURCE),
    Bad("an image with a space", {"selfHosted": {**SELF_HOSTED, "source": "oci://a\u00a0b"}}, "selfHosted.source", SOURCE),
    Bad("a revision that is an option", {"selfHosted": {**SELF_HOSTED, "source": "hf://a/b@--port"}}, "selfHosted.source", SOURCE),
    Bad("a variable's name with a dash", {"selfHosted": {**SELF_HOSTED, "env": [{"name": "A-B", "value": ""}]}}, "selfHosted.env[0].name", "is not the name of an environment variable"),
    Bad("a duration in words", hybrid(scaling={"idleAfter": "ten minutes"}), "scaling.idleAfter", f'"ten minutes" {DURATION}'),
    Bad("a duration without unit", hybrid(overflow={"hold": {"timeout": "120"}}), "overflow.hold.timeout", DURATION),
    Bad("a duration in days", hybrid(scaling={"idleAfter": "1d"}), "scaling.idleAfter", DURATION),
    Bad("a duration of ages", hybrid(scaling={"idleAfter": "99999h"}), "scaling.idleAfter", "at most 9999h"),
    Bad("a timeout of ages", hybrid(overflow={"timeToFirstToken": "99999999999ms"}), "overflow.timeToFirstToken", "at most 9999h"),
    Bad("a duration in other digits", hybrid(scaling={"idleAfter": "\u0663s"}), "scaling.idleAfter", DURATION),
    Bad("a timeout of nothing", hybrid(timeouts={"total": "0s"}), "timeouts.total", f'"0s" {POSITIVE}'),
    Bad("a negative timeout", hybrid(timeouts={"connect": "-1s"}), "timeouts.connect", POSITIVE),
    Bad("a target of nothing", hybrid(scaling={"targets": {"timeToFirstToken": {"p95": "0ms"}}}), "scaling.targets.timeToFirstToken.p95", POSITIVE),
    Bad("a URL without scheme", api(baseURL="api.openai.com/v1"), "hosted[0].baseURL", URL),
    Bad("a URL of another scheme", api(baseURL="ftp://api/v1"), "hosted[0].baseURL", URL),
    Bad("a URL with a query", api(baseURL="https://api/v1?key=1"), "hosted[0].baseURL", URL),
    Bad("a URL with a password", api(baseURL="https://me:secret@api/v1"), "hosted[0].baseURL", URL),
    Bad("a URL with a port out of range", api(baseURL="https://api.example.com:99999/v1"), "hosted[0].baseURL", URL),
    Bad("a URL with a port of letters", api(baseURL="https://x:abc/v1"), "hosted[0].baseURL", URL),
    Bad("a URL with an open bracket", api(baseURL="http://[::1/v1"), "hosted[0].baseURL", URL),
    Bad("a URL of another script", api(baseURL="https://ex\u00e4mple.test/v1"), "hosted[0].baseURL", URL),
    Bad("a URL without a host", api(baseURL="https:///v1"), "hosted[0].baseURL", URL),
    Bad("a URL with an escape in its host", api(baseURL="https://a%62c/v1"), "hosted[0].baseURL", URL),
    Bad("a URL with a space", api(baseURL="https://x.test/a b"), "hosted[0].baseURL", URL),
    Bad("a URL with a broad space", api(baseURL="https://x.test/a\u00a0b"), "hosted[0].baseURL", URL),
    Bad("a URL with a line's end", api(baseURL="https://x.test/v1\n"), "hosted[0].baseURL", URL),
    Bad("a URL of an endpoint", api(baseURL="https://x.test/v1/chat/completions"), "hosted[0].baseURL", "write the base URL before it"),
    Bad("a URL of an endpoint with a slash", api(baseURL="https://x.test/v1/messages/"), "hosted[0].baseURL", "write the base URL before it"),
    Bad("a name in capitals", api(name="OpenAI"), "hosted[0].name", NAME),
    Bad("a price with a unit", api(price={**PRICE, "input": "$0.15"}), "hosted[0].price.input", f'"$0.15" {USD}'),
    Bad("a negative price", api(price={**PRICE, "output": "-1"}), "hosted[0].price.output", USD),
    Bad("a price with a comma", api(price={**PRICE, "output": "0,60"}), "hosted[0].price.output", USD),
    Bad("a limit with an exponent", api(price=PRICE) | {"budget": {"limit": "5e2"}}, "budget.limit", USD),
    Bad("a percentage of nothing", api(price=PRICE) | {"budget": {"limit": "5", "alerts": [0]}}, "budget.alerts[0]", "greater than or equal to 1"),
    Bad("a percentage over a hundred", api(price=PRICE) | {"budget": {"limit": "5", "alerts": [50, 101]}}, "budget.alerts[1]", "less than or equal to 100"),
    Bad("an offset as a time zone", window(timeZone="+01:00"), "scaling.windows[0].timeZone", ZONE),
    Bad("an hour that there is not", window(**{"from": "24:00"}), "scaling.windows[0].from", f'"24:00" {TIME}'),
    Bad("a time without a leading zero", window(to="8:00"), "scaling.windows[0].to", TIME),
    # Fixed values.
    Bad("another cold start", hybrid(overflow={"onColdStart": "hosted"}), "overflow.onColdStart"),
    Bad("another objective", hybrid(scaling={"objective": "Speed"}), "scaling.objective"),
    Bad("another day", window(days=["Mon", "Monday"]), "scaling.windows[0].days[1]"),
    Bad("another period", api(price=PRICE) | {"budget": {"limit": "5", "period": "Year"}}, "budget.period"),
    # Bounds.
    Bad("negative replicas", hybrid(scaling={"minReplicas": -1}), "scaling.minReplicas", "greater than or equal to 0"),
    Bad("no replica at most", hybrid(scaling={"maxReplicas": 0}), "scaling.maxReplicas", "greater than or equal to 1"),
    Bad("too many tries", hybrid(retries={"attempts": 11}), "retries.attempts", "less than or equal to 10"),
    Bad("no day", window(days=[]), "scaling.windows[0].days"),
    # Fields that must be there.
    Bad("no source", {"selfHosted": without(SELF_HOSTED, "source")}, "selfHosted.source"),
    Bad("no profile", {"selfHosted": without(SELF_HOSTED, "profile")}, "selfHosted.profile"),
    Bad("a hosted API without name", {"hosted": [without(HOSTED, "name")]}, "hosted[0].name"),
    Bad("a hosted API without URL", {"hosted": [without(HOSTED, "baseURL")]}, "hosted[0].baseURL"),
    Bad("a hosted API without model", {"hosted": [without(HOSTED, "model")]}, "hosted[0].model"),
    Bad("a price for one half", api(price=without(PRICE, "output")), "hosted[0].price.output"),
    Bad("a budget without limit", {"hosted": [{**HOSTED, "price": PRICE}], "budget": {}}, "budget.limit"),
    Bad("a cache without time", hybrid(cache={}), "cache.ttl"),
    Bad("a window without end", hybrid(scaling={"windows": [{"name": "w", "from": "08:00"}]}), "scaling.windows[0].to"),
    # Rules between fields.
    Bad("least above most", hybrid(scaling={"minReplicas": 3, "maxReplicas": 2}), "scaling.minReplicas", "minReplicas is above maxReplicas; lower it or raise maxReplicas"),
    Bad("least above the default most", hybrid(scaling={"minReplicas": 2}), "scaling.minReplicas", "minReplicas is above maxReplicas"),
    Bad("fixed above most", hybrid(scaling={"replicas": 2}), "scaling.replicas", "replicas is above maxReplicas"),
    Bad("least above most in a window", window(minReplicas=3, maxReplicas=2), "scaling.windows[0].minReplicas", "above maxReplicas of this window"),
    Bad("a window's least above all", window(minReplicas=3), "scaling.windows", "a window's minReplicas is above scaling.maxReplicas"),
    Bad("Hosted without a hosted API", {"selfHosted": SELF_HOSTED, "overflow": {"onColdStart": "Hosted"}}, "overflow.onColdStart", "list an API under hosted, or write Hold"),
    Bad("Hold without replicas", api() | {"overflow": {"onColdStart": "Hold"}}, "overflow.onColdStart", "add selfHosted, or write Hosted"),
    Bad("a budget without prices", api() | {"budget": {"limit": "5"}}, "hosted", "every hosted entry needs a price"),
    Bad("a budget with one price of two", {"hosted": [{**HOSTED, "price": PRICE}, {**HOSTED, "name": "b"}], "budget": {"limit": "5"}}, "hosted", "every hosted entry needs a price"),
    Bad("a budget without a hosted API", {"selfHosted": SELF_HOSTED, "budget": {"limit": "5"}}, "budget", "list one under hosted, or remove the budget"),
    Bad("less for all than for the first token", hybrid(timeouts={"total": "29.5s", "firstToken": "0m30s"}), "timeouts.total", "raise total or lower firstToken"),
    Bad("less for all than for the default first token", hybrid(timeouts={"total": "5000ms"}), "timeouts.total", "raise total or lower firstToken"),
    Bad("Cost without prices", hybrid(scaling={"objective": "Cost"}), "scaling.objective", "each with a price, or write Latency"),
    Bad("Cost without a hosted API", {"selfHosted": SELF_HOSTED, "scaling": {"objective": "Cost"}}, "scaling.objective", "list at least one hosted API"),
    Bad("two hosted APIs of one name", {"hosted": [HOSTED, HOSTED]}, "hosted[1]", python_path="hosted"),
    Bad("two windows of one name", hybrid(scaling={"windows": [{"name": "w", "from": "08:00", "to": "20:00"}] * 2}), "scaling.windows[1]", python_path="scaling.windows"),
    Bad("two aliases alike", hybrid(aliases=["a", "a"]), "aliases[1]", python_path="aliases"),
    Bad("two variables of one name", {"selfHosted": {**SELF_HOSTED, "env": [{"name": "A", "value": "1"}] * 2}}, "selfHosted.env[1]", python_path="selfHosted.env"),
)  # fmt: skip

GOOD_ROUTES: dict[str, Spec] = {
    "hosted only": api(),
    "self-hosted only": {"selfHosted": SELF_HOSTED},
    "both": hybrid(),
    "a window across midnight": window(**{"from": "22:00", "to": "06:00"}, maxReplicas=0),
    "a window that raises both bounds": window(minReplicas=3, maxReplicas=4),
    "most at night below the least of the day": hybrid(
        scaling={"minReplicas": 1, "windows": [{"name": "n", "from": "22:00", "to": "06:00", "maxReplicas": 0}]}
    ),
    "fixed at zero below the least": hybrid(scaling={"minReplicas": 1, "replicas": 0}),
    "a budget with prices": api(price=PRICE) | {"budget": {"limit": "500"}},
    "objective Cost with prices": {**api(price=PRICE), "selfHosted": SELF_HOSTED, "scaling": {"objective": "Cost"}},
    "durations of every form": hybrid(
        timeouts={"connect": "500ms", "firstToken": "1.5s", "idle": "0m1s", "total": "1h30m"},
        scaling={"idleAfter": "0"},
        overflow={"timeToFirstToken": "10s", "hold": {"timeout": "0s", "maxRequests": 0}},
    ),
    "as much for all as for the first token": hybrid(timeouts={"total": "1.5m", "firstToken": "90000ms"}),
    "model names as providers write them": hybrid(
        model="meta-llama/Llama-3.1-8B-Instruct:free", aliases=["gpt-4o-mini", "a@b", "x+y"]
    ),
    "a base URL with a port": api(baseURL="http://vllm.other.svc:8000/v1"),
    "a base URL without a path": api(baseURL="http://vllm.other.svc"),
    "an address of six": api(baseURL="http://[2001:db8::1]:8000/v1/"),
    "a base URL with an escape in its path": api(baseURL="https://x.test/gpt%204o"),
    "a secret's name with dots": api(credentials={"secretName": "openai.v2", "key": "API_KEY"}),
    "a cache": {"selfHosted": {**SELF_HOSTED, "cache": {"size": "1.5Ti", "storageClassName": "csi.fast-1"}}},
    "a revision": {"selfHosted": {**SELF_HOSTED, "source": "hf://org/model@refs/pr/1"}},
    "a bucket": {"selfHosted": {**SELF_HOSTED, "source": "s3://bucket.name/a/b"}},
    "a claim": {"selfHosted": {**SELF_HOSTED, "source": "pvc://weights/llama"}},
    "an image volume": {"selfHosted": {**SELF_HOSTED, "source": "oci://registry.example/models/llama:1"}},
    "a file": {"selfHosted": {**SELF_HOSTED, "source": "file:///models/tiny"}},
    "any pod template": {"selfHosted": {**SELF_HOSTED, "podTemplate": {"spec": {"hostIPC": True, "x": [1]}}}},
    "time zones": window(timeZone="America/Argentina/Buenos_Aires"),
}

KEY: Spec = {"id": "abcdefghijkl", "hash": "0" * 64}

BAD_CONSUMERS: tuple[Bad, ...] = (
    Bad("a key's id that is short", {"keys": [{**KEY, "id": "abc"}]}, "keys[0].id", "make one with overspill keys create"),
    Bad("a whole key for an id", {"keys": [{**KEY, "id": "osk-abcdefghijkl-" + "a" * 40}]}, "keys[0].id", "is not the id of a key"),
    Bad("a hash that is short", {"keys": [{**KEY, "hash": "00"}]}, "keys[0].hash", "is not the hash of a key"),
    Bad("a key without hash", {"keys": [without(KEY, "hash")]}, "keys[0].hash"),
    Bad("two keys of one id", {"keys": [KEY, KEY]}, "keys[1]", python_path="keys"),
    Bad("a route in capitals", {"routes": [{"name": "Llama"}]}, "routes[0].name", "is not the name of a ModelRoute"),
    Bad("a route without name", {"routes": [{"namespace": "a"}]}, "routes[0].name"),
    Bad("a namespace with a dot", {"routes": [{"name": "*", "namespace": "a.b"}]}, "routes[0].namespace", NAME),
    Bad("no request a minute", {"rateLimit": {"requestsPerMinute": 0}}, "rateLimit.requestsPerMinute", "greater than or equal to 1"),
)  # fmt: skip

GOOD_CONSUMERS: dict[str, Spec] = {
    "nothing": {},
    "a key": {"keys": [KEY]},
    "routes of two namespaces": {"routes": [{"name": "*"}, {"name": "a", "namespace": "b"}]},
    "suspended": {"keys": [KEY], "suspended": True},
}

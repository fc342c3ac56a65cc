"""Contract 1: what a spec means for the gateways."""

from overspill_operator.core.compile import compile_consumer, compile_route
from overspill_operator.core.objects import read_consumer
from unit.operator_.core.builders import raw_route, route

HYBRID = """
model: llama
aliases: [gpt, llama, small]
selfHosted: {source: hf://a/b, profile: cpu}
hosted:
- {name: one, baseURL: "https://one.test/v1/", model: big, credentials: {secretName: s},
   price: {input: "0.15", cachedInput: "0.075", output: "0.60"}, limits: {concurrency: 3}}
- {name: two, baseURL: "http://two.test", model: other, credentials: {secretName: t}}
overflow: {hold: {timeout: 90s, maxRequests: 7}, timeToFirstToken: 500ms}
timeouts: {connect: 1s, firstToken: 1m, idle: 5s, total: 1h}
retries: {attempts: 4}
"""


def test_a_hybrid_route() -> None:
    """Durations are seconds, money is nano-dollars, the order of preference is kept."""
    subject = route(HYBRID)
    assert subject.spec is not None
    found = compile_route(subject.meta, subject.spec, api_keys={"one": "k1", "two": "k2"}, may_wake=True)

    assert (found.key, found.model, found.aliases) == ("chat/tiny", "llama", ("gpt", "small"))
    assert found.local is not None
    assert (found.local.service, found.local.port, found.local.served_model) == ("tiny-engine", 8000, "llama")
    one, two = found.hosted
    assert (one.name, one.base_url, one.model, one.api_key) == ("one", "https://one.test/v1", "big", "k1")
    assert one.input_nano_usd_per_million == 150_000_000
    assert one.cached_input_nano_usd_per_million == 75_000_000
    assert one.output_nano_usd_per_million == 600_000_000
    assert one.price_version
    assert one.concurrency == 3
    assert (two.input_nano_usd_per_million, two.price_version) == (None, "")
    assert found.overflow.on_cold_start == "Hosted"
    assert (found.overflow.hold_timeout_seconds, found.overflow.hold_requests_max) == (90.0, 7)
    assert found.overflow.time_to_first_token_seconds == 0.5
    assert (found.timeouts.connect_seconds, found.timeouts.total_seconds) == (1.0, 3600.0)
    assert found.retry_attempts == 4


def test_rules_for_answers_and_money() -> None:
    """Hedging, validation, continuing, the budget and what a hosted API can do, in seconds and nano-dollars."""
    more = """
hedging: {after: 1500ms, maxPercent: 10, hostedCostPerHour: "0.25"}
onStreamFailure: Continue
validate: true
budget: {limit: "12.5", period: Day, timeZone: Europe/Berlin, onExhausted: Reject}
"""
    capable = HYBRID.replace(
        "limits: {concurrency: 3}",
        "capabilities: {contextTokens: 8192, maxOutputTokens: 4096, vision: false, streamOptions: false, "
        "maxTokensField: max_completion_tokens, paths: [/v1/responses]}",
    )
    priced = capable.replace("credentials: {secretName: t}", 'price: {input: "1", output: "2"}')
    subject = route(priced + more)
    assert subject.spec is not None
    found = compile_route(subject.meta, subject.spec, api_keys={"one": "k", "two": None}, may_wake=True)

    assert found.hedging is not None
    assert (found.hedging.after_seconds, found.hedging.max_percent) == (1.5, 10)
    assert found.hedging.hosted_nano_usd_per_hour == 250_000_000
    assert (found.on_stream_failure, found.validate_structured_output) == ("Continue", True)
    assert found.budget is not None
    assert (found.budget.limit_nano_usd, found.budget.period) == (12_500_000_000, "Day")
    assert (found.budget.time_zone, found.budget.on_exhausted) == ("Europe/Berlin", "Reject")
    one, two = found.hosted
    assert (one.context_tokens, one.tools, one.json_mode, one.vision) == (8192, True, True, False)
    assert one.output_tokens_max == 4096
    assert (one.max_tokens_field, one.stream_options) == ("max_completion_tokens", False)
    assert one.paths == ("/v1/responses",)
    assert (two.max_tokens_field, two.stream_options, two.paths) == (None, None, None)
    assert (two.context_tokens, two.output_tokens_max, two.vision) == (None, None, True)


def test_an_entry_without_its_key_is_left_out() -> None:
    """The rest serves on; with none left, requests can only be held."""
    subject = route(HYBRID)
    assert subject.spec is not None
    some = compile_route(subject.meta, subject.spec, api_keys={"two": "k"}, may_wake=True)
    assert [entry.name for entry in some.hosted] == ["two"]
    none = compile_route(subject.meta, subject.spec, api_keys={}, may_wake=True)
    assert none.overflow.on_cold_start == "Hold"


def test_a_cold_start_is_held_where_the_route_says_so() -> None:
    """onColdStart wins over the default."""
    subject = route(HYBRID.replace("overflow: {", "overflow: {onColdStart: Hold, "))
    assert subject.spec is not None
    found = compile_route(subject.meta, subject.spec, api_keys={"one": None}, may_wake=True)
    assert found.overflow.on_cold_start == "Hold"


def test_names_that_others_keep_are_left_out() -> None:
    """And a pool that may not run says so."""
    subject = route(HYBRID)
    assert subject.spec is not None
    found = compile_route(subject.meta, subject.spec, api_keys={}, may_wake=False, lost_names=frozenset({"gpt"}))
    assert found.aliases == ("small",)
    assert found.local is not None
    assert found.local.may_wake is False


def test_equal_prices_have_one_version() -> None:
    """Whoever writes them, and however."""

    def version(price: str) -> str:
        subject = route(f"hosted: [{{name: a, baseURL: 'https://x.test', model: m, price: {price}}}]")
        assert subject.spec is not None
        return compile_route(subject.meta, subject.spec, api_keys={"a": None}, may_wake=True).hosted[0].price_version

    assert version('{input: "1", output: "2"}') == version('{input: "1.00", cachedInput: "1.0", output: "2.0"}')
    assert version('{input: "1", output: "2"}') != version('{input: "1", output: "2.1"}')


def test_a_consumer() -> None:
    """Routes are named in full; a suspended consumer keeps no key."""
    spec = {
        "keys": [{"id": "a" * 12, "hash": "0" * 64}],
        "routes": [{"name": "*"}, {"name": "llama", "namespace": "shared"}],
        "rateLimit": {"requestsPerMinute": 5},
    }
    consumer = read_consumer(raw_route(spec, name="team"))
    assert consumer.spec is not None
    found = compile_consumer(consumer.meta, consumer.spec)
    assert found.routes == ("chat/*", "shared/llama")
    assert [key.id for key in found.keys] == ["a" * 12]
    assert found.limits.requests_per_minute == 5

    suspended = read_consumer(raw_route({**spec, "suspended": True}, name="team"))
    assert suspended.spec is not None
    assert compile_consumer(suspended.meta, suspended.spec).keys == ()

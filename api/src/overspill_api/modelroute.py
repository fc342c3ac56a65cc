"""ModelRoute: one object per model. What a person writes, with units, defaults and what a bad value gets.

Source of the CRD (``crd.py``): field docstrings are what ``kubectl explain`` prints. Status is in ``status.py``.
"""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints

from overspill_api.access import AllowedConsumer
from overspill_api.quantities import (
    POSITIVE_DURATION_PATTERN,
    DnsLabel,
    Duration,
    ModelName,
    ObjectName,
    PositiveDuration,
    ProfileName,
    SecretKey,
    Source,
    StorageSize,
    TimeZoneName,
    UsdAmount,
    VariableName,
    WrittenDuration,
)
from overspill_api.rules import Rule, Unique, cel_text
from overspill_api.scaling import Objective, Scaling
from overspill_api.schema import Strict
from overspill_api.urls import BaseUrl

Tokens = Annotated[int, Field(ge=1, le=1_000_000_000_000)]


class ColdStart(StrEnum):
    """Who answers while no replica can."""

    HOSTED = "Hosted"
    HOLD = "Hold"


class OnExhausted(StrEnum):
    """What happens to requests for a hosted API when the budget is used up."""

    SELF_HOSTED_ONLY = "SelfHostedOnly"
    REJECT = "Reject"


class BudgetPeriod(StrEnum):
    """The calendar period a budget is for."""

    DAY = "Day"
    WEEK = "Week"
    MONTH = "Month"


class OnStreamFailure(StrEnum):
    """What follows when a backend breaks off in the middle of a stream."""

    ERROR = "Error"
    CONTINUE = "Continue"


class CacheScope(StrEnum):
    """Who shares a cached answer."""

    CONSUMER = "Consumer"
    ROUTE = "Route"


class EnvironmentVariable(Strict):
    """One environment variable of the engine."""

    name: VariableName
    """Name of the variable. Names that the engine's own settings use are overridden by this one."""
    value: Annotated[str, StringConstraints(max_length=4096)]
    """Value of the variable, not a secret: use sourceSecretName or podTemplate for secrets."""


class ModelCache(Strict):
    """A volume that keeps downloaded weights between replicas and restarts."""

    size: StorageSize
    """Size of the volume, a Kubernetes quantity such as 50Gi. It can grow later, never shrink."""
    storage_class_name: ObjectName | None = None
    """StorageClass of the volume. Default: the cluster's default class. With more than one replica on
    more than one node it must allow ReadWriteMany."""


class RolloutStrategy(StrEnum):
    """How a changed engine takes the place of the one before."""

    AUTO = "Auto"
    SURGE = "Surge"
    REPLACE = "Replace"


class DisruptionBudget(StrEnum):
    """Whether Overspill makes a PodDisruptionBudget for an engine."""

    MANAGED = "Managed"
    NONE = "None"


class Rollout(Strict):
    """How a changed engine takes the place of the one before, one replica after the other."""

    strategy: RolloutStrategy = RolloutStrategy.AUTO
    """Surge: the new replica serves before an old one goes; it needs room for one replica more, and waits
    where there is none. Replace: an old one goes first; meanwhile hosted APIs stand in where the route has
    them, else requests wait. Auto: as Surge, and as Replace from the moment on when a new replica has found
    no room for surgeTimeout, or waits for a volume that another node holds."""
    surge_timeout: Duration = WrittenDuration("30s")
    """With Auto: how long a new replica may find no node before an old one goes first. Make it longer than
    a node takes to come where nodes are added on demand. Default: 30s."""


class SelfHosted(Strict):
    """The engine that Overspill runs for this model: vLLM on your own nodes."""

    source: Source
    """Where the weights come from: hf://org/model[@revision], s3://bucket/prefix, pvc://claim/path,
    oci://registry/repository:tag (an image volume), or file:///path inside the engine's image.
    Another scheme is refused."""
    source_secret_name: ObjectName | None = None
    """Secret in this namespace whose keys become environment variables of the engine, for private
    weights: HF_TOKEN for hf://, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3://.
    Default: none. A Secret that is not there sets EngineAvailable to False."""
    profile: ProfileName
    """Name of a hardware profile from the chart's values: image, resources, node selector,
    tolerations, arguments, price. An unknown one sets Ready to False and changes nothing that runs."""
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] | None = None
    """GPUs that one replica spans. Default: the number of GPUs of the profile."""
    args: Annotated[list[Annotated[str, StringConstraints(max_length=4096)]], Field(max_length=128)] = []
    """Arguments added to vLLM's command line after those of the profile, such as --max-model-len=8192.
    Those that would take the engine from its gateways (--port, --api-key, --headless, --config ...) set Ready
    to False, in every spelling. Default: none."""
    env: Annotated[list[EnvironmentVariable], Field(max_length=128), Unique("name")] = []
    """Environment variables added to the engine's container. Default: none. VLLM_API_KEY and others that would
    take the engine from its gateways set Ready to False."""
    cache: ModelCache | None = None
    """Keep downloaded weights on a volume. Default: each replica downloads into its own scratch space.
    Taken away, the volume is kept for a day, which the condition CacheRetained tells of; with the
    ModelRoute itself it goes at once."""
    rollout: Rollout = Rollout()
    """How a change takes the place of what runs. Default: without a gap where there is room, else one replica goes
    before the other comes."""
    disruption_budget: DisruptionBudget = DisruptionBudget.MANAGED
    """Managed: a PodDisruptionBudget keeps kubectl drain and the like from taking the last replica without a
    substitute. Where hosted APIs stand in on a cold start one replica may go at a time, the only one too;
    elsewhere at least half of them stay, so that an only one stays until there is another. None: no budget,
    for a route whose pods have one of yours. Default: Managed."""
    pod_template: dict[str, Any] = Field(default={}, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
    """The escape hatch: a pod template (metadata, spec) merged over the generated one as a strategic merge
    patch does: maps are merged, containers, volumes and env by name, other lists are replaced. To take
    something away write $patch: delete, $patch: replace or $retainKeys: [fields that stay] into the map,
    because kubectl apply drops null. Default: nothing. One that makes an invalid pod sets EngineAvailable to False."""


class Credentials(Strict):
    """A key in a Secret of this namespace."""

    secret_name: ObjectName
    """Name of the Secret. One that is not there sets HostedAvailable to False; the route keeps serving
    what it can."""
    key: SecretKey = "api-key"
    """Key inside the Secret; its text is sent as a bearer token, so it must be one line of ASCII. Default: api-key."""


class Price(Strict):
    """List price of a hosted API in US dollars per million tokens, as quoted decimals."""

    input: UsdAmount
    """Per million prompt tokens, such as "0.15"."""
    cached_input: UsdAmount | None = None
    """Per million prompt tokens served from the provider's cache. Default: the price of input."""
    output: UsdAmount
    """Per million output tokens, such as "0.60"."""


class HostedLimits(Strict):
    """What the provider allows this key."""

    requests_per_minute: Tokens | None = None
    """Requests a minute. Default: no limit known."""
    tokens_per_minute: Tokens | None = None
    """Prompt and output tokens a minute. Default: no limit known."""
    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Requests at the same time. Default: no limit known."""


class MaxTokensField(StrEnum):
    """Fields that limit a chat's output."""

    MAX_TOKENS = "max_tokens"
    MAX_COMPLETION_TOKENS = "max_completion_tokens"


class HostedPath(StrEnum):
    """Paths that a hosted API may have."""

    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"
    EMBEDDINGS = "/v1/embeddings"
    RESPONSES = "/v1/responses"


class HostedCapabilities(Strict):
    """What the provider's model can do; a request that needs more goes to another backend."""

    context_tokens: Tokens | None = None
    """Prompt and output tokens that the model takes together. Default: no limit known."""
    max_output_tokens: Annotated[int, Field(ge=64, le=100_000_000)] | None = None
    """The longest answer that the model writes; a request that asks for more is sent with this limit. Default: unknown;
    with a budget, a request without a limit of its own is sent with one of at most 16384."""
    tools: bool = True
    """Whether it takes tools. Default: true."""
    json_mode: bool = True
    """Whether it takes response_format. Default: true."""
    vision: bool = True
    """Whether it takes images and other content than text. Default: true."""
    max_tokens_field: MaxTokensField | None = None
    """The field in which a chat's longest answer is written where the client has not written it itself: for a budget,
    for maxOutputTokens, and for requests of Anthropic's form. Default: by what is known of the provider, else
    max_tokens; where it is refused, the other one."""
    stream_options: bool | None = None
    """Whether streams are asked for token counts with stream_options. Default: until the API refuses the field."""
    paths: Annotated[list[HostedPath], Field(min_length=1, max_length=4)] | None = None
    """Paths that the API has; a request for another one goes to another backend. Requests of Anthropic's form need
    /v1/chat/completions. Default: it is asked for each, and not again for a while for one that it says it lacks."""


class HostedAPI(Strict):
    """One hosted API that may serve this model. Data leaves the cluster only to the APIs listed here."""

    name: DnsLabel
    """Name of the entry, unique in the list; x-overspill-served-by says hosted/<name>."""
    base_url: BaseUrl = Field(alias="baseURL")
    """Base URL of the OpenAI-compatible API, such as https://api.openai.com/v1; /chat/completions and
    the rest are appended. http:// is for services inside the cluster."""
    model: ModelName
    """The provider's name of the model; it replaces the client's in the request."""
    credentials: Credentials | None = None
    """Where the API key is. Default: none is sent."""
    price: Price | None = None
    """What a token costs. Required where a budget applies. Default: unknown."""
    limits: HostedLimits = HostedLimits()
    """What the provider allows."""
    capabilities: HostedCapabilities = HostedCapabilities()
    """What the provider's model can do."""


class Hold(Strict):
    """Bounds of the queue of requests that wait for a replica."""

    timeout: Duration = WrittenDuration("120s")
    """The longest a request waits for a replica before it is answered with 503. Default: 120s."""
    max_requests: Annotated[int, Field(ge=0, le=100_000)] = 500
    """The most requests of this route that wait in one gateway; the next one spills, or gets 429 where
    there is no hosted API. Default: 500."""


class Overflow(Strict):
    """When a request goes to a hosted API instead of a replica."""

    on_cold_start: ColdStart | None = None
    """While no replica can serve: Hosted sends requests to the hosted list and wakes the engine
    meanwhile, Hold lets them wait for it. Default: Hosted where there is a hosted list, else Hold."""
    time_to_first_token: PositiveDuration | None = None
    """Spill when the predicted time to first token is worse than this. Default: only a full queue, a
    cold start or a failure spills."""
    hold: Hold = Hold()
    """Bounds of the waiting queue."""


class Timeouts(Strict):
    """How long the gateway waits for a backend. All of them together never exceed total."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            field="total",
            message="total is shorter than firstToken (30s where it is not written), which could then never pass; "
            "raise total or lower firstToken",
            cel="!has(self.total) || !has(self.firstToken) "
            f"|| ![self.total, self.firstToken].all(time, time.matches({cel_text(POSITIVE_DURATION_PATTERN)})) "
            "|| duration(self.total) >= duration(self.firstToken)",
            holds=lambda timeouts: timeouts.total.seconds >= timeouts.first_token.seconds,
        ),
    )

    connect: PositiveDuration = WrittenDuration("2s")
    """For a connection to be made. Default: 2s."""
    first_token: PositiveDuration = WrittenDuration("30s")
    """Of a streamed answer: from the request being sent to its first token. Comments by which a backend says that it is
    working are none. A plain answer comes whole, so total holds for it until it begins. Default: 30s."""
    idle: PositiveDuration = WrittenDuration("20s")
    """Between two pieces of a streamed answer. Default: 20s."""
    total: PositiveDuration = WrittenDuration("10m")
    """For the whole request, the time it is held included; not shorter than firstToken. Default: 10m."""


class Retries(Strict):
    """Tries after a failure that came before the first token."""

    attempts: Annotated[int, Field(ge=0, le=10)] = 2
    """Tries beyond the first, over replicas and hosted APIs together. Default: 2."""


class Hedging(Strict):
    """Ask a second backend when the first one is slow to begin; the answer that begins first is taken."""

    after: PositiveDuration
    """Without a first token for this long, such as 2s."""
    max_percent: Annotated[int, Field(ge=1, le=100)] = 5
    """Of the requests, at most. Default: 5."""
    hosted_cost_per_hour: UsdAmount = "0"
    """What hedges at hosted APIs may cost an hour in US dollars, a quoted decimal such as "1.50", by what they could
    cost at most. Default: "0", which hedges at replicas only."""


class Budget(Strict):
    """A cap on what the hosted APIs of this route may cost. Every hosted entry then needs a price."""

    limit: UsdAmount
    """The cap in US dollars, a quoted decimal such as "500"."""
    period: BudgetPeriod = BudgetPeriod.MONTH
    """Calendar period after which the count starts anew. Default: Month."""
    time_zone: TimeZoneName = "UTC"
    """IANA time zone in which the period begins. Default: UTC. An unknown zone sets Ready to False."""
    alerts: Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(max_length=10), Unique()] = [50, 75, 100]
    """Percentages of the limit at which an event is emitted, once each a period. Default: 50, 75, 100."""
    on_exhausted: OnExhausted = OnExhausted.SELF_HOSTED_ONLY
    """At the cap: SelfHostedOnly lets requests wait for replicas, Reject answers 429.
    Default: SelfHostedOnly."""


class ConsumerLimits(Strict):
    """Limits that hold for each consumer on its own."""

    requests_per_minute: Tokens | None = None
    """Requests a minute. Default: no limit."""
    tokens_per_minute: Tokens | None = None
    """Prompt and output tokens a minute. Default: no limit."""


class RateLimit(Strict):
    """Limits of use."""

    per_consumer: ConsumerLimits = ConsumerLimits()
    """Limits that hold for each consumer on its own."""


class ResponseCache(Strict):
    """Answer repeated requests from memory."""

    ttl: PositiveDuration
    """How long an answer may be repeated, such as 10m."""
    scope: CacheScope = CacheScope.CONSUMER
    """Consumer: nobody gets an answer made for somebody else. Route: all consumers of the route share.
    Default: Consumer."""


class ModelRouteSpec(Strict):
    """What you want for one model."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            message="nobody would answer: add selfHosted (your own replicas), hosted (hosted APIs), or both",
            cel="has(self.selfHosted) || (has(self.hosted) && size(self.hosted) > 0)",
            holds=lambda spec: spec.self_hosted is not None or bool(spec.hosted),
            reason="FieldValueRequired",
        ),
        Rule(
            field="overflow.onColdStart",
            message="Hosted needs somewhere to send requests; list an API under hosted, or write Hold",
            cel="!has(self.overflow) || !has(self.overflow.onColdStart) || self.overflow.onColdStart != 'Hosted' "
            "|| (has(self.hosted) && size(self.hosted) > 0)",
            holds=lambda spec: spec.overflow.on_cold_start is not ColdStart.HOSTED or bool(spec.hosted),
        ),
        Rule(
            field="overflow.onColdStart",
            message="Hold waits for a replica, and this route has none; add selfHosted, or write Hosted",
            cel="!has(self.overflow) || !has(self.overflow.onColdStart) || self.overflow.onColdStart != 'Hold' "
            "|| has(self.selfHosted)",
            holds=lambda spec: spec.overflow.on_cold_start is not ColdStart.HOLD or spec.self_hosted is not None,
        ),
        Rule(
            field="hosted",
            message="a budget applies, so every hosted entry needs a price (input and output); "
            "a call of unknown cost could exceed it",
            cel="!has(self.budget) || !has(self.hosted) || self.hosted.all(api, has(api.price))",
            holds=lambda spec: spec.budget is None or all(api.price is not None for api in spec.hosted),
            reason="FieldValueRequired",
        ),
        Rule(
            field="budget",
            message="a budget caps what hosted APIs cost, and this route has none; list one under hosted, or remove "
            "the budget",
            cel="!has(self.budget) || (has(self.hosted) && size(self.hosted) > 0)",
            holds=lambda spec: spec.budget is None or bool(spec.hosted),
        ),
        Rule(
            field="scaling.objective",
            message="Cost compares replicas with hosted prices; list at least one hosted API, each with a price, "
            "or write Latency",
            cel="!has(self.scaling) || !has(self.scaling.objective) || self.scaling.objective != 'Cost' "
            "|| (has(self.hosted) && size(self.hosted) > 0 && self.hosted.all(api, has(api.price)))",
            holds=lambda spec: (
                spec.scaling.objective is not Objective.COST
                or (bool(spec.hosted) and all(api.price is not None for api in spec.hosted))
            ),
        ),
    )

    model: ModelName | None = None
    """The name that clients send as "model". Default: metadata.name. Where two routes claim one name, the
    older keeps it and the other's Ready condition says so."""
    aliases: Annotated[list[ModelName], Field(max_length=32), Unique()] = []
    """Further names that clients may send. Default: none."""
    allowed_consumers: Annotated[list[AllowedConsumer], Field(max_length=256)] = []
    """Consumers of other namespaces that may call this route. Those of its own namespace need not be listed.
    Default: none, whatever a Consumer elsewhere names."""
    self_hosted: SelfHosted | None = None
    """The engine that Overspill runs. Default: none; then hosted is needed."""
    scaling: Scaling = Scaling()
    """How many replicas run. Without selfHosted it has no effect."""
    hosted: Annotated[list[HostedAPI], Field(max_length=16), Unique("name")] = []
    """Hosted APIs in order of preference. Default: none; then selfHosted is needed."""
    overflow: Overflow = Overflow()
    """When a request goes to a hosted API."""
    timeouts: Timeouts = Timeouts()
    """How long the gateway waits."""
    retries: Retries = Retries()
    """Tries after a failure."""
    hedging: Hedging | None = None
    """Ask a second backend when the first one is slow to begin. Default: off."""
    on_stream_failure: OnStreamFailure = OnStreamFailure.ERROR
    """When a backend breaks off in the middle of a stream. Error: the client gets an error event and no [DONE].
    Continue: another backend goes on from the text that came, and the last chunk says so. Default: Error."""
    validate_: Annotated[bool, Field(alias="validate")] = False
    """Check plain answers against the JSON schema of the request's response_format: one that does not hold is asked
    for once more, then of the next backend, then refused. Default: false."""
    budget: Budget | None = None
    """A cap on the cost of the hosted APIs. Default: no cap."""
    rate_limit: RateLimit | None = None
    """Limits of use. Default: none beyond those of the consumer."""
    cache: ResponseCache | None = None
    """Answer repeated requests from memory. Default: off."""

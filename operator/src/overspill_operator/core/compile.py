"""Contract 1: a ModelRoute or a Consumer with everything slow or secret resolved, as the gateways get it."""

import hashlib
from collections.abc import Mapping

from overspill_api.compiled import (
    BudgetRules,
    CompiledConsumer,
    CompiledKey,
    CompiledRoute,
    ConsumerLimitRules,
    HedgingRules,
    HostedBackend,
    LocalPool,
    OverflowRules,
    TimeoutRules,
)
from overspill_api.consumer import ConsumerSpec
from overspill_api.modelroute import (
    Budget,
    ColdStart,
    ConsumerLimits,
    Hedging,
    HostedAPI,
    ModelRouteSpec,
    Price,
    Timeouts,
)
from overspill_api.names import ENGINE_PORT, engine_name
from overspill_api.quantities import usd_to_nano
from overspill_operator.core.objects import Metadata


def compile_route(
    meta: Metadata,
    spec: ModelRouteSpec,
    *,
    api_keys: Mapping[str, str | None],
    may_wake: bool,
    refused: bool = False,
    lost_names: frozenset[str] = frozenset(),
    has_engine: bool = True,
    served_model: str | None = None,
    engine_keys: tuple[str, ...] = (),
) -> CompiledRoute:
    """The compiled route.

    ``api_keys``: by hosted entry that is usable, its key or None where it needs none; an entry that is not in it is
    left out. ``refused``: the engine can't be made. ``lost_names``: model names that an older route keeps.
    ``has_engine``: whether replicas may be looked for at all. ``served_model``: the name that every replica knows the
    model by; default its name. ``engine_keys``: what replicas may ask for, the present key first.
    """
    model = spec.model or meta.name
    hosted = tuple(_hosted(entry, api_keys[entry.name]) for entry in spec.hosted if entry.name in api_keys)
    pool = None
    if spec.self_hosted and has_engine:
        pool = LocalPool(
            service=engine_name(meta.name),
            port=ENGINE_PORT,
            served_model=served_model or model,
            api_keys=engine_keys,
            may_wake=may_wake,
            refused=refused,
        )
    limits = spec.rate_limit.per_consumer if spec.rate_limit else ConsumerLimits()
    return CompiledRoute(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        generation=meta.generation,
        model=model,
        allowed_consumers=tuple(f"{entry.namespace}/{entry.name}" for entry in spec.allowed_consumers),
        aliases=tuple(alias for alias in spec.aliases if alias not in lost_names and alias != model),
        local=pool,
        hosted=hosted,
        overflow=_overflow(spec, hosted_usable=bool(hosted)),
        timeouts=_timeouts(spec.timeouts),
        retry_attempts=spec.retries.attempts,
        per_consumer=_limits(limits),
        hedging=_hedging(spec.hedging) if spec.hedging else None,
        on_stream_failure=spec.on_stream_failure.value,
        validate_structured_output=spec.validate_,
        budget=_budget(spec.budget) if spec.budget else None,
    )


def compile_consumer(meta: Metadata, spec: ConsumerSpec) -> CompiledConsumer:
    """The compiled consumer; a suspended one keeps its name and loses its keys."""
    return CompiledConsumer(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        generation=meta.generation,
        created=meta.created,
        keys=() if spec.suspended else tuple(CompiledKey(id=key.id, hash=key.hash) for key in spec.keys),
        routes=tuple(f"{route.namespace or meta.namespace}/{route.name}" for route in spec.routes),
        limits=_limits(spec.rate_limit),
        priority=spec.priority,
    )


def _hosted(entry: HostedAPI, api_key: str | None) -> HostedBackend:
    price = entry.price
    return HostedBackend(
        name=entry.name,
        base_url=entry.base_url.rstrip("/"),
        model=entry.model,
        api_key=api_key,
        input_nano_usd_per_million=usd_to_nano(price.input) if price else None,
        cached_input_nano_usd_per_million=usd_to_nano(price.cached_input) if price and price.cached_input else None,
        output_nano_usd_per_million=usd_to_nano(price.output) if price else None,
        price_version=_price_version(price) if price else "",
        requests_per_minute=entry.limits.requests_per_minute,
        tokens_per_minute=entry.limits.tokens_per_minute,
        concurrency=entry.limits.concurrency,
        context_tokens=entry.capabilities.context_tokens,
        output_tokens_max=entry.capabilities.max_output_tokens,
        tools=entry.capabilities.tools,
        json_mode=entry.capabilities.json_mode,
        vision=entry.capabilities.vision,
        max_tokens_field=entry.capabilities.max_tokens_field.value if entry.capabilities.max_tokens_field else None,
        stream_options=entry.capabilities.stream_options,
        paths=tuple(path.value for path in entry.capabilities.paths) if entry.capabilities.paths is not None else None,
    )


def _hedging(hedging: Hedging) -> HedgingRules:
    return HedgingRules(
        after_seconds=hedging.after.seconds,
        max_percent=hedging.max_percent,
        hosted_nano_usd_per_hour=usd_to_nano(hedging.hosted_cost_per_hour),
    )


def _budget(budget: Budget) -> BudgetRules:
    return BudgetRules(
        limit_nano_usd=usd_to_nano(budget.limit),
        period=budget.period.value,
        time_zone=budget.time_zone,
        on_exhausted=budget.on_exhausted.value,
        alerts=tuple(sorted(budget.alerts)),
    )


def _price_version(price: Price) -> str:
    """Equal prices have one version, whoever wrote them and when."""
    amounts = (price.input, price.cached_input or price.input, price.output)
    text = "/".join(str(usd_to_nano(amount)) for amount in amounts)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _overflow(spec: ModelRouteSpec, *, hosted_usable: bool) -> OverflowRules:
    """``onColdStart`` as it can be kept: without a usable hosted API, requests can only be held."""
    wanted = spec.overflow.on_cold_start or ColdStart.HOSTED
    first_token = spec.overflow.time_to_first_token
    return OverflowRules(
        on_cold_start="Hosted" if hosted_usable and wanted is ColdStart.HOSTED else "Hold",
        time_to_first_token_seconds=first_token.seconds if first_token else None,
        hold_timeout_seconds=spec.overflow.hold.timeout.seconds,
        hold_requests_max=spec.overflow.hold.max_requests,
    )


def _timeouts(timeouts: Timeouts) -> TimeoutRules:
    return TimeoutRules(
        connect_seconds=timeouts.connect.seconds,
        first_token_seconds=timeouts.first_token.seconds,
        idle_seconds=timeouts.idle.seconds,
        total_seconds=timeouts.total.seconds,
    )


def _limits(limits: ConsumerLimits) -> ConsumerLimitRules:
    return ConsumerLimitRules(
        requests_per_minute=limits.requests_per_minute, tokens_per_minute=limits.tokens_per_minute
    )

"""Fields that this version takes but does not act upon yet: a person is told so in a condition, never left to guess."""

from overspill_api.modelroute import ModelRouteSpec, Objective


def unenforced_fields(spec: ModelRouteSpec) -> tuple[str, ...]:
    """Paths of fields that are set and have no effect yet."""
    targets = spec.scaling.targets
    fields = {
        "spec.budget": spec.budget is not None,
        "spec.cache": spec.cache is not None,
        "spec.rateLimit": spec.rate_limit is not None
        and (
            spec.rate_limit.per_consumer.requests_per_minute is not None
            or spec.rate_limit.per_consumer.tokens_per_minute is not None
        ),
        "spec.overflow.timeToFirstToken": spec.overflow.time_to_first_token is not None,
        "spec.scaling.objective": spec.scaling.objective is Objective.COST,
        "spec.scaling.targets.timeToFirstToken": targets.time_to_first_token is not None,
        "spec.scaling.targets.interTokenLatency": targets.inter_token_latency is not None,
    }
    for index, entry in enumerate(spec.hosted):
        limits = entry.limits
        known = (limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency)
        fields[f"spec.hosted[{index}].limits"] = any(limit is not None for limit in known)
    return tuple(path for path, is_set in fields.items() if is_set)

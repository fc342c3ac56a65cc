"""Fields that this version takes but does not act upon yet: a person is told so in a condition, never left to guess."""

from overspill_api.modelroute import ModelRouteSpec


def unenforced_fields(spec: ModelRouteSpec) -> tuple[str, ...]:
    """Paths of fields that are set and have no effect yet.

    A budget is not among them: each gateway process holds to it, which WithinBudget tells.
    """
    fields = {"spec.cache": spec.cache is not None}
    return tuple(path for path, is_set in fields.items() if is_set)

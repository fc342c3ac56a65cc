"""By which labels all that is made of a route is found."""

from overspill_api import names


def selector_labels(route_name: str) -> dict[str, str]:
    """Labels by which a route's pods are found; they never change."""
    return {names.LABEL_ROUTE: route_name, names.LABEL_MANAGED_BY: names.MANAGED_BY}


def selector_text(route_name: str) -> str:
    """The same as a label selector."""
    return ",".join(f"{label}={value}" for label, value in selector_labels(route_name).items())

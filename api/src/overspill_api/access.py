"""Whom a ModelRoute lets in beside the consumers of its own namespace: part of its spec."""

from typing import Annotated

from pydantic import StringConstraints

from overspill_api.quantities import DNS_LABEL
from overspill_api.rules import Form
from overspill_api.schema import Strict


class AllowedConsumer(Strict):
    """Consumers of another namespace that may call this route, if they name it."""

    namespace: Annotated[
        str,
        StringConstraints(max_length=63),
        Form(rf"^(\*|{DNS_LABEL})$", "is not the name of a namespace; write its name, or * for every namespace"),
    ]
    """Their namespace; * means every namespace."""
    name: Annotated[
        str,
        StringConstraints(max_length=63),
        Form(r"^(\*|[a-z0-9]([-.a-z0-9]*[a-z0-9])?)$", "is not the name of a Consumer; write its name, or * for all"),
    ] = "*"
    """Name of the Consumer. Default: *, which means all of the namespace."""

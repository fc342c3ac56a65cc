"""ModelRoutes and Consumers as they lie in the API server, read into types. Not what is decided about them."""

from dataclasses import dataclass

from pydantic import ValidationError

from overspill_api.consumer import ConsumerSpec
from overspill_api.mistakes import sentences
from overspill_api.modelroute import ModelRouteSpec
from overspill_operator.core.json_object import Json


@dataclass(frozen=True, slots=True)
class Metadata:
    """The part of an object's metadata that deciding needs."""

    namespace: str
    """Its namespace."""
    name: str
    """Its name, unique in the namespace."""
    uid: str
    """Its identity: an object made anew under the same name has another one."""
    generation: int
    """Raised by the API server with each change of spec."""
    created: str
    """creationTimestamp, RFC 3339 in UTC, so that text order is time order."""
    resource_version: str
    """Raised with each change at all."""
    deleting: bool
    """Whether it is on its way out (deletionTimestamp is set)."""

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class RouteObject:
    """One ModelRoute."""

    meta: Metadata
    """Who it is."""
    spec: ModelRouteSpec | None
    """What is wanted; None where it could not be read."""
    spec_errors: tuple[str, ...]
    """Why it could not be read, one sentence a field; empty where it could."""
    status: Json
    """Status as last seen or written, in its JSON form."""

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return self.meta.key

    @property
    def model(self) -> str:
        """The canonical model name."""
        return (self.spec.model if self.spec else None) or self.meta.name

    @property
    def names(self) -> tuple[str, ...]:
        """All model names it claims, the canonical one first."""
        return tuple(dict.fromkeys((self.model, *(self.spec.aliases if self.spec else ()))))


@dataclass(frozen=True, slots=True)
class ConsumerObject:
    """One Consumer."""

    meta: Metadata
    """Who it is."""
    spec: ConsumerSpec | None
    """What is wanted; None where it could not be read."""
    spec_errors: tuple[str, ...]
    """Why it could not be read; empty where it could."""
    status: Json
    """Status as last seen or written, in its JSON form."""

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return self.meta.key


def read_metadata(raw: Json) -> Metadata:
    """Metadata of an object as the API server sends it."""
    meta = raw["metadata"]
    return Metadata(
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        uid=meta.get("uid", ""),
        generation=meta.get("generation", 0),
        created=meta.get("creationTimestamp") or "",
        resource_version=meta.get("resourceVersion", ""),
        deleting="deletionTimestamp" in meta,
    )


def read_route(raw: Json, previous: RouteObject | None = None) -> RouteObject:
    """A ModelRoute; ``previous`` saves reading the same generation's spec again."""
    meta, status = read_metadata(raw), raw.get("status") or {}
    if previous and previous.meta.uid == meta.uid and previous.meta.generation == meta.generation:
        return RouteObject(meta, previous.spec, previous.spec_errors, status)
    try:
        return RouteObject(meta, ModelRouteSpec.model_validate(raw.get("spec") or {}), (), status)
    except ValidationError as error:
        return RouteObject(meta, None, sentences(error, ModelRouteSpec), status)


def read_consumer(raw: Json, previous: ConsumerObject | None = None) -> ConsumerObject:
    """A Consumer; ``previous`` saves reading the same generation's spec again."""
    meta, status = read_metadata(raw), raw.get("status") or {}
    if previous and previous.meta.uid == meta.uid and previous.meta.generation == meta.generation:
        return ConsumerObject(meta, previous.spec, previous.spec_errors, status)
    try:
        return ConsumerObject(meta, ConsumerSpec.model_validate(raw.get("spec") or {}), (), status)
    except ValidationError as error:
        return ConsumerObject(meta, None, sentences(error, ConsumerSpec), status)

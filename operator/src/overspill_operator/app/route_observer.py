"""What the plan of a route depends on, as it is now: Secrets that it names, its objects, its replicas."""

import json
from base64 import b64decode

from overspill_api.modelroute import HostedAPI, ModelRouteSpec
from overspill_api.names import ACCEPTED_KEY, COMPILED_KEY, compiled_route_secret_name
from overspill_operator.app.world import World
from overspill_operator.core import in_force
from overspill_operator.core.credentials import read_api_key, why_unread
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.plan import RouteWorld
from overspill_operator.ports import ClusterError, Json

ENGINE_KEYS_MAX = 2
"""The present key, and the one that replicas from before a rotation were started with."""

SECRET_RETRY_SECONDS = 5.0
"""When a Secret that the API server would not give is asked for again."""


class RouteObserver:
    """Looks at the world of one route."""

    def __init__(self, world: World) -> None:
        """In ``world``."""
        self._world = world

    async def observe(self, route: RouteObject) -> RouteWorld:
        """Everything outside the route that its plan depends on."""
        world = self._world
        api_keys: dict[str, str | None] = {}
        missing: dict[str, str] = {}
        for index, entry in enumerate(route.spec.hosted if route.spec else ()):
            usable, value = await self._api_key(route, entry)
            if usable:
                api_keys[entry.name] = value
            else:
                missing[entry.name] = f"spec.hosted[{index}].credentials ({entry.name}): {value}."
        lost = world.routes.lost_names(route)
        engine_keys, engine_key_problem = await self._engine_keys(route)
        return RouteWorld(
            profiles=world.profiles(),
            replicas=world.scaler.desired(route),
            may_wake=world.scaler.may_wake(route),
            lost_names=lost,
            api_keys=api_keys,
            missing_credentials=missing,
            source_secret_problem=await self._source_secret_problem(route, route.spec),
            live_engine=world.caches.engine(route),
            live_claim=world.caches.claim(route),
            compiled_names=self.compiled_names(route) if lost else frozenset(),
            engine_keys=engine_keys,
            engine_key_problem=engine_key_problem,
            key_senders=world.gateways.key_senders,
            engine_access=world.engine_access,
            no_room_since_unix=world.diagnosis.no_room_since(route.key),
            now_unix=world.clock.unix(),
        )

    def last_good(self, route: RouteObject) -> RouteObject | None:
        """The route with the spec that is in force, where that is known."""
        return in_force.last_good(route, self._live(route, ACCEPTED_KEY))

    async def _api_key(self, route: RouteObject, entry: HostedAPI) -> tuple[bool, str | None]:
        """Whether an entry is usable, and its key (None: it needs none), or what it lacks."""
        credentials = entry.credentials
        if credentials is None:
            return True, None
        name = credentials.secret_name
        try:
            data = await self._world.secrets.read(route, name, credentials.key)
        except ClusterError as error:
            # One API is left out until its Secret can be read; the others serve.
            return False, self._try_again(route, name, error)
        stored = read_api_key(data or {}, credentials.key)
        if stored.text is not None:
            return True, stored.text
        self._look_again(route, name)
        if data is None:
            return False, f"there is no Secret {name!r} in this namespace; create it"
        if stored.problem:
            return False, f"key {credentials.key!r} of Secret {name!r} {stored.problem}"
        return False, f"Secret {name!r} has no key {credentials.key!r} with text; add it"

    async def _engine_keys(self, route: RouteObject) -> tuple[tuple[str, ...], str]:
        """The present key of the route's engine and the one before it, or what hinders."""
        if route.spec is None or route.spec.self_hosted is None:
            return (), ""
        former = self._compiled_engine_keys(route)
        key, problem = await self._world.engine_keys.key(route)
        if key is None:
            self._world.queue.add_after(("ModelRoute", route.key), SECRET_RETRY_SECONDS)
            return former, problem
        return (key, *(other for other in former if other != key))[:ENGINE_KEYS_MAX], ""

    def _compiled_engine_keys(self, route: RouteObject) -> tuple[str, ...]:
        """Engine's keys in the document that the gateways have."""
        try:
            local = json.loads(self._live(route, COMPILED_KEY) or b"{}").get("local") or {}
            return tuple(key for key in local.get("api_keys") or () if isinstance(key, str))
        except (ValueError, AttributeError):
            return ()  # written by somebody else, and soon put right

    async def _source_secret_problem(self, route: RouteObject, spec: ModelRouteSpec | None) -> str:
        name = spec.self_hosted.source_secret_name if spec and spec.self_hosted else None
        if name is None:
            return ""
        try:
            data = await self._world.secrets.read(route, name)
        except ClusterError as error:
            return self._try_again(route, name, error)
        if data is not None:
            return ""
        self._look_again(route, name)
        return f"there is no Secret {name!r} in this namespace; create it, or remove the field"

    def _try_again(self, route: RouteObject, name: str, error: ClusterError) -> str:
        """Come back for a Secret that was not given; why it was not. Raises where there was no answer at all."""
        if not error.is_answer:
            raise error
        self._world.queue.add_after(("ModelRoute", route.key), SECRET_RETRY_SECONDS)
        return why_unread(name, route.meta.namespace, error.status, error.message)

    def _look_again(self, route: RouteObject, secret_name: str) -> None:
        """Reconcile again once a Secret that is missing may have come."""
        pause = self._world.secrets.seconds_until_due(route, secret_name)
        self._world.queue.add_after(("ModelRoute", route.key), pause)

    def compiled_names(self, route: RouteObject) -> frozenset[str]:
        """Model names in the document that the gateways have."""
        return in_force.names(self._live(route, COMPILED_KEY))

    def _live(self, route: RouteObject, key: str) -> bytes | None:
        """What lies under a key in the Secret that the gateways have; None: nothing does."""
        name = compiled_route_secret_name(route.meta.namespace, route.meta.name)
        live: Json | None = self._world.caches.compiled.get(self._world.release_namespace, name)
        text = (live.get("data") or {}).get(key) if live else None
        return b64decode(text) if text else None

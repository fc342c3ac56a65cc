"""What the plan of a route depends on, as it is now: Secrets that it names, its objects, its replicas."""

import json
from collections.abc import Callable, Mapping

from overspill_api.modelroute import HostedAPI, ModelRouteSpec
from overspill_api.names import ACCEPTED_KEY, COMPILED_KEY, compiled_route_secret_name
from overspill_api.profile import Profile
from overspill_operator.app.compiled_documents import CompiledDocuments
from overspill_operator.app.diagnosis import Diagnosis
from overspill_operator.app.engine_keys import EngineKeys
from overspill_operator.app.objects import Routes
from overspill_operator.app.scaler import Scaler
from overspill_operator.app.secret_reader import SecretReader
from overspill_operator.app.work_queue import WorkQueue
from overspill_operator.clock import Clock
from overspill_operator.core import in_force
from overspill_operator.core.credentials import read_api_key, why_unread
from overspill_operator.core.engine_access import EngineAccess, KeySenders
from overspill_operator.core.kubernetes_engine import EngineObjects, KubernetesEngineView
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.plan import RouteWorld
from overspill_operator.ports import ClusterError, Json

ENGINE_KEYS_MAX = 2
"""The present key, and the one that replicas from before a rotation were started with."""

SECRET_RETRY_SECONDS = 5.0
"""When a Secret that the API server would not give is asked for again."""


class RouteObserver:
    """Looks at the world of one route."""

    def __init__(
        self,
        *,
        routes: Routes,
        engine_of: Callable[[RouteObject], Json | None],
        claim_of: Callable[[RouteObject], Json | None],
        documents: CompiledDocuments,
        scaler: Scaler,
        key_senders: Callable[[], KeySenders],
        diagnosis: Diagnosis,
        secrets: SecretReader,
        engine_keys: EngineKeys,
        engine_access: EngineAccess | None,
        profiles: Callable[[], Mapping[str, Profile]],
        queue: WorkQueue,
        clock: Clock,
    ) -> None:
        """``engine_of``, ``claim_of``: a route's own Deployment, and its cache's claim, as they are.

        ``key_senders``: which gateways send engines their keys; ``profiles``: as they are now; ``engine_access``: who
        may reach engines, None: they get no NetworkPolicy.
        """
        self._routes = routes
        self._engine_of = engine_of
        self._claim_of = claim_of
        self._documents = documents
        self._scaler = scaler
        self._key_senders = key_senders
        self._diagnosis = diagnosis
        self._secrets = secrets
        self._engine_keys_of = engine_keys
        self._engine_access = engine_access
        self._profiles = profiles
        self._queue = queue
        self._clock = clock

    async def observe(self, route: RouteObject) -> RouteWorld[EngineObjects]:
        """Everything outside the route that its plan depends on."""
        api_keys: dict[str, str | None] = {}
        missing: dict[str, str] = {}
        for index, entry in enumerate(route.spec.hosted if route.spec else ()):
            usable, value = await self._api_key(route, entry)
            if usable:
                api_keys[entry.name] = value
            else:
                missing[entry.name] = f"spec.hosted[{index}].credentials ({entry.name}): {value}."
        lost = self._routes.lost_names(route)
        engine_keys, engine_key_problem = await self._engine_keys(route)
        return RouteWorld(
            profiles=self._profiles(),
            replicas=self._scaler.desired(route),
            may_wake=self._scaler.may_wake(route),
            lost_names=lost,
            api_keys=api_keys,
            missing_credentials=missing,
            source_secret_problem=await self._source_secret_problem(route, route.spec),
            engine=KubernetesEngineView(
                live_engine=self._engine_of(route),
                live_claim=self._claim_of(route),
                key_senders=self._key_senders(),
                engine_access=self._engine_access,
                no_room_since_unix=self._diagnosis.no_room_since(route.key),
                now_unix=self._clock.unix(),
            ),
            compiled_names=self.compiled_names(route) if lost else frozenset(),
            engine_keys=engine_keys,
            engine_key_problem=engine_key_problem,
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
            data = await self._secrets.read(route, name, credentials.key)
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
        key, problem = await self._engine_keys_of.key(route)
        if key is None:
            self._queue.add_after(("ModelRoute", route.key), SECRET_RETRY_SECONDS)
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
            data = await self._secrets.read(route, name)
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
        self._queue.add_after(("ModelRoute", route.key), SECRET_RETRY_SECONDS)
        return why_unread(name, route.meta.namespace, error.status, error.message)

    def _look_again(self, route: RouteObject, secret_name: str) -> None:
        """Reconcile again once a Secret that is missing may have come."""
        pause = self._secrets.seconds_until_due(route, secret_name)
        self._queue.add_after(("ModelRoute", route.key), pause)

    def compiled_names(self, route: RouteObject) -> frozenset[str]:
        """Model names in the document that the gateways have."""
        return in_force.names(self._live(route, COMPILED_KEY))

    def _live(self, route: RouteObject, key: str) -> bytes | None:
        """What lies under a key in the Secret that the gateways have; None: nothing does."""
        return self._documents.read(compiled_route_secret_name(route.meta.namespace, route.meta.name), key)

"""The name by which gateways ask an engine for its model: one that every replica knows, whatever the route is called.

Replicas learn their names when they start, and a roll-out takes as long as a model loads. So the name that an engine
was first started with stays, beside the one that a renamed route has: vLLM takes several and puts the first into
answers. Only where no replica runs is it let go.
"""

from collections.abc import Sequence
from typing import Final

from overspill_api.names import ENGINE_CONTAINER, GROUP
from overspill_operator.core.json_object import Json

ANNOTATION_SERVED_MODEL: Final = f"{GROUP}/served-model"
"""On an engine's Deployment: the name that all of its replicas know, those of earlier templates included."""

OPTION: Final = "--served-model-name"


def served_model(model: str, live_engine: Json | None, replicas: int) -> str:
    """The name to ask for. ``replicas``: those that are decided, so that none is on its way by an older template."""
    if live_engine is None or (replicas == 0 and not _runs(live_engine)):
        return model
    annotations = live_engine.get("metadata", {}).get("annotations") or {}
    return annotations.get(ANNOTATION_SERVED_MODEL) or _from_arguments(live_engine) or model


def arguments(model: str, served: str) -> list[str]:
    """The engine's option: ``model`` is what its answers say."""
    return [f"{OPTION}={model}"] if model == served else [OPTION, model, served]


def _runs(live_engine: Json) -> bool:
    status, spec = live_engine.get("status") or {}, live_engine.get("spec") or {}
    return bool(spec.get("replicas", 1) or status.get("replicas", 0))


def _from_arguments(live_engine: Json) -> str | None:
    """Of an engine from before the annotation: the last of the names that it was started with."""
    pod = live_engine.get("spec", {}).get("template", {}).get("spec", {})
    for container in pod.get("containers") or ():
        if container.get("name") == ENGINE_CONTAINER:
            return _last_name(container.get("args") or ())
    return None


def _last_name(args: Sequence[str]) -> str | None:
    for index, argument in enumerate(args):
        if argument.startswith(f"{OPTION}="):
            return argument.partition("=")[2]
        if argument == OPTION:
            names = args[index + 1 :]
            end = next((place for place, name in enumerate(names) if name.startswith("-")), len(names))
            return names[end - 1] if end else None
    return None

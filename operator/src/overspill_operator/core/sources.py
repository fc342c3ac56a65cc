"""Where the weights come from: what each kind of source means for vLLM's arguments and the pod's volumes."""

from dataclasses import dataclass
from typing import Any

MODEL_MOUNT = "/model"
"""Where a claim or an image with weights is mounted, read-only."""

CACHE_MOUNT = "/cache"
"""Where the route's cache volume is mounted."""


@dataclass(frozen=True, slots=True)
class Source:
    """A source of weights, resolved."""

    model: str
    """First argument of ``vllm serve``."""
    args: tuple[str, ...] = ()
    """Further arguments that the source needs."""
    volume: dict[str, Any] | None = None
    """Pod volume to mount at ``MODEL_MOUNT``; None: no volume."""


def resolve(source: str) -> Source:
    """The source written as in ``spec.selfHosted.source``; the schema has checked its form."""
    scheme, _, rest = source.partition("://")
    match scheme:
        case "hf":
            model, _, revision = rest.partition("@")
            return Source(model, (f"--revision={revision}",) if revision else ())
        case "s3":
            # vLLM streams from object storage with the loader that its image brings for it.
            return Source(source, ("--load-format=runai_streamer",))
        case "pvc":
            claim, _, path = rest.partition("/")
            volume = {"name": "model", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
            return Source(_below_mount(path), volume=volume)
        case "oci":
            return Source(MODEL_MOUNT, volume={"name": "model", "image": {"reference": rest}})
        case "file":
            return Source(rest)
    raise ValueError(f"{source!r} is not a source; write hf://, s3://, pvc://, oci:// or file:///")


def _below_mount(path: str) -> str:
    return f"{MODEL_MOUNT}/{path.strip('/')}".rstrip("/")

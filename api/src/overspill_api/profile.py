"""Hardware profiles: what one replica of an engine needs from a node. Written in the chart's values.

The chart puts them into a ConfigMap that the operator reads; ``values.schema.json`` is made from these types, and asks
for the image, which Kubernetes cannot do without. ``overspill serve`` reads the same mapping from a file.
"""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from overspill_api.quantities import Duration, StorageSize, UsdAmount, WrittenDuration
from overspill_api.schema import Strict


class GPUs(Strict):
    """Accelerators of one replica."""

    resource: str = "nvidia.com/gpu"
    """Extended resource that the device plugin offers."""
    count: Annotated[int, Field(ge=1, le=64)] = 1
    """How many one replica asks for; vLLM's tensor parallel size unless the route says otherwise."""


class LocalRun(Strict):
    """How ``overspill serve`` runs a replica on one machine. Kubernetes does not look at it."""

    command: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=4096)]], Field(max_length=256)
    ] = []
    """Program and arguments of one replica; no shell reads them. {model}, {revision}, {port}, {served_model} and
    {api_key} are replaced inside them, an item {args} by the args of profile and route; {{model}} means {model} itself.
    One that ends in vllm and serve gets vLLM's arguments after it, as in Kubernetes; any other says {port} itself.
    Default: vLLM of this machine."""
    memory: StorageSize | None = None
    """What one replica takes of the machine's memory for engines, such as 20Gi. Default: all of it, so that it runs
    alone."""
    group: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = None
    """Replicas of profiles of one group may run together whatever their memory. Default: none."""
    sleep: bool = False
    """Whether replicas sleep (vLLM's sleep mode) instead of ending, and are awake again within seconds."""
    asleep_memory: StorageSize | None = None
    """What a replica asleep keeps of the machine's memory for engines. Default: nothing to speak of."""
    health_path: Annotated[str, StringConstraints(pattern="^/[!-~]*$", max_length=1024)] = "/health"
    """Path that answers 200 once a replica can serve."""


class Profile(Strict):
    """One kind of replica."""

    image: str = ""
    """Image with vLLM; command and args run it. Kubernetes needs it, overspill serve does not."""
    image_pull_policy: Annotated[str, Field(pattern="^(Always|IfNotPresent|Never)$")] = "IfNotPresent"
    """Kubernetes' pull policy."""
    image_pull_secrets: list[str] = []
    """Secrets with registry credentials, in the route's namespace."""
    command: list[str] = ["vllm", "serve"]
    """Command that takes the model as its first argument and vLLM's options after it."""
    args: list[str] = []
    """vLLM options of every replica of this kind; the route's args follow and win."""
    env: dict[str, str] = {}
    """Environment variables of the engine."""
    gpus: GPUs | None = None
    """Accelerators; default: none, for engines on CPU."""
    resources: dict[str, dict[str, str]] = {}
    """Requests and limits beside the GPUs, as in a pod."""
    shared_memory: str = "2Gi"
    """Size of /dev/shm; tensor parallelism talks through it."""
    node_selector: dict[str, str] = {}
    """Labels of the nodes that fit."""
    tolerations: list[dict[str, Any]] = []
    """Taints to tolerate, as in a pod."""
    affinity: dict[str, Any] = {}
    """Affinity, as in a pod."""
    runtime_class_name: str | None = None
    """RuntimeClass, such as nvidia."""
    priority_class_name: str | None = None
    """PriorityClass of the engines."""
    run_as_user: Annotated[int, Field(ge=1)] | None = 65534
    """User of the engine, never root; null: the namespace chooses, as with OpenShift's restricted-v2."""
    read_only_root_filesystem: bool = True
    """Mount the image read-only; /tmp, the home and the cache folders are writable all the same."""
    startup_timeout: Duration = WrittenDuration("30m")
    """The longest that loading may take before the pod is restarted."""
    drain_timeout: Duration = WrittenDuration("60s")
    """The longest that a replica going away may finish what it has begun."""
    usd_per_replica_hour: UsdAmount | None = None
    """What one replica costs; needed for objective Cost."""
    prompt_tokens_per_second: Annotated[int, Field(ge=1, le=10**9)] | None = None
    """Prompt tokens that one replica reads a second when it does nothing else. With it and a target for the time to
    first token vLLM itself refuses what it could not begin in time, and that spills or waits. Default: vLLM takes in
    whatever comes."""
    vllm_version: Annotated[str, StringConstraints(pattern="^v?[0-9]{1,4}[.][0-9]{1,4}", max_length=64)] | None = None
    """Version of vLLM in the image, such as 0.32.0. Default: the image's tag says it, as in vllm/vllm-openai:v0.32.0;
    else options that only some versions have are not set."""
    local: LocalRun = LocalRun()
    """How overspill serve runs it on one machine; Kubernetes does not look at it."""

"""What engines print before they end, and what it means: a table of texts. Not how a log is read: ``endings``.

Texts of vLLM 0.32, of the libraries below it, and of llama.cpp's server, as they stand in their sources. The first that
is found counts, so that causes come before what follows from them.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Meaning:
    """One thing that goes wrong."""

    pattern: re.Pattern[str]
    """What is printed, on one line."""
    sentence: str
    """What happened and what mends it. ``{model}`` and ``{port}`` are what it was started with, ``{line}`` is what
    was printed, ``{share}`` what is ``free`` of ``all``, others are named groups."""


def _meaning(pattern: str, sentence: str) -> Meaning:
    return Meaning(re.compile(pattern), sentence)


ARGS: Final = "spec.selfHosted.args"
TOKEN: Final = "a token as HF_TOKEN into the Secret that spec.selfHosted.sourceSecretName names"  # noqa: S105 - says where one goes

MEANINGS: Final = (
    # -- the command line ------------------------------------------------------------------------------------------
    _meaning(
        r"error: unrecognized arguments: (?P<options>.+)",
        f"It does not know {{options}}: take it out of {ARGS} or the profile's args.",
    ),
    _meaning(
        r"error: argument (?P<option>-[^:]+): (?P<why>.+)",
        f"It does not take its option {{option}} ({{why}}): correct it in {ARGS} or the profile's args.",
    ),
    _meaning(
        r"error: invalid argument: (?P<option>.+)",
        "It does not know {option}: take it out of the profile's local.command.",
    ),
    _meaning(
        r"User-specified max_model_len \((?P<wanted>\d+)\) is greater than the derived max_model_len "
        r"\(\w+=(?P<most>\d+)",
        f"A context of {{wanted}} tokens is more than the model has: write --max-model-len={{most}} or less "
        f"into {ARGS}.",
    ),
    _meaning(
        r"World size \((?P<wanted>\d+)\) is larger than the number of available GPUs \((?P<there>\d+)\)",
        "It is to span {wanted} GPUs and this machine has {there}: lower spec.selfHosted.tensorParallelSize, or gpus "
        "of the profile.",
    ),
    _meaning(
        r"Sleep mode is not supported on current platform",
        "vLLM has no sleep mode on this machine's hardware: take local.sleep out of the profile.",
    ),
    # -- the port ----------------------------------------------------------------------------------------------------
    _meaning(
        r"(?i)address already in use|couldn't bind (?:HTTP )?server socket",
        "Its port {port} was taken by another program: it gets another one when it is started again.",
    ),
    # -- the weights -------------------------------------------------------------------------------------------------
    _meaning(
        r"trying to access a gated repo|Cannot access gated repo|GatedRepoError|is a gated repository",
        f"Hugging Face gives {{model}} only to those whom its owner has let in: ask for access on its page there, and "
        f"put {TOKEN}.",
    ),
    _meaning(
        r"is not a valid model identifier|Repository Not Found for url|RepositoryNotFoundError",
        "Hugging Face has no model {model}, or hides it: correct spec.selfHosted.source, or put, for a private one, "
        f"{TOKEN}.",
    ),
    _meaning(
        r"(?P<revision>\S+) is not a valid git identifier|RevisionNotFoundError",
        "{model} has no such revision on Hugging Face: correct what follows @ in spec.selfHosted.source.",
    ),
    _meaning(
        r"Repo id must be in the form|Invalid repository ID or local directory specified|failed to open GGUF file"
        r"|gguf_init_from_file: failed to open",
        "{model} is no model on this machine: correct the path in spec.selfHosted.source, or put the weights there.",
    ),
    _meaning(
        r"does not appear to have (?:a file named|files named) (?P<file>\S+?)\.?(?:\s|$)",
        "{model} is not whole, {file} is missing: put it there, or correct spec.selfHosted.source.",
    ),
    _meaning(
        r"We couldn't connect to '(?P<site>[^']+)'|Cannot find the requested files in the (?:local|disk) cache"
        r"|LocalEntryNotFoundError|outgoing traffic has been disabled",
        "The weights of {model} are not on this machine and Hugging Face can't be reached: mend the network, or write "
        "file:///path of the weights into spec.selfHosted.source.",
    ),
    _meaning(
        r"Invalid user token|401 Client Error|Invalid credentials in Authorization header",
        f"Hugging Face did not take the token: put {TOKEN}.",
    ),
    _meaning(
        r"429 Client Error|Too Many Requests",
        f"Hugging Face has had too many requests of this machine: wait, or put {TOKEN}.",
    ),
    _meaning(
        r"SafetensorError|Error while deserializing header|invalid magic characters|tensor data is not within the file",
        "A file of {model}'s weights is damaged or not whole: remove it, so that it is fetched anew.",
    ),
    _meaning(
        r"contains custom code which must be executed",
        f"{{model}} brings code of its own: if you trust it, add --trust-remote-code to {ARGS}.",
    ),
    _meaning(
        r"Model architectures? (?P<names>\[[^\]]*\]|\S+) (?:are not supported for now|was supported|is not supported)"
        r"|does not recognize this architecture|unknown model architecture",
        "It does not know this kind of model: choose another model for {model}, or another version of the program.",
    ),
    # -- memory --------------------------------------------------------------------------------------------------
    _meaning(
        r"max seq len \((?P<wanted>\d+)\).*KV cache is needed.*maximum model length is (?P<most>\d+)",
        "The memory that its weights leave is too little for a context of {wanted} tokens: add --max-model-len={most} "
        f"to {ARGS}, or raise --gpu-memory-utilization.",
    ),
    _meaning(
        r"max seq len \((?P<wanted>\d+)\).*(?:KV cache is needed|larger than the maximum number of tokens)",
        "The memory that its weights leave is too little for a context of {wanted} tokens: add a smaller "
        f"--max-model-len to {ARGS}, or raise --gpu-memory-utilization.",
    ),
    _meaning(
        r"No available memory for the cache blocks",
        f"Its weights leave no memory for requests: raise --gpu-memory-utilization in {ARGS}, or choose a smaller or "
        "quantized model.",
    ),
    _meaning(
        r"Free memory on device \S+ \((?P<free>[\d.]+)/(?P<all>[\d.]+) GiB\).*"
        r"utilization \([\d.]+, (?P<wanted>[\d.]+) GiB\)",
        "Of the GPU's {all} GiB only {free} were free and it wants {wanted}: end what else uses the GPU, or add "
        f"--gpu-memory-utilization={{share}} to {ARGS}.",
    ),
    _meaning(
        r"Available memory on node \S+ \((?P<free>[\d.]+)/(?P<all>[\d.]+) GiB\).*"
        r"utilization \([\d.]+, (?P<wanted>[\d.]+) GiB\)",
        "Of the machine's {all} GiB of memory only {free} were free and it wants {wanted}: add "
        f"--gpu-memory-utilization={{share}} (it counts on CPU as well) to {ARGS}.",
    ),
    _meaning(
        r"CUDA out of memory|OutOfMemoryError|HIP out of memory|cudaMalloc failed: out of memory"
        r"|CUDA error: out of memory|ErrorOutOfDeviceMemory",
        "The GPU's memory ran out: choose a smaller or quantized model, lower --max-model-len or --max-num-seqs in "
        f"{ARGS}, or raise local.memory of the profile, so that less runs beside it.",
    ),
    _meaning(
        r"DefaultCPUAllocator: (?:can't|not enough)|not enough memory: you tried to allocate|std::bad_alloc"
        r"|Cannot allocate memory|^MemoryError",
        "The machine's memory ran out: choose a smaller or quantized model, or raise local.memory of the profile, so "
        "that less runs beside it.",
    ),
    # -- the machine -------------------------------------------------------------------------------------------------
    _meaning(
        r"No space left on device|[Nn]ot enough free disk space|Disk quota exceeded",
        "The disk is full: make room where weights are kept (HF_HOME, usually ~/.cache/huggingface), or in /dev/shm.",
    ),
    _meaning(
        r"NVIDIA driver on your system is too old|driver version is insufficient|CUDA_ERROR_COMPAT_NOT_SUPPORTED",
        "The GPU's driver is older than this build of the program needs: install a newer driver, or an older build.",
    ),
    _meaning(
        r"no kernel image is available for execution",
        "This build of the program is not for this kind of GPU: install another build.",
    ),
    _meaning(
        r"Found no NVIDIA driver|No CUDA GPUs are available|Failed to infer device type"
        r"|libcuda\.so(?:\.\d+)?: cannot open|no CUDA-capable device is detected",
        "It found no GPU: check that nvidia-smi shows one here, or install vLLM's build for CPU.",
    ),
    _meaning(
        r"ModuleNotFoundError: No module named '(?P<module>vllm)(?:\.\S+)?'",
        "vLLM is not in the environment that its command belongs to: install it there, or write another command into "
        "the profile's local.command.",
    ),
    _meaning(
        r"(?:ModuleNotFoundError: No module named|cannot open shared object file).*?(?P<module>'[^']+'|$)",
        "Its installation lacks something ({line}): install it anew.",
    ),
    _meaning(
        r"PermissionError(?:: .*?'| at )(?P<path>[^'\s]+)",
        "It may not use {path}: give the user of serve the right to, or set HF_HOME to a folder of its own.",
    ),
    _meaning(
        r"Failed core proc\(s\): \{[^}]*: -9\b",
        "A process of it was killed, most likely by the kernel because memory ran out: choose a smaller model, or "
        "raise local.memory of the profile, so that less runs beside it.",
    ),
)

"""How an engine ended, in one sentence. Texts are those that vLLM 0.32 and others print."""

import re

import pytest

from overspill_box.core.ending_texts import MEANINGS
from overspill_box.core.endings import LINE_LENGTH_MAX, sentence
from overspill_box.core.process import Ending, ProcessSpec

VLLM = ProcessSpec(
    "ns/a#0",
    ("/opt/vllm/bin/vllm", "serve", "org/model", "--port=9001"),
    9001,
    "made",
    {"VLLM_API_KEY": "not-for-logs"},
)
SUMMARY = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"


def of(*lines: str, code: int | None = 1, signal: int | None = None, spec: ProcessSpec | None = VLLM) -> str:
    """The sentence for these last lines."""
    return sentence(Ending(1.0, code, signal, last_words=lines), spec)


@pytest.mark.parametrize(
    ("line", "means"),
    [
        (
            "vllm: error: unrecognized arguments: --no-such-option=3",
            "It does not know --no-such-option=3: take it out of spec.selfHosted.args or the profile's args.",
        ),
        (
            "vllm serve: error: argument --max-model-len: invalid human_readable_int_or_auto value: 'abc'",
            "It does not take its option --max-model-len (invalid human_readable_int_or_auto value: 'abc'): correct it",
        ),
        (
            "error: invalid argument: --no-such",
            "It does not know --no-such: take it out of the profile's local.command.",
        ),
        (
            (
                "  Value error, User-specified max_model_len (1000000) is greater than the derived max_model_len "
                "(max_position_embeddings=8192.0 or model_max_length=None in model's config.json). To allow overriding"
            ),
            "A context of 1000000 tokens is more than the model has: write --max-model-len=8192 or less",
        ),
        (
            "  Value error, World size (4) is larger than the number of available GPUs (1) in this node. If this is",
            "It is to span 4 GPUs and this machine has 1",
        ),
        ("  Value error, Sleep mode is not supported on current platform.", "vLLM has no sleep mode on this machine's"),
        ("OSError: [Errno 98] Address already in use", "Its port 9001 was taken by another program"),
        (
            "srv  start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 9001",
            "Its port 9001 was taken by another program",
        ),
        (
            "You are trying to access a gated repo.",
            "Hugging Face gives org/model only to those whom its owner has let in",
        ),
        (
            (
                "OSError: org/model is not a local folder and is not a valid model identifier listed on "
                "'https://huggingface.co/models'"
            ),
            "Hugging Face has no model org/model, or hides it",
        ),
        ("Repository Not Found for url: https://huggingface.co/api/models/org/model.", "Hugging Face has no model org"),
        (
            "OSError: v9 is not a valid git identifier (branch name, tag name or commit id) that exists for this model",
            "org/model has no such revision on Hugging Face",
        ),
        (
            "OSError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/no/such/model'. Use",
            "org/model is no model on this machine: correct the path in spec.selfHosted.source",
        ),
        (
            "OSError: /models/x does not appear to have a file named config.json. Checkout 'https://",
            "org/model is not whole, config.json is missing",
        ),
        (
            "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the",
            "The weights of org/model are not on this machine and Hugging Face can't be reached",
        ),
        ("huggingface_hub.errors.HfHubHTTPError: 401 Client Error.", "Hugging Face did not take the token"),
        (
            "safetensors_rust.SafetensorError: Error while deserializing header: header too small",
            "A file of org/model's",
        ),
        (
            "ValueError: The repository org/model contains custom code which must be executed to",
            "org/model brings code of",
        ),
        (
            "ValueError: Model architectures ['NoSuchForCausalLM'] are not supported for now. Supported architectures:",
            "It does not know this kind of model",
        ),
        (
            (
                "  Value error, The checkpoint you are trying to load has model type `nosuch` but Transformers does "
                "not recognize this architecture. This could be"
            ),
            "It does not know this kind of model",
        ),
        (
            (
                "ValueError: To serve at least one request with the model's max seq len (8192), (0.5 GiB KV cache is "
                "needed, which is larger than the available KV cache memory (0.1 GiB). Based on the available memory, "
                "the estimated maximum model length is 128. Try increasing `gpu_memory_utilization`"
            ),
            "too little for a context of 8192 tokens: add --max-model-len=128 to spec.selfHosted.args",
        ),
        (
            (
                "ValueError: To serve at least one request with the model's max seq len (8192), (0.5 GiB KV cache is "
                "needed, which is larger than the available KV cache memory (0.1 GiB). Try increasing"
            ),
            "too little for a context of 8192 tokens: add a smaller --max-model-len",
        ),
        (
            (
                "ValueError: The model's max seq len (32768) is larger than the maximum number of tokens that can be "
                "stored in KV cache (1024). Try increasing"
            ),
            "too little for a context of 32768 tokens",
        ),
        (
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when",
            "Its weights leave no memory for requests: raise --gpu-memory-utilization",
        ),
        (
            (
                "ValueError: Free memory on device cuda:0 (3.1/23.6 GiB) on startup is less than desired GPU memory "
                "utilization (0.9, 21.2 GiB). Decrease GPU memory utilization"
            ),
            (
                "Of the GPU's 23.6 GiB only 3.1 were free and it wants 21.2: end what else uses the GPU, or add "
                "--gpu-memory-utilization=0.13 to"
            ),
        ),
        (
            (
                "ValueError: Available memory on node 0 (21.22/23.59 GiB) on startup is less than desired CPU memory "
                "utilization (0.999, 23.56 GiB). On the CPU backend,"
            ),
            "only 21.22 were free and it wants 23.56: add --gpu-memory-utilization=0.89 (it counts on CPU as well)",
        ),
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a",
            "The GPU's memory ran out",
        ),
        ("ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory", "The GPU's memory ran out"),
        (
            "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried",
            "The machine's memory ran",
        ),
        ("MemoryError", "The machine's memory ran out"),
        ("OSError: [Errno 28] No space left on device: '/srv/weights'", "The disk is full"),
        (
            "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
            "The GPU's driver is older",
        ),
        (
            "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
            "It found no GPU",
        ),
        ("RuntimeError: Failed to infer device type, please set the environment variable", "It found no GPU"),
        ("ModuleNotFoundError: No module named 'vllm'", "vLLM is not in the environment that its command belongs to"),
        (
            "ModuleNotFoundError: No module named 'torchvision'",
            "Its installation lacks something (ModuleNotFoundError: No",
        ),
        ("PermissionError: [Errno 13] Permission denied: '/srv/models'", "It may not use /srv/models: give"),
        ("OSError: PermissionError at /srv/models when downloading org/model.", "It may not use /srv/models: give"),
        (
            SUMMARY.replace("{}", "{'EngineCore': -9}"),
            "A process of it was killed, most likely by the kernel",
        ),
    ],
)
def test_what_is_printed_is_said_with_the_way_out(line: str, means: str) -> None:
    """One sentence, whatever follows the line that says why, and whatever vLLM writes in front of it."""
    assert means in of(line)
    framed = f"\x1b[0;36m(EngineCore pid=27463)\x1b[0;0m ERROR 11-26 21:32:54 [core.py:1510] {line}"
    said = of("(APIServer pid=1) INFO 11-26 21:32:33 [x.py:1] starts", framed, *["    frame"] * 60, SUMMARY)
    assert means in said
    assert "\n" not in said
    assert said.endswith(".")


def test_every_meaning_has_a_way_out() -> None:
    """What happened, a colon, what mends it; nothing is left to be filled in."""
    for meaning in MEANINGS:
        assert re.search(r": .+\.$", meaning.sentence), meaning.sentence
        names = set(re.findall(r"\{(\w+)\}", meaning.sentence))
        groups = set(meaning.pattern.groupindex)
        assert names <= groups | {"model", "port", "line", "share"}, meaning.sentence


def test_a_warning_is_no_cause() -> None:
    """VLLM warns of too many open files at each start."""
    warning = "(APIServer pid=9) WARNING 11-26 21:32:33 [system_utils.py:255] This can cause `No space left on device`."
    assert of(warning, "ValueError: something new") == "It ended with exit code 1: ValueError: something new"


def test_of_what_nobody_knows_the_most_telling_line_is_repeated() -> None:
    """The last that names an error, not vLLM's summary; else the last one; long ones are cut."""
    assert of("ValueError: a cause", "  File x", SUMMARY, "goodbye") == "It ended with exit code 1: ValueError: a cause"
    assert of("hello", "", "goodbye", code=0) == "It ended without an error: goodbye"
    assert of(code=3) == "It ended with exit code 3 and has printed nothing: look at how it is started."
    assert len(of("ValueError: " + "x" * 1000)) < LINE_LENGTH_MAX + 100


@pytest.mark.parametrize(
    ("signal", "means"),
    [
        (9, "It was killed (SIGKILL), most likely by the kernel because the machine's memory ran out"),
        (11, "It crashed (SIGSEGV)"),
        (15, "It was ended by somebody else (SIGTERM)."),
        (64, "It was ended by somebody else (signal 64)."),
    ],
)
def test_signals_have_names(signal: int, means: str) -> None:
    """One that was killed did not see it coming: what it printed before does not say why."""
    assert of("OSError: [Errno 28] No space left on device", signal=signal, code=None).startswith(
        means if signal != 11 else "The disk is full"
    )
    assert of("hello", signal=signal, code=None).startswith(means)


def test_one_that_could_not_be_started_names_the_program() -> None:
    """It is not there, or may not be run."""
    assert of("No such file or directory", code=None) == (
        "It could not be started, there is no /opt/vllm/bin/vllm: install it, or correct the program in the profile's "
        "local.command."
    )
    assert "no program that may be run here (Permission denied)" in of("Permission denied", code=None)
    assert (
        of("vllm could not be started: Argument list too long", code=None)
        == "It could not be started: Argument list too long"
    )
    assert of(code=None, spec=None) == "It could not be started: nobody says why"


def test_one_that_was_told_to_end_did() -> None:
    """By force where it took too long."""
    assert sentence(Ending(1.0, 0, was_asked=True), VLLM) == "It was told to end."
    assert sentence(Ending(1.0, None, 9, was_asked=True), VLLM) == "It was told to end, and by force after 60 s."


def test_secrets_are_not_repeated() -> None:
    """Neither those that it was given nor what looks like one."""
    spec = ProcessSpec(
        "ns/a#0",
        ("llama-server", "--api-key", "of-the-command", "--hf-token=of-the-option", "-m", "/weights"),
        9001,
        "made",
        {"VLLM_API_KEY": "of-the-engine", "ANYTHING": "abcdefgh12345678", "HOME": "/srv/home", "OMP": "1"},
    )
    words = "ValueError: of-the-command of-the-option of-the-engine abcdefgh12345678 /srv/home 1"
    assert of(words, spec=spec) == (
        "It ended with exit code 1: ValueError: [hidden] [hidden] [hidden] [hidden] /srv/home 1"
    )
    assert "hf_" not in of("ValueError: bad token hf_abcdefghijk")
    assert of("ValueError: http://me:pass@proxy:1", spec=None).endswith("http://[hidden]@proxy:1")


def test_the_model_is_named_where_it_can_be_told() -> None:
    """VLLM's first argument, or what another program takes as its model."""
    other = ProcessSpec("ns/a#0", ("llama-server", "-m", "/weights/x.gguf"), 1, "made")
    line = "gguf_init_from_file: failed to open GGUF file '/weights/x.gguf'"
    assert of(line, spec=other).startswith("/weights/x.gguf is no model on this machine")
    assert of(line, spec=None).startswith("the model is no model on this machine")


def test_what_a_terminal_would_obey_is_not_repeated() -> None:
    """An engine may print what a client has sent."""
    assert of("ValueError: \x1b]0;title\x07 \x9b2Jbad") == "It ended with exit code 1: ValueError:  ]0;title   2Jbad"

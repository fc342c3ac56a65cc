"""Which variables of ``serve``'s own environment its engines get: what finds programs, models, devices and proxies.

Everything else stays with ``serve``: whoever starts it may have keys of hosted APIs there.
"""

from collections.abc import Mapping

NAMES = frozenset({
    "ALL_PROXY", "CC", "CURL_CA_BUNDLE", "CXX", "HOME", "HTTPS_PROXY", "HTTP_PROXY", "LANG", "LANGUAGE", "LOGNAME",
    "NO_PROXY", "PATH", "REQUESTS_CA_BUNDLE", "SHELL", "SSL_CERT_DIR", "SSL_CERT_FILE", "TEMP", "TMP", "TMPDIR", "TZ",
    "USER",
})  # fmt: skip
"""Proxies' are looked for in lower case as well."""
PREFIXES = (
    "AMD_", "CUDA", "DYLD_", "FLASHINFER_", "GGML_", "GLOO_", "HF_", "HIP_", "HSA_", "HUGGINGFACE_", "KMP_", "LC_",
    "LD_", "LLAMA_", "MIOPEN_", "MKL_", "NCCL_", "NVIDIA_", "OMP_", "OPENBLAS_", "PYTORCH_", "RAY_", "RCCL_", "ROCM_",
    "ROCR_", "TORCH", "TRANSFORMERS_", "TRITON_", "UCX_", "VLLM_", "XDG_", "XLA_",
)  # fmt: skip


def engine_environment(own: Mapping[str, str], extra: Mapping[str, str], mark: Mapping[str, str]) -> dict[str, str]:
    """All variables of an engine: of ``serve``'s ``own`` what engines need, those of its spec, its guard's mark."""
    passed = {
        name: value
        for name, value in own.items()
        if name in NAMES or name.startswith(PREFIXES) or (name.endswith("_proxy") and name.upper() in NAMES)
    }
    # setproctitle, with which vLLM names its processes, would write over the variables that the mark is looked for in.
    return {**passed, "SPT_NOENV": "1", **extra, **mark}

"""What the stand-in is told to be: from its environment and its command line. Nothing is opened here.

`vllm serve MODEL --served-model-name a b --port 8000 ...` plays an engine and takes any flag that vLLM takes;
`hosted --port 8000` plays a hosted API. How it behaves comes from variables, the same for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


class UsageError(Exception):
    """The command line or a variable cannot be understood; the text says which and what would do."""


@dataclass(frozen=True)
class Settings:
    """How one stand-in behaves."""

    role: str = "engine"
    """`engine`: words, errors and metrics like vLLM's. `hosted`: like OpenAI's."""
    name: str = "engine"
    """Begins every answer and stands in the header `x-standin-name`, so that a test sees who served.
    STANDIN_NAME; an engine without it takes HOSTNAME, which is its pod's name."""
    root: str = "standin"
    """The model given to `vllm serve`, told in /v1/models."""
    models: tuple[str, ...] = ()
    """Served names; others get 404. Empty (hosted only): every name is served. STANDIN_MODELS, --served-model-name."""
    host: str = "0.0.0.0"
    """Address to listen on. --host."""
    port: int = 8000
    """Port to listen on, 0 for any free one, which is printed. --port."""
    api_key: str = ""
    """Key that requests must carry; empty: none is asked for. STANDIN_API_KEY, VLLM_API_KEY, --api-key."""
    load_ms: float = 0
    """Time to load before it listens, milliseconds. STANDIN_LOAD_MS."""
    answer_delay_ms: float = 0
    """From admission to the first token, milliseconds. STANDIN_ANSWER_DELAY_MS."""
    token_delay_ms: float = 0
    """Between two tokens, milliseconds. STANDIN_TOKEN_DELAY_MS."""
    tokens: int = 16
    """Tokens of an answer, unless the request allows fewer. STANDIN_TOKENS."""
    concurrency: int = 0
    """Requests answered at a time, the others wait in order; 0: no limit. STANDIN_CONCURRENCY, --max-num-seqs."""
    context_tokens: int = 131072
    """Longest prompt and answer together. --max-model-len."""
    drain_ms: float = 30000
    """After SIGTERM, longest wait for answers that are on their way. STANDIN_DRAIN_MS."""


VARIABLES = {
    "STANDIN_NAME": "name",
    "STANDIN_MODELS": "models",
    "VLLM_API_KEY": "api_key",
    "STANDIN_API_KEY": "api_key",
    "STANDIN_LOAD_MS": "load_ms",
    "STANDIN_ANSWER_DELAY_MS": "answer_delay_ms",
    "STANDIN_TOKEN_DELAY_MS": "token_delay_ms",
    "STANDIN_TOKENS": "tokens",
    "STANDIN_CONCURRENCY": "concurrency",
    "STANDIN_DRAIN_MS": "drain_ms",
}
FLAGS = {
    "--host": "host",
    "--port": "port",
    "--api-key": "api_key",
    "--max-num-seqs": "concurrency",
    "--max-model-len": "context_tokens",
}
WHOLE = {"port", "tokens", "concurrency", "context_tokens"}
DECIMAL = {"load_ms", "answer_delay_ms", "token_delay_ms", "drain_ms"}


def from_command_line(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings for `serve MODEL [vLLM's flags]` or `hosted [--port N]`; a variable wins over a flag."""
    command = arguments[0] if arguments else ""
    if command not in ("serve", "hosted"):
        raise UsageError(f"expected `vllm serve MODEL ...` or `hosted ...`, got {' '.join(arguments) or 'nothing'!r}")
    values: dict[str, object] = {"role": "hosted", "name": "hosted"} if command == "hosted" else {}
    positional: list[str] = []
    for flag, words in _flags(arguments[1:]):
        if flag in FLAGS:
            values[FLAGS[flag]] = _value(FLAGS[flag], flag, words[0] if words else "")
            positional += words[1:]
        elif flag == "--served-model-name":
            values["models"] = tuple(words)
        elif flag in ("", "--model"):
            positional += words
    given = {name: text for name in VARIABLES if (text := environment.get(name, ""))}
    values |= {VARIABLES[name]: _value(VARIABLES[name], name, text) for name, text in given.items()}
    if command == "serve":
        if not positional:
            raise UsageError("vllm serve needs a model: `vllm serve MODEL`, the model before the flags")
        if hostname := environment.get("HOSTNAME"):
            values.setdefault("name", hostname)
        values["root"] = positional[0]
        values.setdefault("models", (positional[0],))
    return Settings(**values)  # type: ignore[arg-type]  # each field's type is made by _value


def _flags(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag with the words that follow it; words before the first flag come under an empty one."""
    flag, words = "", list[str]()
    for argument in arguments:
        if argument.startswith("--"):
            yield flag, words
            flag, equals, value = argument.partition("=")
            flag = flag.replace("_", "-")
            words = [value] if equals else []
        else:
            words.append(argument)
    yield flag, words


def _value(field: str, source: str, text: str) -> object:
    if field == "models":
        return tuple(name.strip() for name in text.split(",") if name.strip())
    if field not in WHOLE | DECIMAL:
        return text
    try:
        number = int(text) if field in WHOLE else float(text)
    except ValueError:
        number = -1
    if not 0 <= number < float("inf"):
        kind = "a whole number" if field in WHOLE else "a number"
        raise UsageError(f"{source} must be {kind} from 0 up, got {text!r}")
    return number

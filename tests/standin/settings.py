"""How the stand-in behaves: from environment variables and from vLLM's own command line.

It takes ``vllm serve MODEL --served-model-name a b --port 8000 ...`` as an engine's container does, so that a profile
needs no other command. Options of vLLM that do not concern it are passed over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What it answers and how fast."""

    name: str = "standin"
    """Said in each answer's text, so that a test sees who served."""
    models: tuple[str, ...] = ()
    """Names that it knows; empty: any."""
    host: str = "0.0.0.0"
    """Address to listen on."""
    port: int = 8000
    """TCP port; 0: a free one."""
    api_key: str = ""
    """Key that requests must bear; empty: none is asked for."""
    answer_delay_seconds: float = 0.0
    """From the request to the first token (or to the plain answer)."""
    token_delay_seconds: float = 0.0
    """Between two tokens of a stream."""
    tokens: int = 8
    """Tokens of an answer, fewer where the request's max_tokens says so."""
    concurrency: int = 0
    """Requests that run at the same time, the others wait; 0: no limit."""
    startup_delay_seconds: float = 0.0
    """Before it listens: the time an engine takes to load."""


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings of a command line as vLLM takes it, and of STANDIN_* variables.

    Raises ValueError that names a value which is not a number.
    """
    port, host, models = "", "", []
    model = ""
    words = list(arguments)
    while words:
        word, _, value = words.pop(0).partition("=")
        if word in ("--port", "--host"):
            value = value or words.pop(0)
            port, host = (value, host) if word == "--port" else (port, value)
        elif word == "--served-model-name":
            models += [value] if value else []
            while words and not words[0].startswith("--"):
                models.append(words.pop(0))
        elif not word.startswith("-") and not model and word != "serve":
            model = word
    defaults = Settings()

    def number(variable: str, default: float) -> float:
        text = environment.get(variable, "")
        try:
            return float(text) if text else default
        except ValueError:
            raise ValueError(f"{variable}={text!r} is not a number") from None

    return Settings(
        name=environment.get("STANDIN_NAME") or environment.get("HOSTNAME") or defaults.name,
        models=tuple(models) or ((model,) if model else ()),
        host=host or defaults.host,
        port=int(port or number("STANDIN_PORT", defaults.port)),
        api_key=environment.get("STANDIN_API_KEY", ""),
        answer_delay_seconds=number("STANDIN_ANSWER_DELAY_MS", 0) / 1000,
        token_delay_seconds=number("STANDIN_TOKEN_DELAY_MS", 0) / 1000,
        tokens=int(number("STANDIN_TOKENS", defaults.tokens)),
        concurrency=int(number("STANDIN_CONCURRENCY", 0)),
        startup_delay_seconds=number("STANDIN_STARTUP_DELAY_MS", 0) / 1000,
    )

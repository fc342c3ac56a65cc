# mypy: ignore-errors
"""Run by LiteLLM's own environment: asks a gateway through LiteLLM and prints what came as one JSON line.

python litellm_client.py http://127.0.0.1:8080/v1 KEY MODEL
"""

import json
import sys

import litellm


def main(url: str, key: str, model: str) -> None:
    """A chat, a streamed chat with usage, a text completion, and an error."""
    known = {"api_base": url, "api_key": key, "max_retries": 0, "temperature": 0}
    messages = [{"role": "user", "content": "Tell me of the sea"}]
    chat = litellm.completion(model=f"openai/{model}", messages=messages, max_tokens=9, **known)
    chunks = list(
        litellm.completion(
            model=f"openai/{model}",
            messages=messages,
            max_tokens=9,
            stream=True,
            stream_options={"include_usage": True},
            **known,
        )
    )
    text = litellm.text_completion(model=f"text-completion-openai/{model}", prompt="the sea", max_tokens=4, **known)
    try:
        litellm.completion(model="openai/nope", messages=messages, **known)
        error = ""
    except litellm.NotFoundError as raised:
        error = str(raised)
    usages = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    print(
        json.dumps(
            {
                "chat_tokens": chat.usage.completion_tokens,
                "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
                "streamed_tokens": [usage.completion_tokens for usage in usages],
                "text_tokens": text.usage.completion_tokens,
                "error": error,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

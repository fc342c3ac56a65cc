"""The list of models and one entry of it, in OpenAI's shape and in Anthropic's. Not here: which models are in it."""

import msgspec


def openai_list(names: list[str], created_unix_seconds: int) -> bytes:
    """The answer to GET /v1/models."""
    data = [_openai_model(name, created_unix_seconds) for name in names]
    return msgspec.json.encode({"object": "list", "data": data})


def openai_model(name: str, created_unix_seconds: int) -> bytes:
    """The answer to GET /v1/models/NAME."""
    return msgspec.json.encode(_openai_model(name, created_unix_seconds))


def anthropic_list(names: list[str], created_at: str) -> bytes:
    """The same for clients of Anthropic's API: one page that holds all. ``created_at``: as in RFC 3339."""
    data = [_anthropic_model(name, created_at) for name in names]
    first, last = (names[0], names[-1]) if names else (None, None)
    return msgspec.json.encode({"data": data, "has_more": False, "first_id": first, "last_id": last})


def anthropic_model(name: str, created_at: str) -> bytes:
    """One model for clients of Anthropic's API."""
    return msgspec.json.encode(_anthropic_model(name, created_at))


def _openai_model(name: str, created_unix_seconds: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created_unix_seconds, "owned_by": "overspill"}


def _anthropic_model(name: str, created_at: str) -> dict[str, object]:
    return {"type": "model", "id": name, "display_name": name, "created_at": created_at}

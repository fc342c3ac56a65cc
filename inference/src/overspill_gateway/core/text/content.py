"""The text of a message's content: a string, or a list of parts as some servers write it. Not here: other parts."""

import json
from typing import Any, Final

_TEXT_PARTS: Final = frozenset({"text", "output_text", "input_text"})


def text_of(content: Any) -> str:
    """The text of a string or of a list's text parts, also one part alone; everything else has none."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return ""
    return "".join([_text_of_part(part) for part in content])


def is_text(content: Any) -> bool:
    """Whether content is text and nothing else."""
    if isinstance(content, list):
        return all(isinstance(part, str) or (isinstance(part, dict) and _is_text_part(part)) for part in content)
    return isinstance(content, str) or (isinstance(content, dict) and _is_text_part(content))


def refusal_of(content: Any) -> str:
    """The text of refusals among a content's parts."""
    parts = content if isinstance(content, list) else [content]
    refusals = [part.get("refusal") for part in parts if isinstance(part, dict)]
    return "".join([refusal for refusal in refusals if isinstance(refusal, str)])


def arguments_of(arguments: Any) -> str:
    """A tool call's arguments as the text that they should be; some servers write the object itself."""
    return arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)


def _text_of_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    return _string_of_part(part) or "" if isinstance(part, dict) else ""


def _is_text_part(part: dict[str, Any]) -> bool:
    return _string_of_part(part) is not None


def _string_of_part(part: dict[str, Any]) -> str | None:
    """A part's text, which in the Assistants' form stands in an object beside its annotations; None: it is no text."""
    text = part.get("text")
    if isinstance(text, dict):
        text = text.get("value")
    return text if isinstance(text, str) and part.get("type", "text") in _TEXT_PARTS else None

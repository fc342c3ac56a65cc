"""What a call of a hosted API can cost at most, from the whole body that is sent: for routes with a budget.

A tokenizer makes no more than one token of a byte, and what stands in a body is at least as long as the text it stands
for, so that its length bounds the prompt whatever fields it is in. What is elsewhere (stored conversations, files by
reference) is bounded by the model's context alone, where that is known. Fields that may cost otherwise (tools that the
provider runs, other tiers, sound) are not bounded by tokens at all. So a field passes only where it is known to cost
nothing but tokens: a list of those that do would be longer every month. Not here: who may be asked without a budget.
"""

import re
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Raw

from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.requests.bounds_fields import decode_flat_messages, decode_text_messages
from overspill_gateway.core.requests.estimate import ATTACHMENT_TOKENS_MAX, TEMPLATE_TOKENS_MAX
from overspill_gateway.core.text.json_text import UNREADABLE

UNBOUNDED_TOKENS: Final = 1 << 40
"""More than any model's context."""

_SAMPLING: Final = frozenset(
    {
        "model", "stream", "stream_options", "max_tokens", "temperature", "top_p", "top_k", "min_p", "top_a",
        "typical_p", "stop", "stop_sequences", "stop_token_ids", "seed", "random_seed",
        "presence_penalty", "frequency_penalty",
        "repetition_penalty", "length_penalty", "logit_bias", "logprobs", "top_logprobs", "user", "metadata", "store",
        "min_tokens", "ignore_eos", "include_stop_str_in_output", "skip_special_tokens", "truncate_prompt_tokens",
        "spaces_between_special_tokens", "return_token_ids", "return_tokens_as_token_ids", "priority", "cache_salt",
        "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier", "response_format", "n",
    }
)  # fmt: skip
_CHAT: Final = _SAMPLING | {
    "messages", "max_completion_tokens", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call",
    "reasoning_effort", "reasoning", "include_reasoning", "reasoning_format", "thinking", "enable_thinking",
    "chat_template_kwargs", "verbosity", "prediction", "modalities", "add_generation_prompt", "continue_final_message",
    "echo", "safe_prompt", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs",
}  # fmt: skip
_ALLOWED: Final = {
    Dialect.CHAT: _CHAT,
    Dialect.COMPLETIONS: _SAMPLING | {
        "prompt", "suffix", "best_of", "echo", "add_special_tokens", "guided_json", "guided_regex", "guided_choice",
        "guided_grammar", "structured_outputs",
    },
    Dialect.EMBEDDINGS: frozenset({
        "model", "input", "encoding_format", "dimensions", "user", "input_type", "truncate", "truncate_prompt_tokens",
        "add_special_tokens", "priority", "embed_dtype",
    }),
    Dialect.RESPONSES: frozenset({
        "model", "input", "instructions", "stream", "stream_options", "max_output_tokens", "max_tool_calls",
        "temperature", "top_p", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning",
        "metadata", "store", "user", "truncation", "include", "background", "service_tier", "safety_identifier",
        "prompt_cache_key", "prompt_cache_retention", "previous_response_id", "conversation",
    }),
}  # fmt: skip
"""Fields that cost nothing but tokens. Anthropic's messages are written anew, with known fields only."""

_STORED: Final = frozenset({"previous_response_id", "conversation"})
_REASONING: Final = frozenset({"reasoning_effort", "reasoning", "thinking", "enable_thinking", "chat_template_kwargs"})
_LOOKED_AT: Final = _STORED | _REASONING | {"prediction", "service_tier", "modalities", "tools"}
_RULES: Final = {dialect: (names, names - _LOOKED_AT) for dialect, names in _ALLOWED.items()}
"""Fields that cost nothing but tokens, and those of them that do whatever they say."""
_CHAT_RULES: Final = _RULES[Dialect.CHAT]
_NO_RULES: Final[tuple[None, frozenset[str]]] = (None, frozenset())
_TIERS: Final = frozenset({b'"auto"', b'"default"', b'"flex"', b'"standard"'})
"""Of ``service_tier``: those that cost no more than the price that is known."""
_TEXT_ONLY: Final = re.compile(rb'\[\s*"text"\s*\]')

_PROMPTS: Final = ("messages", "input")
"""Where content other than text may be; a dialect's other one costs nothing but the tokens of its bytes."""
_TYPE: Final = re.compile(rb'"type"\s*:\s*"([^"\\]*)"')
_ESCAPED_NAME: Final = re.compile(rb'"(?<!\\")[^"\\]*+(?:\\.[^"\\]*+)++"\s*:', re.DOTALL)
_ESCAPED_TYPE: Final = re.compile(rb'"type"\s*:\s*"[^"\\]*\\')
"""A name, or a part's type, that is spelled with an escape: it could be any. What begins plainly is found fast."""
_TEXT_NAMES: Final = frozenset({b"role", b"content", b"name"})
"""Of a message that is text alone: whatever that says, it says nothing of other content."""
_TAKEN_APART_BYTES_MAX: Final = 64 * 1024
"""A longer prompt is searched: its parts could take many times its memory."""
_NAME: Final = re.compile(rb'"([^"]*+)(?="[ \t\r\n]*+:)')
_BEHIND_ESCAPE: Final = re.compile(rb'\\(?="([^"]*+)"[ \t\r\n]*+:)')
_ELSEWHERE: Final = re.compile(rb'"(?:file_id|file_url|item_reference)"')
_SOUND: Final = re.compile(rb'"(?:audio|input_audio|audio_url|video_url|input_video)"\s*:')
_IMAGE_KEY: Final = re.compile(rb'"image_url"\s*:')
_TEXT_TYPES: Final = frozenset(
    {
        b"text", b"input_text", b"output_text", b"summary_text", b"reasoning_text", b"refusal", b"function", b"custom",
        b"message", b"function_call", b"function_call_output", b"custom_tool_call", b"custom_tool_call_output",
        b"reasoning", b"thinking", b"url_citation",
    }
)  # fmt: skip
_IMAGE_TYPES: Final = frozenset({b"image_url", b"input_image", b"image"})
_FILE_TYPES: Final = frozenset({b"file", b"input_file", b"document", b"item_reference"})
_IMAGE_DATA: Final = re.compile(
    rb'(?:"(?:url|image_url)"\s*:\s*"data:image/[a-z0-9.+-]+;base64,'
    rb'|"media_type"\s*:\s*"image/[a-z0-9.+-]+"\s*,\s*"data"\s*:\s*")([A-Za-z0-9+/=\\]*)"'
)

_parts: Final = msgspec.json.Decoder(list[dict[str, Raw]]).decode


@dataclass(slots=True)
class Bounds:
    """The most that a call can cost, in tokens."""

    prompt_tokens: int
    """Of its prompt; ``UNBOUNDED_TOKENS``: as many as the model takes."""
    output_tokens_more: int = 0
    """Charged as output beyond the answer: a predicted output that is rejected."""
    unpriced: str = ""
    """What may cost something else than tokens, or tokens at another price; empty: nothing."""
    unbounded: str = ""
    """What makes the prompt as long as it likes; empty: nothing."""
    reasons: bool = False
    """Whether it asks for reasoning, which may not be shown."""


def bounds_of(fields: dict[str, Raw], length: int, dialect: Dialect) -> Bounds:
    """What a body that was read and found good can cost, by its fields and the bytes of the whole."""
    bounds = Bounds(length + TEMPLATE_TOKENS_MAX)
    # an enumeration's hash is not compiled
    allowed, plain = _CHAT_RULES if dialect is Dialect.CHAT else _RULES.get(dialect, _NO_RULES)
    for name, value in fields.items():
        if name in plain:
            continue
        if allowed is not None and bytes(value) != b"null":
            if name not in allowed and name not in _PROMPTS:
                bounds.unpriced = bounds.unpriced or f'"{name[:100]}"'
            else:
                _look_at(name, bytes(value), dialect, bounds)
        bounds.reasons = bounds.reasons or name in _REASONING
    for name in _PROMPTS:
        prompt = fields.get(name)
        if prompt is not None:
            _look_at_parts(name, bytes(prompt), dialect, bounds)
    return bounds


def _look_at(name: str, value: bytes, dialect: Dialect, bounds: Bounds) -> None:
    """One field that is allowed, with values that are not."""
    if name in _STORED:
        bounds.unbounded = bounds.unbounded or f'"{name}"'
    elif name == "prediction":
        bounds.output_tokens_more = len(value)
    elif name == "service_tier" and value not in _TIERS:
        bounds.unpriced = bounds.unpriced or f'"service_tier": {value[:30].decode("utf-8", "replace")}'
    elif name == "modalities" and not _TEXT_ONLY.fullmatch(value):
        bounds.unpriced = bounds.unpriced or '"modalities"'
    elif name == "tools" and dialect is not Dialect.MESSAGES and not _are_functions(value):
        bounds.unpriced = bounds.unpriced or '"tools" that the provider runs'


def _are_functions(tools: bytes) -> bool:
    """Whether all tools are the client's own to run."""
    try:
        tool_list = _parts(tools)
    except msgspec.MsgspecError:
        return False
    return all(bytes(tool.get("type", b"")) in {b'"function"', b'"custom"'} for tool in tool_list)


def _look_at_parts(name: str, prompt: bytes, dialect: Dialect, bounds: Bounds) -> None:
    """Content other than text."""
    where = f'"{name}"'
    if prompt[:1] != b"[":
        return
    images = 0
    if dialect is Dialect.MESSAGES:  # written anew: only what is known goes on, and documents become files
        images = prompt.count(b'"image"') + prompt.count(b'"image\\')
        if b'"document"' in prompt:
            bounds.unbounded = bounds.unbounded or 'a "document"'
    elif _is_text_alone(prompt) or ((names := _names_in(prompt)) is not None and names <= _TEXT_NAMES):
        return
    elif b"\\" in prompt and ((names is None and _ESCAPED_NAME.search(prompt)) or _ESCAPED_TYPE.search(prompt)):
        bounds.unpriced = bounds.unpriced or f"{where} with escapes in the names of fields"
    else:
        types = _TYPE.findall(prompt)
        images = max(sum(kind in _IMAGE_TYPES for kind in types), len(_IMAGE_KEY.findall(prompt)))
        strange = [kind for kind in types if kind not in _TEXT_TYPES and kind not in _IMAGE_TYPES]
        if _ELSEWHERE.search(prompt) or any(kind in _FILE_TYPES for kind in strange):
            bounds.unbounded = bounds.unbounded or f"a file or a reference in {where}"
        strange = [kind for kind in strange if kind not in _FILE_TYPES]
        if strange or _SOUND.search(prompt):
            shown = strange[0][:40].decode("utf-8", "replace") if strange else "audio or video"
            bounds.unpriced = bounds.unpriced or f"{where} with a part of type {shown}"
    if images:
        payload = sum(match.end(1) - match.start(1) for match in _IMAGE_DATA.finditer(prompt))
        bounds.prompt_tokens += images * ATTACHMENT_TOKENS_MAX - payload


def _is_text_alone(prompt: bytes) -> bool:
    """Whether one look shows messages that are texts and nothing else; False: not known yet.

    Where there is no brace but one for each message, there is no object within them, whatever comes twice. Texts that
    have braces themselves are decoded.
    """
    try:
        at = -1
        for _ in decode_flat_messages(prompt):
            at = prompt.find(b"{", at + 1)
        if prompt.find(b"{", at + 1) >= 0:
            decode_text_messages(prompt)
    except UNREADABLE:
        return False
    return True


def _names_in(prompt: bytes) -> set[bytes] | None:
    """The names of the fields of all objects in a JSON text; None: nobody knows.

    One may be spelled with an escape, or the text is too long to be taken apart.

    A name is what stands between the last two quotation marks before a colon. One that opens a string which begins
    with a colon gives a name that is none.
    """
    if len(prompt) > _TAKEN_APART_BYTES_MAX:
        return None
    names = set(_NAME.findall(prompt))
    if b"\\" not in prompt:
        return names
    plain = {name for name in names if b"\\" not in name}
    for name in (*(names - plain), *_BEHIND_ESCAPE.findall(prompt)):
        if (len(name) - len(name.rstrip(b"\\"))) % 2 == 0:  # else the mark is one within a string
            return None
    return plain

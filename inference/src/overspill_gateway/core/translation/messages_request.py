"""An Anthropic Messages request as an OpenAI chat request, for hosted APIs that know only those.

What OpenAI's form can't say and whose loss would not change what is asked is left out: ``thinking`` (hosted models
have their own switches for it), earlier thinking blocks (only their author can read the signatures), ``top_k``,
``cache_control``, ``citations``. What would change it refuses the request: server tools, MCP servers, files by id.
"""

import re
from typing import Annotated, Final, Literal, NoReturn

import msgspec
from msgspec import Meta, Raw, Struct

from overspill_gateway.core.dialects.request_form import RequestForm
from overspill_gateway.core.http.errors import invalid_body
from overspill_gateway.core.text.splice import BodyError

_MEDIA_TYPE: Final = re.compile(r"[a-z]{1,32}/[A-Za-z0-9.+-]{1,96}")
_NO_RAW: Final = Raw()
_EMPTY_OBJECT: Final = Raw(b"{}")
_FIELD_AT: Final = re.compile(r"`\$\.?([^`]*)`")

Document = dict[str, object]


class _Source(Struct, gc=False):
    type: Literal["base64", "url", "text"]
    media_type: str = ""
    data: Raw = _NO_RAW
    url: str = ""


class _Text(Struct, tag="text", tag_field="type", gc=False):
    text: str


class _Image(Struct, tag="image", tag_field="type"):
    source: _Source


class _File(Struct, tag="document", tag_field="type"):
    source: _Source
    title: str | None = None


class _ToolUse(Struct, tag="tool_use", tag_field="type", gc=False):
    id: str
    name: str
    input: Raw = _EMPTY_OBJECT


class _ToolResult(Struct, tag="tool_result", tag_field="type"):
    tool_use_id: str
    content: str | list[_Text | _Image | _File] | None = None
    is_error: bool | None = None


class _Thinking(Struct, tag="thinking", tag_field="type", gc=False):
    pass


class _RedactedThinking(Struct, tag="redacted_thinking", tag_field="type", gc=False):
    pass


_Block = _Text | _Image | _File | _ToolUse | _ToolResult | _Thinking | _RedactedThinking


class _Message(Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[_Block]


class _Tool(Struct, gc=False):
    name: str
    input_schema: Raw = _NO_RAW
    description: str | None = None
    type: str | None = None


class _ToolChoice(Struct, gc=False):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Metadata(Struct, gc=False):
    user_id: str | None = None


class _Format(Struct, gc=False):
    type: Literal["json_schema"]
    schema: Raw


class _OutputConfig(Struct, gc=False):
    format: _Format | None = None


class _Request(Struct):
    messages: Annotated[list[_Message], Meta(min_length=1)]
    system: str | list[_Text] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _ToolChoice | None = None
    metadata: _Metadata | None = None
    output_config: _OutputConfig | None = None
    output_format: _Format | None = None
    mcp_servers: list[Raw] | None = None


_decode: Final = msgspec.json.Decoder(_Request).decode


def chat_request(body: bytes, model: bytes, *, max_tokens: int | None, form: RequestForm | None = None) -> bytes:
    """The request in OpenAI's form; raises BodyError where it can't be told in it. ``model`` is a JSON string."""
    streams, rest = translated(body)
    return chat_beginning(model, streams=streams, max_tokens=max_tokens, form=form) + rest


def chat_beginning(model: bytes, *, streams: bool, max_tokens: int | None, form: RequestForm | None = None) -> bytes:
    """What stands before the rest of a translated request: all that depends on who is asked.

    Usage is asked for wherever ``form`` allows it: the answer's translation has to tell it.
    """
    form = form or RequestForm()
    limit = b"" if max_tokens is None else b'"%b":%d,' % (form.limit_field.encode(), max_tokens)
    stream = b'"stream":true,' if streams else b""
    usage = b'"stream_options":{"include_usage":true},' if streams and form.stream_options else b""
    return b'{"model":%b,%b%b%b' % (model, limit, stream, usage)


def translated(body: bytes) -> tuple[bool, bytes]:
    """Whether a stream is asked for, and the request in OpenAI's form behind ``chat_beginning``."""
    try:
        request = _decode(body)
    except msgspec.ValidationError as error:
        match = _FIELD_AT.search(str(error))
        message = f"The request can't be translated for a hosted API of this model: {error}."
        raise BodyError(invalid_body(message, param=match[1] if match else None, code="not_translatable")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BodyError(invalid_body(f"The body is not a JSON object: {error}.", code="invalid_json")) from None
    if request.mcp_servers:
        _refuse("mcp_servers", "MCP servers")
    chat: Document = {"messages": _messages(request)}
    _add_sampling(chat, request)
    _add_tools(chat, request)
    return bool(request.stream), msgspec.json.encode(chat)[1:]


def _add_sampling(chat: Document, request: _Request) -> None:
    for name, value in (("temperature", request.temperature), ("top_p", request.top_p)):
        if value is not None:
            chat[name] = value
    if request.stop_sequences:
        chat["stop"] = request.stop_sequences
    if request.metadata is not None and request.metadata.user_id:
        chat["user"] = request.metadata.user_id
    wanted = request.output_config.format if request.output_config is not None else None
    wanted = wanted or request.output_format
    if wanted is not None:
        schema = {"name": "answer", "schema": wanted.schema, "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}


def _messages(request: _Request) -> list[Document]:
    messages: list[Document] = []
    if request.system:
        messages.append({"role": "system", "content": _text(request.system, "\n\n")})
    for message in request.messages:
        content = message.content
        if isinstance(content, str) or message.role == "system":
            messages.append({"role": message.role, "content": _text(content, "\n\n")})
        elif message.role == "assistant":
            messages.append(_assistant(content))
        else:
            messages += _user(content)
    return messages


def _assistant(blocks: list[_Block]) -> Document:
    texts: list[str] = []
    calls: list[Document] = []
    for block in blocks:
        if isinstance(block, _Text):
            texts.append(block.text)
        elif isinstance(block, _ToolUse):
            function = {"name": block.name, "arguments": bytes(block.input).decode()}
            calls.append({"id": block.id, "type": "function", "function": function})
        elif not isinstance(block, (_Thinking, _RedactedThinking)):
            _refuse("messages", f"{_name(block)} blocks in an assistant's message")
    message: Document = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if calls:
        message["tool_calls"] = calls
    return message


def _user(blocks: list[_Block]) -> list[Document]:
    """Results of tools first: OpenAI wants them right behind the calls. Their images and files follow as the user's."""
    results: list[Document] = []
    parts: list[Document] = []
    for block in blocks:
        if isinstance(block, _ToolResult):
            content = block.content or ""
            text = _text(content, "\n")
            if block.is_error:
                text = f"Error: {text}"
            results.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": text})
            parts += [_part(part) for part in content if isinstance(part, (_Image, _File))]
        elif isinstance(block, (_Text, _Image, _File)):
            parts.append(_part(block))
        else:
            _refuse("messages", f"{_name(block)} blocks in a user's message")
    if not parts:
        return results
    only_text = len(parts) == 1 and parts[0]["type"] == "text"
    return [*results, {"role": "user", "content": parts[0]["text"] if only_text else parts}]


def _part(block: _Text | _Image | _File) -> Document:
    if isinstance(block, _Text):
        return {"type": "text", "text": block.text}
    return _image(block) if isinstance(block, _Image) else _file(block)


def _text(content: str | list[_Text | _Image | _File] | list[_Text] | list[_Block], separator: str) -> str:
    if isinstance(content, str):
        return content
    return separator.join([block.text for block in content if isinstance(block, _Text)])


def _image(block: _Image) -> Document:
    source = block.source
    if source.type == "text":
        _refuse("messages", "images of type text")
    url = source.url if source.type == "url" else _data_url(source)
    return {"type": "image_url", "image_url": {"url": url}}


def _file(block: _File) -> Document:
    source = block.source
    if source.type == "text":
        return {"type": "text", "text": _string(source.data)}
    if source.type == "url":
        _refuse("messages", "documents by URL")
    return {"type": "file", "file": {"filename": block.title or "document", "file_data": _data_url(source)}}


def _data_url(source: _Source) -> Raw:
    """A data URL as raw JSON: megabytes of base64 are never decoded."""
    data = bytes(source.data)
    if not _MEDIA_TYPE.fullmatch(source.media_type) or data[:1] != b'"':
        _refuse("messages", "a source without media_type and data")
    return Raw(b'"data:%b;base64,%b' % (source.media_type.encode(), data[1:]))


def _string(raw: Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.DecodeError:
        _refuse("messages", "a document of type text without data")


def _add_tools(chat: Document, request: _Request) -> None:
    if not request.tools:
        return
    tools: list[Document] = []
    for tool in request.tools:
        if tool.type not in {None, "custom"} or not tool.input_schema:
            _refuse("tools", f"the tool {tool.name!r} of type {tool.type!r}, which Anthropic's servers run,")
        function: Document = {"name": tool.name, "parameters": tool.input_schema}
        if tool.description is not None:
            function["description"] = tool.description
        tools.append({"type": "function", "function": function})
    chat["tools"] = tools
    choice = request.tool_choice
    if choice is None:
        return
    if choice.type == "tool":
        chat["tool_choice"] = {"type": "function", "function": {"name": choice.name or ""}}
    else:
        chat["tool_choice"] = "required" if choice.type == "any" else choice.type
    if choice.disable_parallel_tool_use:
        chat["parallel_tool_calls"] = False


def _name(block: _Block) -> str:
    return str(block.__struct_config__.tag)


def _refuse(param: str, what: str) -> NoReturn:
    message = f"A hosted API of this model can't take {what}: leave it out, or call a model with replicas of its own."
    raise BodyError(invalid_body(message, param=param, code="not_translatable"))

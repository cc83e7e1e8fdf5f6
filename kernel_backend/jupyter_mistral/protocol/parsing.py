"""Turn request bodies into the requests of `requests.py`. `bodies.py` declares the fields; here are the rules that span several."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .bodies import (
    MAX_ARGUMENTS_CHARS,
    AskBody,
    AssistantMessage,
    ChatBody,
    CompletionBody,
    DeveloperMessage,
    EmbeddingBody,
    ExtrasBody,
    FimBody,
    ImageObject,
    ImagePart,
    JsonObjectFormat,
    JsonSchemaFormat,
    MessageBody,
    NumbersBody,
    ResponseFormat,
    SamplingBody,
    SystemMessage,
    TextPart,
    ToolBody,
    ToolCallBody,
    ToolMessage,
)
from .conversation import Message, Role, Tool, ToolCall, short_id
from .failures import Failure
from .images import MAX_IMAGES, Image
from .requests import Ask, Calling, ChatRequest, CompletionRequest, EmbeddingRequest, Extras, Form, Sampling
from .validation import check_neutral, convert, wrong

MAX_SCHEMA_BYTES = 256 * 2**10


def parse_chat(data: Any) -> ChatRequest:
    """Raises `Failure("bad_request" | "unsupported" | "too_large")` that names the field."""
    body = convert(data, ChatBody)
    check_neutral(body)
    messages = tuple(_message(message, f"messages[{i}]") for i, message in enumerate(body.messages))
    if not any(m.text.strip() or m.images for m in messages if m.role == "user"):
        raise Failure("bad_request", "The prompt is empty.", "Write a question.", "messages")
    _check_images(sum(len(m.images) for m in messages), "request", "messages")
    if body.top_logprobs and not body.logprobs:
        raise Failure("bad_request", "top_logprobs needs logprobs.", "Set logprobs to true.", "top_logprobs")
    return ChatRequest(
        messages=messages,
        sampling=_sampling(body),
        form=_form(body.response_format),
        model=body.model or None,
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        extras=_extras(body.mistral, data),
        calling=_calling(body, data),
        n=body.n or 1,
        top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )


def parse_completion(data: Any) -> CompletionRequest:
    """Raises as `parse_chat` does."""
    body = convert(data, CompletionBody)
    if body.logprobs is True:
        raise wrong("logprobs", "a whole number from 0 to 5")
    return replace(
        _completion(body),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        if_busy=body.mistral.if_busy if body.mistral else "wait",
        n=body.n or 1,
        top_logprobs=None if body.logprobs is False else body.logprobs,
    )


def parse_fim(data: Any) -> CompletionRequest:
    """The body of Mistral's own `fim/completions`. Raises as `parse_chat` does."""
    request = _completion(convert(data, FimBody))
    return replace(request, suffix=request.suffix or "", include_usage=True)


def _completion(body: FimBody) -> CompletionRequest:
    check_neutral(body)
    prompt = body.prompt[0] if isinstance(body.prompt, list) else body.prompt
    if not prompt and not body.suffix:
        raise Failure("bad_request", "The prompt is empty.", "Send the text to continue.", "prompt")
    return CompletionRequest(prompt, body.suffix, _sampling(body), body.model or None, bool(body.stream))


def parse_embedding(data: Any) -> EmbeddingRequest:
    """Raises as `parse_chat` does."""
    body = convert(data, EmbeddingBody)
    texts = (body.input,) if isinstance(body.input, str) else tuple(body.input)
    dimensions = body.dimensions or body.output_dimension
    return EmbeddingRequest(texts, body.model or None, body.encoding_format == "base64", dimensions)


def parse_ask(data: Any) -> Ask:
    """Content: a string, or a list of strings and images. Raises as `parse_chat` does."""
    body = convert(_with_types(data), AskBody)
    check_neutral(body)
    parts = [body.content] if isinstance(body.content, str) else body.content or []
    content = tuple(_part(part, f"content[{i}]") for i, part in enumerate(parts))
    is_empty = not any(isinstance(part, Image) or part.strip() for part in content)
    if is_empty and (content or not body.replaces):
        raise Failure("bad_request", "The prompt is empty.", "Write a question.", "content")
    _check_images(sum(isinstance(part, Image) for part in content), "question", "content")
    return Ask(
        content=content,
        sampling=_sampling(body),
        form=_form(body.response_format),
        extras=_extras(body.mistral, data),
        model=body.model or None,
        replaces=body.replaces or None,
    )


def _with_types(data: Any) -> Any:
    """An ask may hold the short form of an image, `{"image_url": …}`; here it gets the type that OpenAI's parts have."""
    content = data.get("content") if isinstance(data, dict) else None
    if not isinstance(content, list):
        return data
    return data | {
        "content": [
            {"type": "image_url", **part} if isinstance(part, dict) and part.keys() == {"image_url"} else part
            for part in content
        ]
    }


def parse_texts(data: Any, longest: Mapping[str, int]) -> dict[str, str]:
    """An object of optional strings, each of up to so many characters; those that are absent or null are left out."""
    if not isinstance(data, dict):
        raise Failure("bad_request", "The request body must be a JSON object.", "Change it.")
    for name, value in data.items():
        if name not in longest:
            raise Failure("bad_request", f"Unknown field {name[:80]!r}.", "Leave it out.", name[:80])
        if value is not None and (not isinstance(value, str) or len(value) > longest[name]):
            raise wrong(name, f"a string of up to {longest[name]:,} characters")
    return {name: value for name, value in data.items() if value is not None}


def parse_sampling(data: Mapping[str, Any]) -> Sampling:
    """The sampling fields of `data`, other fields left alone. Raises `Failure` naming the field, its bounds and its value."""
    return _sampling(convert(dict(data), SamplingBody))


def _sampling(body: SamplingBody) -> Sampling:
    numbers = {name: getattr(body, name) for name in NumbersBody.__struct_fields__}
    if body.max_completion_tokens is not None:
        numbers["max_tokens"] = body.max_completion_tokens
    if body.seed is None:
        numbers["seed"] = body.random_seed
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return Sampling(**{name: number for name, number in numbers.items() if number is not None}, stop=stop)


# ---------------------------------------------------------------------------------------------- messages


def _check_images(count: int, where: str, param: str) -> None:
    if count > MAX_IMAGES:
        raise Failure("too_large", f"The {where} has more than {MAX_IMAGES} images.", "Send fewer.", param)


def _message(body: MessageBody, where: str) -> Message:
    check_neutral(body, where)
    calls = body.tool_calls if isinstance(body, AssistantMessage) and body.tool_calls else ()
    tool_calls = tuple(_tool_call(call, f"{where}.tool_calls[{i}]") for i, call in enumerate(calls))
    if body.content is None and not calls:
        raise wrong(f"{where}.content", "a string or a list of parts, unless there are tool_calls")
    said = "" if body.content is None else body.content
    parts: Sequence[str | TextPart | ImagePart] = [said] if isinstance(said, str) else said
    content = tuple(_part(part, f"{where}.content[{i}]") for i, part in enumerate(parts))
    tool_call_id = short_id(body.tool_call_id) if isinstance(body, ToolMessage) else ""
    return Message(_role(body), content, tool_calls, tool_call_id)


def _role(body: MessageBody) -> Role:
    if isinstance(body, (SystemMessage, DeveloperMessage)):
        return "system"
    if isinstance(body, ToolMessage):
        return "tool"
    return "assistant" if isinstance(body, AssistantMessage) else "user"


def _part(part: str | TextPart | ImagePart, where: str) -> str | Image:
    if isinstance(part, str):
        return part
    if isinstance(part, TextPart):
        return part.text
    url = part.image_url
    return Image.of_url(url.url if isinstance(url, ImageObject) else url, where)


def _tool_call(body: ToolCallBody, where: str) -> ToolCall:
    arguments = body.function.arguments or "{}"
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    if len(arguments) > MAX_ARGUMENTS_CHARS:
        raise wrong(f"{where}.function.arguments", f"JSON text of up to {MAX_ARGUMENTS_CHARS:,} characters")
    return ToolCall(short_id(body.id or ""), body.function.name, arguments)


# ---------------------------------------------------------------------------------------------- tools


def _calling(body: ChatBody, data: Mapping[str, Any]) -> Calling:
    tools = tuple(
        _tool(tool, data["tools"][i]["function"].get("parameters"), f"tools[{i}].function.parameters")
        for i, tool in enumerate(body.tools or ())
    )
    parallel = body.parallel_tool_calls is not False
    names = {tool.name for tool in tools}
    if len(names) < len(tools):
        raise Failure("bad_request", "Two tools have the same name.", "Rename one.", "tools")
    choice = body.tool_choice
    if choice in (None, "auto", "none"):
        return Calling(tools, "none" if choice == "none" else "auto", parallel=parallel) if tools else Calling()
    if not tools:
        raise Failure("bad_request", "tool_choice asks for a tool, but there are none.", "Send tools.", "tool_choice")
    if isinstance(choice, str) or choice is None:
        return Calling(tools, "required", parallel=parallel)
    if choice.function.name not in names:
        raise wrong("tool_choice.function.name", "the name of one of the tools")
    return Calling(tools, "required", choice.function.name, parallel)


def _tool(body: ToolBody, parameters: dict[str, Any] | None, where: str) -> Tool:
    function = body.function
    if not parameters:
        return Tool(function.name, function.description or "")
    return Tool(function.name, function.description or "", _schema(parameters, where))


def _schema(schema: dict[str, Any], where: str) -> dict[str, Any]:
    """A JSON schema of bounded size; the grammar decides whether it can be enforced."""
    if len(json.dumps(schema)) > MAX_SCHEMA_BYTES:
        too_large = f"{where} is larger than {MAX_SCHEMA_BYTES >> 10} KB."
        raise Failure("bad_request", too_large, "Send a simpler schema.", where)
    return schema


def _form(body: ResponseFormat | None) -> Form:
    if isinstance(body, JsonObjectFormat):
        return Form("json")
    if not isinstance(body, JsonSchemaFormat):
        return Form()
    schema = body.json_schema.schema if body.json_schema.schema is not None else body.json_schema.schema_definition
    if schema is None:
        raise wrong("response_format.json_schema.schema", "a JSON object")
    return Form("json", _schema(schema, "response_format.json_schema.schema"))


# ---------------------------------------------------------------------------------------------- our own clients' field


def _extras(body: ExtrasBody | None, data: Mapping[str, Any]) -> Extras:
    if body is None:
        return Extras()
    for i, variable in enumerate(body.variables or ()):
        if not variable.get("name"):
            raise wrong(f"mistral.variables[{i}]", "an object of strings: name, type, summary")
    return Extras(
        events=bool(body.events),
        notebook=data["mistral"].get("notebook"),  # with the fields that are not declared
        focus=body.focus,
        scope=body.scope,
        variables=tuple(body.variables or ()),
        figures=tuple(body.figures or ()),
        budget=body.budget,
        thorough=bool(body.thorough),
        if_busy=body.if_busy,
        client=body.client or "api",
        instructions=body.instructions or "",
    )

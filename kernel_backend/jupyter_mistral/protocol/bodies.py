"""Request bodies into the requests of `protocol.py`: every field known, every number and list bounded. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, cast

from .checks import as_list, as_object, expect, flag, schema, whole, wrong
from .checks import text as text_of
from .conversation import MAX_MESSAGES, ROLES, Message
from .failures import Failure
from .images import MAX_IMAGES, PICTURE_TYPES, Image
from .requests import (
    MAX_CHOICES,
    MAX_TOP_LOGPROBS,
    SAMPLING_BOUNDS,
    SCOPES,
    Ask,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Extras,
    Form,
    Sampling,
)
from .tools import parse_calling, parse_calls, short_id

# fields of OpenAI's and Mistral's APIs that change nothing here and may be sent
IGNORED = frozenset(
    {
        *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "verbosity"),
        *("prompt_cache_retention", "reasoning_effort", "web_search_options"),
        "return_token_ids",  # vLLM's, which benchmark clients send everywhere
    }
)
# fields that would change the answer if we honoured them: refused unless they hold the value that asks for nothing
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1, None),
    "echo": (False, None),
    "logit_bias": (None, {}),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None, {"type": "content", "content": ""}),
    "safe_prompt": (False, None),
    "prompt_mode": (None,),
    "min_tokens": (0, None),
    "guardrails": (None, []),
}
# fields of a message that clients send back as they got them, where they hold nothing
_NEUTRAL_OF_MESSAGE: dict[str, tuple[Any, ...]] = {
    "refusal": (None, ""),
    "audio": (None,),
    "function_call": (None,),
    "annotations": (None, []),
    "reasoning_content": (None, ""),
}
MAX_INSTRUCTIONS = 8000
_CHAT = {
    *("messages", "model", "stream", "stream_options", "response_format", "mistral", "n", "logprobs", "top_logprobs"),
    *("tools", "tool_choice", "parallel_tool_calls"),
}
_ASK = {"content", "replaces", "model", "response_format", "mistral"}
_COMPLETION = {"prompt", "suffix", "model", "stream", "stream_options", "mistral", "n", "logprobs"}
_FIM = {"prompt", "suffix", "model", "stream"}
_EMBEDDING = {"input", "model", "encoding_format", "dimensions", "user", "output_dtype", "output_dimension"}
LONGEST_PROMPT = 16 * 2**20
_SAMPLING = {*SAMPLING_BOUNDS, "stop", "max_completion_tokens", "random_seed"}


def parse_chat(body: Any) -> ChatRequest:
    """Raises `Failure("bad_request" | "unsupported" | "too_large")` that names the field."""
    body = as_object(body, "The request body")
    _known(body, _CHAT)
    messages = tuple(_message(m, f"messages[{i}]") for i, m in enumerate(as_list(body, "messages", MAX_MESSAGES)))
    if not messages or not any(m.text.strip() or m.images for m in messages if m.role == "user"):
        raise Failure("bad_request", "The prompt is empty.", "Write a question.", "messages")
    if sum(len(m.images) for m in messages) > MAX_IMAGES:
        raise Failure("too_large", f"The request holds more than {MAX_IMAGES} pictures.", "Send fewer.", "messages")
    return ChatRequest(
        messages=messages,
        sampling=parse_sampling(body),
        form=_form(body.get("response_format")),
        model=text_of(body, "model", 300) or None,
        stream=flag(body, "stream"),
        include_usage=_include_usage(body),
        extras=_extras(body.get("mistral")),
        calling=parse_calling(body),
        n=whole(body, "n", 1, MAX_CHOICES) or 1,
        top_logprobs=_top_logprobs(body),
    )


def _top_logprobs(body: Mapping[str, Any]) -> int | None:
    wanted, top = flag(body, "logprobs"), whole(body, "top_logprobs", 0, MAX_TOP_LOGPROBS)
    if top is not None and not wanted and top:
        raise Failure("bad_request", "top_logprobs needs logprobs.", "Set logprobs to true.", "top_logprobs")
    return (top or 0) if wanted else None


def parse_completion(body: Any) -> CompletionRequest:
    """Raises as `parse_chat` does."""
    body = as_object(body, "The request body")
    _known(body, _COMPLETION)
    return _completion(
        body,
        include_usage=_include_usage(body),
        if_busy=_extras(body.get("mistral")).if_busy,
        n=whole(body, "n", 1, MAX_CHOICES) or 1,
        top_logprobs=whole(body, "logprobs", 0, 5) if body.get("logprobs") is not False else None,
    )


def parse_fim(body: Any) -> CompletionRequest:
    """The body of Mistral's own `fim/completions`. Raises as `parse_chat` does."""
    body = as_object(body, "The request body")
    _known(body, _FIM)
    asked = _completion(body, include_usage=True)
    return replace(asked, suffix=asked.suffix or "")


def _completion(body: Mapping[str, Any], **more: Any) -> CompletionRequest:
    prompt, suffix = body.get("prompt", ""), body.get("suffix")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    for name, value in (("prompt", prompt), ("suffix", "" if suffix is None else suffix)):
        if not isinstance(value, str) or len(value) > LONGEST_PROMPT:
            raise wrong(name, f"a string of up to {LONGEST_PROMPT:,} characters")
    if not prompt and not suffix:
        raise Failure("bad_request", "The prompt is empty.", "Send the text to go on from.", "prompt")
    return CompletionRequest(
        prompt=prompt,
        suffix=suffix,
        sampling=parse_sampling(body),
        model=text_of(body, "model", 300) or None,
        stream=flag(body, "stream"),
        **more,
    )


def parse_embedding(body: Any) -> EmbeddingRequest:
    """Raises as `parse_chat` does."""
    body = as_object(body, "The request body")
    for name in body.keys() - _EMBEDDING:
        raise Failure("bad_request", f"Unknown field {name[:80]!r}.", "Leave it out.", name[:80])
    given = body.get("input")
    texts = [given] if isinstance(given, str) else as_list(body, "input", 2048)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise wrong("input", "a text or a list of texts, none of them empty")
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise wrong("encoding_format", "float or base64")
    if body.get("output_dtype") not in (None, "float"):
        raise wrong("output_dtype", "float")
    dimensions = whole(body, "dimensions", 1, 65536) or whole(body, "output_dimension", 1, 65536)
    is_base64 = body.get("encoding_format") == "base64"
    return EmbeddingRequest(tuple(texts), text_of(body, "model", 300) or None, is_base64, dimensions)


def parse_ask(body: Any) -> Ask:
    """Content: a string, or a list of strings and pictures. Raises as `parse_chat` does."""
    body = as_object(body, "The request body")
    _known(body, _ASK)
    given = body.get("content")
    parts = [given] if isinstance(given, str) else as_list(body, "content", 1000)
    content = tuple(p if isinstance(p, str) else _ask_part(p, f"content[{i}]") for i, p in enumerate(parts))
    replaces = text_of(body, "replaces", 64) or None
    if not any(isinstance(part, Image) or part.strip() for part in content) and (content or replaces is None):
        raise Failure("bad_request", "The prompt is empty.", "Write a question.", "content")
    if sum(isinstance(part, Image) for part in content) > MAX_IMAGES:
        raise Failure("too_large", f"The question holds more than {MAX_IMAGES} pictures.", "Send fewer.", "content")
    return Ask(
        content=content,
        sampling=parse_sampling(body),
        form=_form(body.get("response_format")),
        extras=_extras(body.get("mistral")),
        model=text_of(body, "model", 300) or None,
        replaces=replaces,
    )


def parse_texts(body: Any, bounds: Mapping[str, int]) -> dict[str, str]:
    """An object of optional strings, each no longer than its bound; those that are absent or null are left out."""
    body = as_object(body, "The request body")
    for name in body:
        if name not in bounds:
            raise Failure("bad_request", f"Unknown field {name[:80]!r}.", "Leave it out.", name[:80])
    return {name: text_of(body, name, longest) for name, longest in bounds.items() if body.get(name) is not None}


def parse_sampling(body: Mapping[str, Any]) -> Sampling:
    """Sampling fields of `body`, others left alone. Raises `Failure` naming the field, its bounds and what it was."""
    found: dict[str, Any] = {}
    longest = body.get("max_completion_tokens")
    if longest is not None:
        body = {**body, "max_tokens": longest}
    if body.get("random_seed") is not None:  # Mistral's own word
        body = {"seed": body["random_seed"], **{k: v for k, v in body.items() if k != "seed" or v is not None}}
    for name, (kind, least, most) in SAMPLING_BOUNDS.items():
        value = body.get(name)
        if value is None:
            continue
        numbers = (int,) if kind is int else (int, float)
        if kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, numbers) or not least <= value <= most:
            raise Failure(
                "bad_request",
                f"{name} is {value!r}, but must be {'a whole' if kind is int else 'a'} number from {least:g} to {most:.16g}.",
                "Change or leave it out.",
                name,
            )
        found[name] = kind(value)
    stop = body.get("stop")
    if stop is not None:
        stop = [stop] if isinstance(stop, str) else stop
        if (
            not isinstance(stop, list)
            or len(stop) > 4
            or not all(isinstance(s, str) and 0 < len(s) <= 64 for s in stop)
        ):
            raise Failure(
                "bad_request", "stop must be up to 4 strings of 1 to 64 characters.", "Change or leave it out.", "stop"
            )
        found["stop"] = tuple(stop)
    return Sampling(**found)


def _known(body: Mapping[str, Any], own: set[str]) -> None:
    for name, value in body.items():
        if name in own or name in _SAMPLING or name in IGNORED:
            continue
        if name in NEUTRAL:
            if not _is_one_of(value, NEUTRAL[name]):
                raise Failure("unsupported", f"{name} is not supported by this engine.", "Leave it out.", name)
            continue
        raise Failure("bad_request", f"Unknown field {name[:80]!r}.", "Leave it out.", name[:80])


def _is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    """As JSON compares: true is not 1."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values)


def _message(data: Any, where: str) -> Message:
    data = as_object(data, where)
    role = {"developer": "system"}.get(data.get("role"), data.get("role"))
    if role not in ROLES:
        raise wrong(f"{where}.role", f"one of {', '.join(ROLES)}")
    for name, value in data.items():
        # `prefix` is Mistral's word for a last message that begins the answer, which is what every last one here does
        known = {"role", "content", "name", "prefix", "tool_calls", "tool_call_id"}
        if name not in known and not _is_one_of(value, _NEUTRAL_OF_MESSAGE.get(name, ())):
            raise Failure(
                "unsupported", f"{where}.{name[:80]} is not supported by this engine.", "Leave it out.", where
            )
    calls = parse_calls(data, where) if role == "assistant" else ()
    call_id = short_id(text_of(data, "tool_call_id", 256))
    if role == "tool" and not call_id:
        raise wrong(f"{where}.tool_call_id", "the id of the call that this is the answer to")
    content = data.get("content")
    if content is None and calls:
        content = ""
    if isinstance(content, str):
        return Message(role, (content,), calls, call_id if role == "tool" else "")
    if not isinstance(content, list) or len(content) > 1000:
        raise wrong(f"{where}.content", "a string or a list of parts")
    parts = tuple(_part(part, f"{where}.content[{i}]") for i, part in enumerate(content))
    return Message(role, parts, calls, call_id if role == "tool" else "")


def _part(data: Any, where: str) -> str | Image:
    data = as_object(data, where)
    if data.get("type") == "text" and isinstance(data.get("text"), str):
        return cast(str, data["text"])
    if data.get("type") == "image_url":
        url = data.get("image_url")
        url = url.get("url") if isinstance(url, dict) else url
        if isinstance(url, str):
            return Image.of_url(url, where)
    raise wrong(where, f"a text part or an image_url part ({', '.join(PICTURE_TYPES)})")


def _ask_part(data: Any, where: str) -> str | Image:
    """The short form of a picture, `{"image_url": {"url"}}`, beside OpenAI's parts."""
    if isinstance(data, dict) and data.keys() == {"image_url"}:
        data = {"type": "image_url", **data}
    return _part(data, where)


def _form(data: Any) -> Form:
    if data is None:
        return Form()
    data = as_object(data, "response_format")
    kind = data.get("type")
    if kind == "text":
        return Form()
    if kind == "json_object":
        return Form("json")
    if kind == "json_schema":
        told = as_object(data.get("json_schema"), "response_format.json_schema")
        found = told.get("schema", told.get("schema_definition"))  # as Mistral's client names it
        return Form("json", schema(found, "response_format.json_schema.schema"))
    raise wrong("response_format.type", "text, json_object or json_schema")


def _extras(data: Any) -> Extras:
    if data is None:
        return Extras()
    data = as_object(data, "mistral")
    for name in data:
        if name not in {f.name for f in fields(Extras)}:
            raise Failure("bad_request", f"Unknown field mistral.{name[:80]}.", "Leave it out.", f"mistral.{name[:80]}")
    if data.get("scope", "notebook") not in SCOPES:
        raise wrong("mistral.scope", f"one of {', '.join(SCOPES)}")
    if data.get("if_busy", "wait") not in ("wait", "refuse"):
        raise wrong("mistral.if_busy", "wait or refuse")
    notebook = data.get("notebook")
    if notebook is not None and not isinstance(as_object(notebook, "mistral.notebook").get("cells"), list):
        raise wrong("mistral.notebook.cells", "a list of cells")
    return Extras(
        events=flag(data, "events"),
        notebook=notebook,
        focus=whole(data, "focus", 0, 10**6),
        scope=data.get("scope", "notebook"),
        variables=tuple(
            _variable(v, f"mistral.variables[{i}]") for i, v in enumerate(as_list(data, "variables", 2000))
        ),
        figures=tuple(
            str(expect(f, str, f"mistral.figures[{i}]")) for i, f in enumerate(as_list(data, "figures", 100))
        ),
        budget=whole(data, "budget", 64, 10**7),
        thorough=flag(data, "thorough"),
        if_busy=data.get("if_busy", "wait"),
        client=text_of(data, "client", 40) or "api",
        instructions=text_of(data, "instructions", MAX_INSTRUCTIONS),
    )


def _variable(data: Any, where: str) -> dict[str, str]:
    data = as_object(data, where)
    if not all(isinstance(v, str) for v in data.values()) or not data.get("name"):
        raise wrong(where, "an object of strings: name, type, summary")
    return dict(data)


def _include_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return options is not None and flag(as_object(options, "stream_options"), "include_usage")

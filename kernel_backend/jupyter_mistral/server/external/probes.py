"""Finds out by tiny requests what an external engine does not report: images, fill in the middle, JSON schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from .http import ErrorReply, Kind, Upstream, positive_int

TIMEOUT_S = 60.0
BUSY = (429, 503, 529)
# a white square, large enough for any vision model
IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAADgAAAA4CAIAAAAn5KxJAAAAP0lEQVR42u3OMQ0AAAwDoPo33R5TsQQUkD4RUVFRUVFRUVFRUVFRUVFR"
    "UVFRUVFRUVFRUVFRUVFRUVFRUVHRM3/7nV0TjaS5AAAAAElFTkSuQmCC"
)
_WORD = "q7"
SCHEMA = {"type": "object", "properties": {"k": {"const": _WORD}}, "required": ["k"], "additionalProperties": False}


async def accepts_images(upstream: Upstream, name: str) -> bool:
    content = [
        {"type": "text", "text": "Which colour?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}},
    ]
    return await _accepts(
        upstream,
        "/v1/chat/completions",
        {"model": name, "messages": [{"role": "user", "content": content}], "max_tokens": 1},
    )


async def fill_in_the_middle(
    upstream: Upstream, kind: Kind, name: str, is_reported: bool | None
) -> Literal["", "infill", "suffix"]:
    """The API for fill in the middle, empty for none. is_reported: what the engine says about it."""
    if kind == "llamacpp":
        body = {"input_prefix": "a = ", "input_suffix": "\n", "n_predict": 1}
        return "infill" if await _accepts(upstream, "/infill", body) else ""
    has_suffix = is_reported if is_reported is not None else await _reads_suffix(upstream, name)
    return "suffix" if has_suffix else ""


async def _reads_suffix(upstream: Upstream, name: str) -> bool:
    """An engine that ignores the suffix reads as many tokens without it."""
    counts = []
    for more in ({}, {"suffix": "\n\nprint(total, average, largest)\n"}):
        body = {"model": name, "prompt": "total = ", "max_tokens": 1, **more}
        try:
            reply = await upstream.ask("POST", "/v1/completions", body, within_s=TIMEOUT_S)
        except ErrorReply as error:
            _raise_if_busy(error)
            return False
        counts.append(positive_int(reply.get("usage"), "prompt_tokens"))
    return counts[1] > counts[0] > 0


async def follows_schema(upstream: Upstream, name: str) -> bool:
    """Whether answers follow a JSON schema, tried with a word that no model would think of."""
    form = {"type": "json_schema", "json_schema": {"name": "probe", "schema": SCHEMA, "strict": True}}
    messages = [{"role": "user", "content": "Reply with JSON."}]
    body = {"model": name, "messages": messages, "max_tokens": 32, "temperature": 0, "response_format": form}
    try:
        reply = await upstream.ask("POST", "/v1/chat/completions", body, within_s=TIMEOUT_S)
        return _WORD in str(reply["choices"][0]["message"]["content"])
    except ErrorReply as error:
        _raise_if_busy(error)
        return False
    except (KeyError, IndexError, TypeError):
        return False


async def _accepts(upstream: Upstream, path: str, body: Mapping[str, Any]) -> bool:
    """Whether the engine accepts the request. Raises `ErrorReply` if it is busy, which proves nothing."""
    try:
        await upstream.ask("POST", path, body, within_s=TIMEOUT_S)
    except ErrorReply as error:
        _raise_if_busy(error)
        return False
    return True


def _raise_if_busy(error: ErrorReply) -> None:
    if error.status in BUSY:
        raise error

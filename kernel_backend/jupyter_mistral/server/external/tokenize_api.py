"""Counts tokens by the tokenize API of vLLM, SGLang or llama.cpp."""

from __future__ import annotations

import contextlib
from typing import Any

from .http import ErrorReply, Kind, Unreachable, Upstream


async def is_supported(upstream: Upstream, kind: Kind, name: str) -> bool:
    with contextlib.suppress(ErrorReply, Unreachable, KeyError, TypeError):
        return await count(upstream, kind, name, "one two three") > 0
    return False


async def count(upstream: Upstream, kind: Kind, name: str, text: str) -> int:
    """Tokens of plain text with the engine's tokenizer. Raises `ErrorReply`, `Unreachable`, `KeyError`."""
    if kind == "llamacpp":
        reply = await upstream.ask("POST", "/tokenize", {"content": text, "add_special": False, "parse_special": False})
        return len(reply["tokens"])
    reply = await upstream.ask("POST", "/tokenize", {"model": name, "prompt": text, "add_special_tokens": False})
    return int(reply["count"]) if "count" in reply else len(reply["tokens"])


async def render(upstream: Upstream, kind: Kind, name: str, messages: list[dict[str, Any]]) -> int:
    """Tokens of a prompt including the chat template. Raises as `count`."""
    if kind != "llamacpp":
        reply = await upstream.ask(
            "POST", "/tokenize", {"model": name, "messages": messages, "add_generation_prompt": True}
        )
        return int(reply["count"]) if "count" in reply else len(reply["tokens"])
    prompt = (await upstream.ask("POST", "/apply-template", {"messages": messages}))["prompt"]
    reply = await upstream.ask("POST", "/tokenize", {"content": prompt, "add_special": True, "parse_special": True})
    return len(reply["tokens"])

"""Turns `generate` and `complete` frames into jobs: images are prepared, messages tokenized, settings checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ...protocol.conversation import Tool, ToolCall
from ...protocol.failures import Failure
from ...protocol.requests import Calling, Form, Sampling
from ...tokenizer.chat_template import Turn
from ..load.engine import Engine
from ..prompt import PreparedImage, Prompt
from ..requests.answer import Job, fill_in_the_middle


def job_of(engine: Engine, order: Mapping[str, Any], blob: bytes) -> Job:
    return _chat_job(engine, order, blob) if order["type"] == "generate" else _completion_job(engine, order)


def prompt_of(engine: Engine, order: Mapping[str, Any], blob: bytes, calling: Calling | None = None) -> Prompt:
    """The prompt of a frame's messages. blob: the bytes of its images, one after the other."""
    images = _images(engine, [int(image["size"]) for image in order.get("images") or []], blob)
    turns = []
    for message in order["messages"]:
        parts = message["content"] if isinstance(message["content"], list) else [message["content"]]
        content = [part if isinstance(part, str) else images[int(part["image"])] for part in parts]
        calls = [ToolCall(**call) for call in message.get("calls") or ()]
        turns.append(Turn(str(message["role"]), content, calls, str(message.get("call_id") or "")))
    return engine.template.prompt(turns, [tool.to_dict() for tool in calling.tools] if calling else ())


def _images(engine: Engine, sizes: list[int], blob: bytes) -> list[PreparedImage]:
    if sum(sizes) != len(blob):
        raise Failure("bad_request", "The images' sizes do not add up.", "Send the request again.")
    if not sizes:
        return []
    if engine.image_preparer is None:
        message = f"{engine.card.name} cannot see images."
        raise Failure("unsupported", message, "Load a vision model, or ask without images.")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    pieces = [blob[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    return [engine.image_preparer.prepare(piece, f"Image {n}") for n, piece in enumerate(pieces, 1)]


def _chat_job(engine: Engine, order: Mapping[str, Any], blob: bytes) -> Job:
    calling = _calling(order)
    return Job(
        prompt_of(engine, order, blob, calling),
        _sampling(order),
        engine.ends,
        Form(**order["form"]) if order.get("form") else Form(),
        str(order.get("salt") or ""),
        calling=calling,
        dialect=engine.template.dialect if calling.tools else None,
        top_logprobs=order.get("top_logprobs"),
    )


def _calling(order: Mapping[str, Any]) -> Calling:
    """The functions that may be called; none if the choice is none, so that the prompt does not tempt the model."""
    settings = dict(order.get("calling") or {})
    if not settings or settings.get("choice") == "none":
        return Calling()
    return Calling(**{**settings, "tools": tuple(Tool(**tool) for tool in settings["tools"])})


def _completion_job(engine: Engine, order: Mapping[str, Any]) -> Job:
    ids, ends = fill_in_the_middle(engine.vocabulary, engine.fim, order["prompt"], order.get("suffix"))
    if not ids:
        raise Failure("bad_request", "The prompt is empty.", "Give a prompt.")
    salt = str(order.get("salt") or "")
    top = order.get("top_logprobs")
    return Job(Prompt(ids), _sampling(order), ends | engine.ends, salt=salt, is_new_turn=False, top_logprobs=top)


def _sampling(order: Mapping[str, Any]) -> Sampling:
    settings = dict(order.get("sampling") or {})
    unknown = set(settings) - {field.name for field in fields(Sampling)}
    if unknown:
        raise Failure("bad_request", f"Unknown sampling setting {json.dumps(min(unknown))}.", "Leave it out.")
    settings["stop"] = tuple(settings.get("stop") or ())
    return Sampling(**settings)

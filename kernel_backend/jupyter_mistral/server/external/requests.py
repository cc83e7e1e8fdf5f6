"""Converts requests to the bodies that an external engine accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ...protocol.events import Event
from ...protocol.requests import ChatRequest, CompletionRequest, Sampling
from ..inference.base import Messages
from .capabilities import ServedModel
from .chunks import InfillChunks, TextChunks

Read = Callable[[Mapping[str, Any]], Iterator[Event]]
_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "max_tokens",
    "seed",
    "stop",
    "presence_penalty",
    "frequency_penalty",
)


def chat_body(request: ChatRequest, messages: Messages, served: ServedModel) -> dict[str, Any]:
    """A streamed chat request, without our own extensions unless the engine is another Jupyter Mistral."""
    body = replace(request, messages=messages, stream=True, include_usage=True, model=served.card.name).to_dict()
    body.pop("mistral", None)
    if request.top_logprobs is not None:
        body["top_logprobs"] = _top_logprobs(request.top_logprobs)
    body = {k: v for k, v in body.items() if k not in _SAMPLING} | _sampling(request.sampling)
    return body | ({"mistral": {"events": True, "client": request.extras.client}} if served.kind == "mistral" else {})


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """Only values that differ from the defaults, so that the engine's own apply (top_k and min_p are not in OpenAI's API). Always temperature."""
    default = Sampling()
    values = {name: getattr(sampling, name) for name in _SAMPLING}
    changed = {k: v for k, v in values.items() if k == "temperature" or v != getattr(default, k)}
    return changed | ({"stop": list(sampling.stop)} if sampling.stop else {})


def _top_logprobs(top: int) -> int:
    """At least one: for 0, llama.cpp returns no logprobs at all. `LogprobReader` drops the surplus one."""
    return max(1, top)


def completion(request: CompletionRequest, served: ServedModel, host: str) -> tuple[str, dict[str, Any], Read]:
    """The path, the body, and the reader of the chunks."""
    sampling, top = _sampling(request.sampling), request.top_logprobs
    if request.suffix and served.fim == "infill":
        max_tokens = sampling.pop("max_tokens", -1)
        parts: dict[str, Any] = {"input_prefix": request.prompt, "input_suffix": request.suffix, "prompt": ""}
        parts |= {"n_predict": max_tokens, **({} if top is None else {"n_probs": _top_logprobs(top)})}
        return "/infill", {**parts, "stream": True, "cache_prompt": True, **sampling}, InfillChunks(host, top)
    body: dict[str, Any] = {"model": served.card.name, "prompt": request.prompt, "stream": True}
    body |= {"stream_options": {"include_usage": True}, **sampling}
    body |= {} if top is None else {"logprobs": _top_logprobs(top)}
    body |= {"suffix": request.suffix} if served.fim and request.suffix is not None else {}
    return "/v1/completions", body, TextChunks(host, top)

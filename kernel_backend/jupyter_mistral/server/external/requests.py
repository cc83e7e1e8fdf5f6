"""Requests of ours as the bodies that an engine elsewhere takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ...protocol.events import Event
from ...protocol.requests import ChatRequest, CompletionRequest, Sampling
from ..inference.base import Messages
from .capabilities import Facts
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


def chat_body(request: ChatRequest, messages: Messages, known: Facts) -> dict[str, Any]:
    """A streamed request for the model of `known`; what only we understand stays here, but for another Jupyter Mistral."""
    body = replace(request, messages=messages, stream=True, include_usage=True, model=known.card.name).to_dict()
    body.pop("mistral", None)
    if request.top_logprobs is not None:
        body["top_logprobs"] = _rivals(request.top_logprobs)
    body = {k: v for k, v in body.items() if k not in _SAMPLING} | _sampling(request.sampling)
    return body | ({"mistral": {"events": True, "client": request.extras.client}} if known.kind == "mistral" else {})


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """What is not said leaves an engine its own way; temperature is always said. top_k and min_p are no field of OpenAI's."""
    default = Sampling()
    told = {name: getattr(sampling, name) for name in _SAMPLING}
    kept = {k: v for k, v in told.items() if k == "temperature" or v != getattr(default, k)}
    return kept | ({"stop": list(sampling.stop)} if sampling.stop else {})


def _rivals(top: int) -> int:
    """At least one: asked for none, llama.cpp leaves all chances out. What is too many is dropped again."""
    return max(1, top)


def completion(request: CompletionRequest, known: Facts, host: str) -> tuple[str, dict[str, Any], Read]:
    """The address, the body, and how the chunks of its answer are read."""
    sampling, top = _sampling(request.sampling), request.top_logprobs
    if request.suffix and known.fim == "infill":
        longest = sampling.pop("max_tokens", -1)
        parts: dict[str, Any] = {"input_prefix": request.prompt, "input_suffix": request.suffix, "prompt": ""}
        parts |= {"n_predict": longest, **({} if top is None else {"n_probs": _rivals(top)})}
        return "/infill", {**parts, "stream": True, "cache_prompt": True, **sampling}, InfillChunks(host, top)
    body: dict[str, Any] = {"model": known.card.name, "prompt": request.prompt, "stream": True}
    body |= {"stream_options": {"include_usage": True}, **sampling}
    body |= {} if top is None else {"logprobs": _rivals(top)}
    body |= {"suffix": request.suffix} if known.fim and request.suffix is not None else {}
    return "/v1/completions", body, TextChunks(host, top)

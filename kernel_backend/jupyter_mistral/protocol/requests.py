"""Requests to the model: the shape of OpenAI's API plus one field, `mistral`. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias

from .conversation import Message, Tool
from .images import Image

Scope: TypeAlias = Literal["none", "cell", "above", "notebook"]
SCOPES: tuple[Scope, ...] = ("none", "cell", "above", "notebook")
MAX_BODY_BYTES = 128 * 2**20
MAX_CHOICES = 4
MAX_TOP_LOGPROBS = 20


@dataclass(frozen=True)
class Sampling:
    """How the next token is sampled. `temperature` 0 is greedy. With `seed` None the engine picks one, which `Usage` reports."""

    temperature: float = 0.15
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


@dataclass(frozen=True)
class Form:
    """The required format of the answer: free text, or JSON (matching a schema), which constrained decoding enforces."""

    kind: Literal["text", "json"] = "text"
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Extras:
    """The `mistral` field that our own clients add to a request.

    notebook: `{"cells": [nbformat 4 cells], "language": "python", "path": "a.ipynb"}`, as shown in the editor. In an image output
        a client may replace the data by an integer, the number of bytes it left out.
    focus: index of the cell that the question is about. scope: the part of the notebook that may be read.
    variables: `{"name", "type", "summary"}` each. budget: maximum prompt tokens; None is the model's context length.
    thorough: read a notebook that exceeds the context window in parts, and answer from notes on each.
    events: whether to send progress events. if_busy: with "refuse" a busy engine fails at once with `busy`.
    instructions: the user's instructions for every question; they go into the system message.
    """

    events: bool = False
    notebook: Mapping[str, Any] | None = None
    focus: int | None = None
    scope: Scope = "notebook"
    variables: tuple[Mapping[str, str], ...] = ()
    figures: tuple[str, ...] = ()
    budget: int | None = None
    thorough: bool = False
    if_busy: Literal["wait", "refuse"] = "wait"
    client: str = "api"
    instructions: str = ""


@dataclass(frozen=True)
class Calling:
    """The functions that the model may call. choice "required": it must call one, the function `only` if set. parallel: several at once."""

    tools: tuple[Tool, ...] = ()
    choice: Literal["auto", "none", "required"] = "auto"
    only: str = ""
    parallel: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The fields of a request body."""
        if not self.tools:
            return {}
        named = {"type": "function", "function": {"name": self.only}}
        return {
            "tools": [tool.to_dict() for tool in self.tools],
            "tool_choice": named if self.only else self.choice,
            "parallel_tool_calls": self.parallel,
        }


@dataclass(frozen=True)
class ChatRequest:
    """`POST /mistral/v1/chat/completions`. n: number of answers. top_logprobs: number of alternatives for each token; None: no logprobs at all."""

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    form: Form = field(default_factory=Form)
    model: str | None = None
    stream: bool = False
    include_usage: bool = False
    extras: Extras = field(default_factory=Extras)
    calling: Calling = field(default_factory=Calling)
    n: int = 1
    top_logprobs: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON body; `parse_chat` turns it into an equal request."""
        body: dict[str, Any] = {"messages": [m.to_dict() for m in self.messages], "stream": self.stream}
        body |= {k: v for k, v in asdict(self.sampling).items() if v not in (None, ())}
        if self.form.kind == "json":
            schema = self.form.schema
            body["response_format"] = (
                {"type": "json_object"}
                if schema is None
                else {"type": "json_schema", "json_schema": {"name": "reply", "schema": dict(schema)}}
            )
        if self.model is not None:
            body["model"] = self.model
        if self.include_usage:
            body["stream_options"] = {"include_usage": True}
        if self.n != 1:
            body["n"] = self.n
        if self.top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        body |= self.calling.to_dict()
        default = Extras()
        extras = {f.name: getattr(self.extras, f.name) for f in fields(Extras)}
        extras = {k: v for k, v in extras.items() if v != getattr(default, k)}
        return body | ({"mistral": extras} if extras else {})


@dataclass(frozen=True)
class Ask:
    """`POST /mistral/api/chats/ID/ask`: the next question of a saved chat.

    replaces: id of a message to delete first, with everything after it. To edit, the question; to regenerate, the answer, with
        `content` empty.
    """

    content: tuple[str | Image, ...]
    sampling: Sampling = field(default_factory=Sampling)
    form: Form = field(default_factory=Form)
    extras: Extras = field(default_factory=Extras)
    model: str | None = None
    replaces: str | None = None


@dataclass(frozen=True)
class CompletionRequest:
    """`POST /mistral/v1/completions`: continue `prompt`; with a `suffix` (even an empty one) fill in
    the text between the two."""

    prompt: str
    suffix: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    model: str | None = None
    stream: bool = False
    include_usage: bool = False
    if_busy: Literal["wait", "refuse"] = "wait"
    n: int = 1
    top_logprobs: int | None = None


@dataclass(frozen=True)
class EmbeddingRequest:
    """`POST /mistral/v1/embeddings`. dimensions: length of each vector; None is the model's own."""

    texts: tuple[str, ...]
    model: str | None = None
    is_base64: bool = False
    dimensions: int | None = None

"""The declarations of answers: the shapes of OpenAI's API that clients read. The server writes them, tests hold it to them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

from .requests import MAX_CHOICES, MAX_TOP_LOGPROBS

Count: TypeAlias = Annotated[int, Meta(ge=0)]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]


class PromptTokensDetails(Struct, frozen=True):
    cached_tokens: Count


class CompletionUsage(Struct):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails(0)
    mistral: Annotated[dict[str, Any], Meta(description="Times, speeds, seed, what was left out.")] = {}


class LikelyToken(Struct):
    token: str
    logprob: Annotated[float, Meta(le=0)]
    bytes: list[Annotated[int, Meta(ge=0, le=255)]]


class TokenWithLogprob(LikelyToken):
    top_logprobs: Annotated[list[LikelyToken], Meta(max_length=MAX_TOP_LOGPROBS)] = []


class Logprobs(Struct):
    content: list[TokenWithLogprob]
    refusal: None = None


class CalledFunction(Struct):
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    arguments: str


class AnsweredCall(Struct):
    id: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9]{9}$")]
    type: Literal["function"]
    function: CalledFunction


class AnswerMessage(Struct):
    role: Literal["assistant"]
    content: str | None
    tool_calls: list[AnsweredCall] = []


class ChatChoice(Struct):
    index: int
    message: AnswerMessage
    finish_reason: FinishReason
    logprobs: Logprobs | None = None


class ChatAnswer(Struct):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: Annotated[list[ChatChoice], Meta(min_length=1, max_length=MAX_CHOICES)]
    usage: CompletionUsage


class ChunkChoice(Struct):
    index: int
    delta: dict[str, Any]
    finish_reason: FinishReason | None


class ChatChunk(Struct):
    """One event of a streamed chat. Progress has no choices and stands under `mistral`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: Annotated[list[ChunkChoice], Meta(max_length=1)]
    usage: CompletionUsage | None = None


class TextChoice(Struct):
    index: int
    text: str
    finish_reason: FinishReason | None
    logprobs: dict[str, Any] | None


class TextAnswer(Struct):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: Annotated[list[TextChoice], Meta(max_length=MAX_CHOICES)]
    usage: CompletionUsage | None = None


class EmbeddingList(Struct):
    object: Literal["list"]
    data: list[Any]


class ModelRow(Struct):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    capabilities: dict[str, bool]
    type: Literal["base"] = "base"
    max_context_length: int = 0
    mistral: dict[str, Any] = {}


class ModelList(Struct):
    object: Literal["list"]
    data: list[ModelRow]


class Health(Struct):
    status: Literal["ok", "failed"]
    state: Literal["absent", "unloaded", "loading", "ready", "parked", "failed"]
    model: str

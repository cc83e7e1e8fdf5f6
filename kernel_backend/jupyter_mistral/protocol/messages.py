"""Every message that crosses a wall between our processes: the table of contents. Standard library only.

A request is the OpenAI chat-completions shape plus one field, `mistral`. A reply is any number of progress and text
events, then exactly one end: `End` (stop, length) or a `Failure`. How these become bytes is `wire.py`'s business.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias

PROTOCOL = 1
HOME_ENV = "JUPYTER_MISTRAL_HOME"
CONNECTION_ENV = "JUPYTER_MISTRAL_CONNECTION_FILE"

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
Scope: TypeAlias = Literal["none", "cell", "above", "notebook"]
KV = ("bf16", "fp8", "int8", "int4")  # how keys and values of what was read can be stored
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")
SCOPES: tuple[Scope, ...] = ("none", "cell", "above", "notebook")
IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif")
# a request may hold drawings too; the server makes pixels of them
PICTURE_TYPES = (*IMAGE_TYPES, "image/svg+xml")
DOCUMENT_TYPES = ("application/pdf", "application/octet-stream")

MAX_MESSAGES = 1000
MAX_IMAGES = 8
MAX_IMAGE_BYTES = 20 * 2**20
MAX_BODY_BYTES = 128 * 2**20
MAX_DOCUMENT_BYTES = 50 * 2**20
MAX_TOOLS = 128
MAX_CHOICES = 4
MAX_TOP_LOGPROBS = 20

# code -> (HTTP status, OpenAI error type); what a client may retry is what the statuses 429 and 503 say
FAILURES: dict[str, tuple[int, str]] = {
    "bad_request": (400, "invalid_request_error"),
    "unsupported": (400, "invalid_request_error"),
    "context_too_long": (400, "invalid_request_error"),
    "unauthorized": (401, "authentication_error"),
    "forbidden": (403, "permission_error"),
    "unknown_model": (404, "not_found_error"),
    "not_found": (404, "not_found_error"),
    "model_not_on_disk": (409, "not_ready_error"),
    "cancelled": (409, "cancelled_error"),
    "too_large": (413, "invalid_request_error"),
    "busy": (429, "rate_limit_error"),
    "no_memory": (503, "server_error"),
    "corrupt_model": (503, "server_error"),
    "download_failed": (503, "server_error"),
    "engine_missing": (503, "server_error"),
    "engine_died": (503, "server_error"),
    "engine_stopped": (503, "server_error"),
    "engine_unreachable": (503, "server_error"),
    "engine_refused": (503, "server_error"),
    "not_recorded": (503, "server_error"),
    "internal": (500, "server_error"),
}


class Failure(Exception):
    """What went wrong: a `code` of `FAILURES`, what happened to what, and what to do next, each one sentence."""

    def __init__(self, code: str, message: str, todo: str = "", param: str | None = None) -> None:
        assert code in FAILURES, code
        super().__init__(message)
        self.code, self.message, self.todo, self.param = code, message, todo, param

    @property
    def status(self) -> int:
        return FAILURES[self.code][0]

    def __str__(self) -> str:
        return f"{self.message} {self.todo}".strip()

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's error object; `todo` is the one field that we add."""
        kind = FAILURES[self.code][1]
        return {"message": str(self), "type": kind, "code": self.code, "param": self.param, "todo": self.todo}

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> Failure:
        code = data.get("code")
        code = code if isinstance(code, str) and code in FAILURES else "internal"
        todo, message = str(data.get("todo") or ""), str(data.get("message") or "unknown error")
        return cls(code, message.removesuffix(todo).strip() if todo else message, todo, data.get("param"))


# ---------------------------------------------------------------------------------------------- what is asked


@dataclass(frozen=True)
class Image:
    """An encoded picture (PNG, JPEG, WebP, GIF or SVG bytes), never a URL."""

    mime: str
    data: bytes

    def to_url(self) -> str:
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode()}"

    @classmethod
    def of_url(cls, url: str, where: str) -> Image:
        head, comma, body = url.partition(",")
        mime = head.removeprefix("data:").removesuffix(";base64")
        if not comma or head != f"data:{mime};base64" or mime not in PICTURE_TYPES:
            raise Failure(
                "bad_request",
                f"{where} is not a PNG, JPEG, WebP, GIF or SVG picture as a data: URL; pictures are never fetched.",
                "Send data:image/png;base64,….",
                where,
            )
        if len(body) > MAX_IMAGE_BYTES * 4 // 3 + 4:
            raise Failure(
                "too_large", f"{where} holds more than {MAX_IMAGE_BYTES >> 20} MB.", "Send a smaller picture.", where
            )
        try:
            return cls(mime, base64.b64decode(body, validate=True))
        except (binascii.Error, ValueError):
            raise Failure("bad_request", f"{where} is not valid base64.", "Encode the picture again.", where) from None


@dataclass(frozen=True)
class Tool:
    """A function that the model may ask for. parameters: the JSON schema of its arguments, an object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's object, which chat templates expect too."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class ToolCall:
    """A call that the model asked for. id: nine letters and digits where it is ours. arguments: JSON text."""

    id: str
    name: str
    arguments: str

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True)
class Message:
    """One turn: text and pictures in reading order. A turn of the role `tool` is what the call `tool_call_id` gave."""

    role: Role
    content: tuple[str | Image, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""

    @property
    def text(self) -> str:
        return "".join(part for part in self.content if isinstance(part, str))

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(part for part in self.content if isinstance(part, Image))

    def to_dict(self) -> dict[str, Any]:
        body = {"role": self.role, "content": self._content()}
        if self.tool_calls:
            body["tool_calls"] = [call.to_dict() for call in self.tool_calls]
        return body | ({"tool_call_id": self.tool_call_id} if self.tool_call_id else {})

    def _content(self) -> Any:
        if not self.images:
            return self.text
        return [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image_url", "image_url": {"url": part.to_url()}}
            for part in self.content
        ]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. `temperature` 0 is greedy; `seed` None lets the engine draw one (reported in `Usage`)."""

    temperature: float = 0.15
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


# name: (type, least, most); one table for validation here and for the magics' `-m`
SAMPLING_BOUNDS: dict[str, tuple[type, float, float]] = {
    "temperature": (float, 0.0, 2.0),
    "top_p": (float, 0.0, 1.0),
    "top_k": (int, 0, 1000),
    "min_p": (float, 0.0, 1.0),
    "max_tokens": (int, 1, 131072),
    "seed": (int, 0, 2**53),
    "presence_penalty": (float, -2.0, 2.0),
    "frequency_penalty": (float, -2.0, 2.0),
}


@dataclass(frozen=True)
class Form:
    """What shape the answer must have: free text, or JSON (of a JSON schema), which decoding then enforces."""

    kind: Literal["text", "json"] = "text"
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Extras:
    """The `mistral` field that our own clients add to a request.

    notebook: `{"cells": [nbformat 4 cells], "language": "python", "path": "a.ipynb"}`, as it stands in the editor. A client
        may put an integer (bytes left out) in place of the data of a picture output.
    focus: index of the cell that the question is about. scope: how much of the notebook may be read.
    variables: `{"name", "type", "summary"}` each. budget: tokens of prompt at most; None is what the model holds.
    thorough: a notebook larger than the window is read in parts, and the answer is built from notes on each.
    events: whether progress events are wanted. if_busy: "refuse" makes a busy engine answer `busy` at once.
    instructions: the user's standing ones; they stand in the system text, not in the question.
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
    """What the model may call. choice "required": it must, and the function `only` where that is named. parallel: several at once."""

    tools: tuple[Tool, ...] = ()
    choice: Literal["auto", "none", "required"] = "auto"
    only: str = ""
    parallel: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The fields of a request's body."""
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
    """`POST /mistral/v1/chat/completions`. n: answers to one prompt. top_logprobs: chances of so many rivals of each token; None: no chances."""

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
        """The JSON body that `parse_chat` reads back as an equal request."""
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

    replaces: a message that is dropped first, with what follows (edit: a question; regenerate: an answer, then `content` is empty).
    """

    content: tuple[str | Image, ...]
    sampling: Sampling = field(default_factory=Sampling)
    form: Form = field(default_factory=Form)
    extras: Extras = field(default_factory=Extras)
    model: str | None = None
    replaces: str | None = None


@dataclass(frozen=True)
class CompletionRequest:
    """`POST /mistral/v1/completions`: text that follows `prompt` and, where `suffix` is given (even empty), leads up to it (fill
    in the middle)."""

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
    """`POST /mistral/v1/embeddings`. dimensions: of each vector; None is the model's own."""

    texts: tuple[str, ...]
    model: str | None = None
    is_base64: bool = False
    dimensions: int | None = None


@dataclass(frozen=True)
class Embeddings:
    """One vector for each text, in their order."""

    vectors: tuple[tuple[float, ...], ...]
    model: str
    prompt_tokens: int = 0


# ---------------------------------------------------------------------------------------------- what is answered


@dataclass(frozen=True)
class Queued:
    """`position` requests (1 or more) are ahead of this one."""

    position: int


@dataclass(frozen=True)
class Loading:
    """The model is being made ready. stage: download, quantize, load, warm. fraction: 0 to 1, None where unknown."""

    stage: Literal["download", "quantize", "load", "warm"]
    fraction: float | None = None
    detail: str = ""
    eta_s: float | None = None


@dataclass(frozen=True)
class Reading:
    """Prefill: `done` of `total` prompt tokens are read, `reused` of them came out of the prefix memory.

    part: which of `parts` is read now, 0 where the prompt is one; done and total are then those of all parts.
    """

    done: int
    total: int
    reused: int = 0
    eta_s: float | None = None
    part: int = 0
    parts: int = 0


@dataclass(frozen=True)
class Chance:
    """A token, its bytes, the natural logarithm of its chance, and its likeliest rivals, itself perhaps among them."""

    token: str
    bytes: tuple[int, ...]
    logprob: float
    top: tuple[Chance, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's entry of `logprobs.content`."""
        own: dict[str, Any] = {"token": self.token, "logprob": self.logprob, "bytes": list(self.bytes)}
        return own | {"top_logprobs": [{k: v for k, v in c.to_dict().items() if k != "top_logprobs"} for c in self.top]}

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> Chance:
        top = tuple(cls.of_dict(rival) for rival in data.get("top_logprobs") or ())
        return cls(str(data["token"]), tuple(data.get("bytes") or ()), float(data["logprob"]), top)


@dataclass(frozen=True)
class Delta:
    """The next piece of the answer; chances of its tokens where they were asked for."""

    text: str
    chances: tuple[Chance, ...] = ()


@dataclass(frozen=True)
class CallPiece:
    """The next piece of the answer's call number `index`: its first has `id` and `name`, the others go on with `arguments`."""

    index: int
    arguments: str = ""
    id: str = ""
    name: str = ""


@dataclass(frozen=True)
class Usage:
    """What an answer cost. Token counts are exact; *_s are seconds; speeds are tokens a second; energy in joules, None if unmeasured.

    parts: of a notebook read in parts, `{"cells", "notes", "prompt_tokens", "cached_tokens"}` each; counts above hold them all.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    time_to_first_token_s: float = 0.0
    tokens_per_second: float = 0.0
    prefill_tokens_per_second: float = 0.0
    seconds: float = 0.0
    model: str = ""
    quantization: str = ""
    seed: int | None = None
    context_length: int = 0
    energy_j: float | None = None
    left_out: tuple[str, ...] = ()
    parts: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's usage object; what it has no name for stands under `mistral`."""
        mine = asdict(self)
        prompt, completion, cached = (mine.pop(k) for k in ("prompt_tokens", "completion_tokens", "cached_tokens"))
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
            "mistral": mine,
        }

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> Usage:
        """Reads `to_dict`'s object; a stock server's, which lacks `mistral`, too."""
        known = {f.name for f in fields(cls)}
        mine = {k: v for k, v in (data.get("mistral") or {}).items() if k in known}
        mine["left_out"] = tuple(mine.get("left_out") or ())
        mine["parts"] = tuple(mine.get("parts") or ())
        details = data.get("prompt_tokens_details") or {}
        return cls(
            prompt_tokens=int(data.get("prompt_tokens") or 0),
            completion_tokens=int(data.get("completion_tokens") or 0),
            cached_tokens=int(details.get("cached_tokens") or 0),
            **mine,
        )


@dataclass(frozen=True)
class End:
    """The answer is whole (`stop`), was cut at its longest (`length`), or asks for functions to be called (`tool_calls`)."""

    reason: Literal["stop", "length", "tool_calls"]
    usage: Usage = field(default_factory=Usage)


Event: TypeAlias = Queued | Loading | Reading | Delta | CallPiece | End
PROGRESS: dict[str, type[Queued] | type[Loading] | type[Reading]] = {
    "queued": Queued,
    "loading": Loading,
    "reading": Reading,
}


# ---------------------------------------------------------------------------------------------- documents


@dataclass(frozen=True)
class PageRead:
    """Progress of `POST /mistral/api/read`: `done` of `total` pages. how: text (it was there), ocr (recognized), none."""

    done: int
    total: int
    how: str = "text"


@dataclass(frozen=True)
class Page:
    """A page of a document as Markdown. number: from 1, as the document counts its sheets."""

    number: int
    markdown: str
    how: str = "text"


@dataclass(frozen=True)
class Document:
    """What was read of a PDF. page_count: of the whole document, of which `pages` may be a part.

    `POST /mistral/api/read?pages=2-5,8&ocr=auto|on|off&name=paper.pdf` takes the file's bytes as `application/pdf`, and answers
    with a stream: `{"mistral": {"event": "page_read", "done", "total", "how"}}` for each page, then
    `{"mistral": {"event": "document", "document": {"title", "page_count", "pages": [{"number", "markdown", "how"}], "markdown"}}}`
    and [DONE]; or, instead of all that, a failure.
    """

    title: str
    page_count: int
    pages: tuple[Page, ...]

    @property
    def markdown(self) -> str:
        """All pages, each under its anchor, `[page 3]`, which answers cite."""
        return "\n\n".join(f"[page {page.number}]\n\n{page.markdown}".strip() for page in self.pages)

    def __str__(self) -> str:
        return self.markdown

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"markdown": self.markdown}

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> Document:
        pages = (Page(int(p["number"]), str(p["markdown"]), str(p["how"])) for p in data["pages"])
        return cls(str(data["title"]), int(data["page_count"]), tuple(pages))


# ---------------------------------------------------------------------------------------------- what there is


@dataclass(frozen=True)
class ModelCard:
    """A model as the user sees it. can: "text", "image", "fim" (fill in the middle), "tools", "reasoning", "embedding".

    context_length in tokens. kv: how keys and values are stored (bf16, fp8, int8, int4), once it is loaded. adapter: the LoRA
    adapter in use, "" for none.
    """

    name: str
    title: str = ""
    licence: str = ""
    parameters: int = 0
    quantization: str = ""
    context_length: int = 0
    can: tuple[str, ...] = ("text",)
    kv: str = ""
    adapter: str = ""


@dataclass(frozen=True)
class Seal:
    """How the worker is kept off the network, and whether that was tried out from inside (`measured`).

    `outside`: there is no worker, another program answers; `reason` says where text goes.
    """

    kind: Literal["namespace", "seccomp", "none", "outside"] = "none"
    measured: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Memory:
    """Bytes on the device that holds the model. others: of other processes, None where that is not known, as on the CPU.
    spilled: of layers that did not fit there and stay in host memory.

    gpu: its name; power_w and temperature_c (Celsius): its, as NVML tells them, None where it does not.
    """

    device: str = ""
    weights: int = 0
    kv: int = 0
    free: int = 0
    total: int = 0
    others: int | None = None
    gpu: str = ""
    power_w: float | None = None
    temperature_c: int | None = None
    spilled: int = 0


@dataclass(frozen=True)
class Status:
    """`GET /mistral/api/status`. state: absent (not on disk), unloaded, loading, ready, parked, failed. running, queued: requests.

    engine: what was found out of an engine elsewhere, None where the model runs here.
    """

    version: str
    state: Literal["absent", "unloaded", "loading", "ready", "parked", "failed"]
    default_model: str
    model: ModelCard | None = None
    progress: Loading | None = None
    running: int = 0
    queued: int = 0
    memory: Memory = field(default_factory=Memory)
    seal: Seal = field(default_factory=Seal)
    last: Usage | None = None
    failure: Mapping[str, Any] | None = None
    worker_pid: int | None = None
    idle_unload_s: float = 0.0
    engine: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        data = asdict(self)
        data["last"] = self.last.to_dict() if self.last else None
        return data


JSON: TypeAlias = Mapping[str, Any] | Sequence[Any] | str | int | float | bool | None

"""What an engine elsewhere is and can, found out by asking it: its own lists where it has some, else by a tiny request."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ...protocol.status import ModelCard
from .http import Gone, Refused, Upstream

Kind: TypeAlias = Literal["vllm", "sglang", "llamacpp", "ollama", "mistral", "other"]
PROGRAMS: dict[Kind, str] = {
    "vllm": "vLLM",
    "sglang": "SGLang",
    "llamacpp": "llama.cpp",
    "ollama": "Ollama",
    "mistral": "Jupyter Mistral",
    "other": "an OpenAI-compatible server",
}
_OWNERS: dict[str, Kind] = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llamacpp", "library": "ollama"}
ASSUMED_LENGTH = 4096
PROBE_S = 60.0
BUSY = (429, 503, 529)
# a white square that no vision model is too good for
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAADgAAAA4CAIAAAAn5KxJAAAAP0lEQVR42u3OMQ0AAAwDoPo33R5TsQQUkD4RUVFRUVFRUVFRUVFRUVFR"
    "UVFRUVFRUVFRUVFRUVFRUVFRUVHRM3/7nV0TjaS5AAAAAElFTkSuQmCC"
)
_WORD = "q7"
SCHEMA = {"type": "object", "properties": {"k": {"const": _WORD}}, "required": ["k"], "additionalProperties": False}


@dataclass(frozen=True)
class Facts:
    """An engine and the one model of it that is asked. fim: how text between two texts is asked for, empty where it is not.

    tokenize: whether the engine counts tokens. notes: what the user should know, one sentence each.
    """

    kind: Kind
    card: ModelCard
    names: tuple[str, ...]
    fim: Literal["", "infill", "suffix"] = ""
    tokenize: bool = False
    notes: tuple[str, ...] = ()


async def names_of(upstream: Upstream, within_s: float = 10.0) -> list[dict[str, Any]]:
    """The rows of `/v1/models`. Raises `Refused`, `Gone`."""
    data = (await upstream.ask("GET", "/v1/models", within_s=within_s)).get("data")
    rows = (
        [row for row in data if isinstance(row, dict) and isinstance(row.get("id"), str)]
        if isinstance(data, list)
        else []
    )
    if not rows:
        raise Refused(200, "it lists no models")
    return rows


async def discover(upstream: Upstream, wanted: str, longest: int | None) -> Facts:
    """wanted: a model's name, empty for the first that the engine lists. longest: the admin's own bound of the context.

    Raises `Refused`, `Gone`, and `KeyError` for a name that the engine has not.
    """
    rows = await names_of(upstream)
    row = next((row for row in rows if row["id"] == wanted), None) if wanted else rows[0]
    if row is None:
        raise KeyError(wanted)
    kind = await _kind(upstream, row)
    told = await _details(upstream, kind, row)
    notes = list(told.notes)
    length = min(told.length or ASSUMED_LENGTH, longest or told.length or ASSUMED_LENGTH)
    if not told.length:
        length = longest or ASSUMED_LENGTH
        if not longest:
            notes.append(
                f"It does not tell its context: {length:,} tokens are assumed (c.MistralExtension.context_length)."
            )
    sees = told.sees if told.sees is not None else await _sees(upstream, row["id"])
    fim = await _fim(upstream, kind, row["id"], told.inserts)
    can = ["text", *(["image"] if sees else []), *(["fim"] if fim else []), *told.also]
    title = told.title or row["id"].rpartition("/")[2]
    card = ModelCard(row["id"], title, told.licence, told.parameters, told.quantization, length, tuple(can))
    tokenize = await _tokenizes(upstream, kind, row["id"])
    return Facts(kind, card, tuple(row["id"] for row in rows), fim, tokenize, tuple(notes))


async def _kind(upstream: Upstream, row: Mapping[str, Any]) -> Kind:
    if isinstance(row.get("mistral"), dict):
        return "mistral"
    kind = _OWNERS.get(str(row.get("owned_by", "")).lower(), "other")
    if kind == "ollama" or row.get("owned_by") is None:
        with contextlib.suppress(Refused, Gone):
            if "version" in await upstream.ask("GET", "/api/version"):
                return "ollama"
        return "other"
    return kind


@dataclass(frozen=True)
class _Told:
    """What an engine says of its model. None, 0 and empty: it does not say."""

    length: int = 0
    sees: bool | None = None
    inserts: bool | None = None
    parameters: int = 0
    quantization: str = ""
    title: str = ""
    licence: str = ""
    also: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


async def _details(upstream: Upstream, kind: Kind, row: Mapping[str, Any]) -> _Told:
    if kind == "mistral":
        card = row["mistral"]
        can = [str(word) for word in card.get("can") or ()]
        also = tuple(word for word in can if word not in ("text", "image", "fim"))
        return _Told(
            _whole(card, "context_length"),
            "image" in can,
            "fim" in can,
            _whole(card, "parameters"),
            str(card.get("quantization", "")),
            str(card.get("title") or "")[:100],
            str(card.get("licence") or "")[:100],
            also,
        )
    if kind == "llamacpp":
        return await _of_llamacpp(upstream, row)
    if kind == "ollama":
        return await _of_ollama(upstream, str(row["id"]))
    return _Told(_whole(row, "max_model_len"))


async def _of_llamacpp(upstream: Upstream, row: Mapping[str, Any]) -> _Told:
    meta = row.get("meta") if isinstance(row.get("meta"), dict) else {}
    props: dict[str, Any] = {}
    with contextlib.suppress(Refused, Gone):
        props = await upstream.ask("GET", "/props")
    settings = props.get("default_generation_settings")
    length = _whole(settings, "n_ctx") or _whole(meta, "n_ctx")
    modalities = props.get("modalities")
    sees = bool(modalities.get("vision")) if isinstance(modalities, dict) else None
    return _Told(
        length, sees, None, _whole(meta, "n_params"), str((meta or {}).get("ftype") or props.get("model_ftype") or "")
    )


async def _of_ollama(upstream: Upstream, name: str) -> _Told:
    """Ollama cuts what is longer than its num_ctx off without a word, so what it runs with counts, not what the model could."""
    shown: dict[str, Any] = {}
    running: dict[str, Any] = {}
    with contextlib.suppress(Refused, Gone):
        shown = await upstream.ask("POST", "/api/show", {"model": name})
    with contextlib.suppress(Refused, Gone):
        running = await upstream.ask("GET", "/api/ps")
    lengths = [
        _whole(m, "context_length")
        for m in running.get("models") or ()
        if isinstance(m, dict) and m.get("name") == name
    ]
    for line in str(shown.get("parameters", "")).splitlines():
        key, _, value = line.strip().partition(" ")
        if key == "num_ctx" and value.strip().isdigit():
            lengths.append(int(value))
    length = next((found for found in lengths if found), 0)
    note = "Ollama cuts a longer prompt off without a word; what it told of its context is what is used here."
    can = shown.get("capabilities")
    details = shown.get("details") if isinstance(shown.get("details"), dict) else {}
    return _Told(
        length,
        "vision" in can if isinstance(can, list) else None,
        "insert" in can if isinstance(can, list) else None,
        0,
        str((details or {}).get("quantization_level", "")),
        also=("tools",) if isinstance(can, list) and "tools" in can else (),
        notes=(note,),
    )


def _whole(data: Any, key: str) -> int:
    value = data.get(key) if isinstance(data, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53 else 0


# ---------------------------------------------------------------------------------------------- tried out


async def _sees(upstream: Upstream, name: str) -> bool:
    content = [
        {"type": "text", "text": "Which colour?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
    ]
    return await _is_answered(
        upstream,
        "/v1/chat/completions",
        {"model": name, "messages": [{"role": "user", "content": content}], "max_tokens": 1},
    )


async def _fim(upstream: Upstream, kind: Kind, name: str, inserts: bool | None) -> Literal["", "infill", "suffix"]:
    if kind == "llamacpp":
        body = {"input_prefix": "a = ", "input_suffix": "\n", "n_predict": 1}
        return "infill" if await _is_answered(upstream, "/infill", body) else ""
    if inserts is not None:
        return "suffix" if inserts else ""
    # a server that ignores the suffix reads the same number of tokens with and without it
    counts = []
    for more in ({}, {"suffix": "\n\nprint(total, average, largest)\n"}):
        try:
            told = await upstream.ask(
                "POST",
                "/v1/completions",
                {"model": name, "prompt": "total = ", "max_tokens": 1, **more},
                within_s=PROBE_S,
            )
        except Refused as error:
            if error.status in BUSY:
                raise
            return ""
        counts.append(_whole(told.get("usage"), "prompt_tokens"))
    return "suffix" if counts[1] > counts[0] > 0 else ""


async def _tokenizes(upstream: Upstream, kind: Kind, name: str) -> bool:
    with contextlib.suppress(Refused, Gone, KeyError, TypeError):
        return await count(upstream, kind, name, "one two three") > 0
    return False


async def count(upstream: Upstream, kind: Kind, name: str, text: str) -> int:
    """Tokens of plain text by the engine's own tokenizer. Raises `Refused`, `Gone`, `KeyError`."""
    if kind == "llamacpp":
        told = await upstream.ask("POST", "/tokenize", {"content": text, "add_special": False, "parse_special": False})
        return len(told["tokens"])
    told = await upstream.ask("POST", "/tokenize", {"model": name, "prompt": text, "add_special_tokens": False})
    return int(told["count"]) if "count" in told else len(told["tokens"])


async def render(upstream: Upstream, kind: Kind, name: str, messages: list[dict[str, Any]]) -> int:
    """Tokens of a whole prompt with the chat template's own. Raises as `count`."""
    if kind != "llamacpp":
        told = await upstream.ask(
            "POST", "/tokenize", {"model": name, "messages": messages, "add_generation_prompt": True}
        )
        return int(told["count"]) if "count" in told else len(told["tokens"])
    prompt = (await upstream.ask("POST", "/apply-template", {"messages": messages}))["prompt"]
    told = await upstream.ask("POST", "/tokenize", {"content": prompt, "add_special": True, "parse_special": True})
    return len(told["tokens"])


async def holds_to_schema(upstream: Upstream, name: str) -> bool:
    """Whether answers follow a JSON schema: asked for a word that no model would think of."""
    form = {"type": "json_schema", "json_schema": {"name": "probe", "schema": SCHEMA, "strict": True}}
    messages = [{"role": "user", "content": "Reply with JSON."}]
    body = {"model": name, "messages": messages, "max_tokens": 32, "temperature": 0, "response_format": form}
    try:
        told = await upstream.ask("POST", "/v1/chat/completions", body, within_s=PROBE_S)
        return _WORD in str(told["choices"][0]["message"]["content"])
    except Refused as error:
        if error.status in BUSY:
            raise
        return False
    except (KeyError, IndexError, TypeError):
        return False


async def _is_answered(upstream: Upstream, path: str, body: Mapping[str, Any]) -> bool:
    """Whether it is taken. A busy engine's no is none: that is raised."""
    try:
        await upstream.ask("POST", path, body, within_s=PROBE_S)
    except Refused as error:
        if error.status in BUSY:
            raise
        return False
    return True


# ---------------------------------------------------------------------------------------------- told


def row(card: ModelCard, *, is_default: bool, where: str) -> dict[str, Any]:
    """A line of the catalogue, as `models.listing.rows` has it."""
    return {
        "name": card.name,
        "title": card.title or card.name,
        "licence": "",
        "parameters": card.parameters,
        "can": list(card.can),
        "context_length": card.context_length,
        "disk": {"download": 0, "ready": 0, "now": 0},
        "memory": {},
        "memory_device": "",
        "fits": "external",
        "fits_by_context": {},
        "fits_reason": where,
        "state": "external",
        "default": is_default,
        "gated": False,
        "source": "",
        "note": where,
    }

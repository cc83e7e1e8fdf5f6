"""What an external engine is and supports: as its own APIs report it, otherwise by `probes.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...protocol.status import ModelCard
from . import probes, tokenize_api
from .http import ErrorReply, Kind, Unreachable, Upstream, positive_int

PROGRAMS: dict[Kind, str] = {
    "vllm": "vLLM",
    "sglang": "SGLang",
    "llamacpp": "llama.cpp",
    "ollama": "Ollama",
    "mistral": "Jupyter Mistral",
    "other": "an OpenAI-compatible server",
}
_OWNERS: dict[str, Kind] = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llamacpp", "library": "ollama"}
DEFAULT_CONTEXT = 4096


@dataclass(frozen=True)
class ServedModel:
    """A model of an external engine. names: of all its models.

    fim: the API for fill in the middle, empty for none. notes: sentences for the user.
    """

    kind: Kind
    card: ModelCard
    names: tuple[str, ...]
    fim: Literal["", "infill", "suffix"] = ""
    can_tokenize: bool = False
    notes: tuple[str, ...] = ()


async def names_of(upstream: Upstream, within_s: float = 10.0) -> list[dict[str, Any]]:
    """The rows of `/v1/models`. Raises `ErrorReply`, `Unreachable`."""
    data = (await upstream.ask("GET", "/v1/models", within_s=within_s)).get("data")
    rows = (
        [row for row in data if isinstance(row, dict) and isinstance(row.get("id"), str)]
        if isinstance(data, list)
        else []
    )
    if not rows:
        raise ErrorReply(200, "it lists no models")
    return rows


async def discover(upstream: Upstream, name: str, max_length: int | None) -> ServedModel:
    """name: empty for the first model that the engine lists. max_length: of the context, set by the admin.

    Raises `ErrorReply`, `Unreachable`, and `KeyError` for an unknown name.
    """
    rows = await names_of(upstream)
    row = next((row for row in rows if row["id"] == name), None) if name else rows[0]
    if row is None:
        raise KeyError(name)
    kind = await _kind(upstream, row)
    details = await _details(upstream, kind, row)
    length, notes = _context_length(details, max_length)
    vision = details.vision if details.vision is not None else await probes.accepts_images(upstream, row["id"])
    fim = await probes.fill_in_the_middle(upstream, kind, row["id"], details.fim)
    can = ["text", *(["image"] if vision else []), *(["fim"] if fim else []), *details.also]
    title = details.title or row["id"].rpartition("/")[2]
    card = ModelCard(row["id"], title, details.licence, details.parameters, details.quantization, length, tuple(can))
    can_tokenize = await tokenize_api.is_supported(upstream, kind, row["id"])
    return ServedModel(kind, card, tuple(row["id"] for row in rows), fim, can_tokenize, notes)


def _context_length(details: _Details, max_length: int | None) -> tuple[int, tuple[str, ...]]:
    """The context length, and notes about it."""
    if details.length:
        return min(details.length, max_length or details.length), details.notes
    if max_length:
        return max_length, details.notes
    note = (
        f"The engine does not report its context length; {DEFAULT_CONTEXT:,} tokens are assumed "
        "(c.MistralExtension.context_length)."
    )
    return DEFAULT_CONTEXT, (*details.notes, note)


async def _kind(upstream: Upstream, row: Mapping[str, Any]) -> Kind:
    if isinstance(row.get("mistral"), dict):
        return "mistral"
    kind = _OWNERS.get(str(row.get("owned_by", "")).lower(), "other")
    if kind == "ollama" or row.get("owned_by") is None:
        with contextlib.suppress(ErrorReply, Unreachable):
            if "version" in await upstream.ask("GET", "/api/version"):
                return "ollama"
        return "other"
    return kind


@dataclass(frozen=True)
class _Details:
    """What an engine reports about its model. None, 0 and empty: unknown."""

    length: int = 0
    vision: bool | None = None
    fim: bool | None = None
    parameters: int = 0
    quantization: str = ""
    title: str = ""
    licence: str = ""
    also: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


async def _details(upstream: Upstream, kind: Kind, row: Mapping[str, Any]) -> _Details:
    if kind == "mistral":
        card = row["mistral"]
        can = [str(word) for word in card.get("can") or ()]
        also = tuple(word for word in can if word not in ("text", "image", "fim"))
        return _Details(
            positive_int(card, "context_length"),
            "image" in can,
            "fim" in can,
            positive_int(card, "parameters"),
            str(card.get("quantization", "")),
            str(card.get("title") or "")[:100],
            str(card.get("licence") or "")[:100],
            also,
        )
    if kind == "llamacpp":
        return await _of_llamacpp(upstream, row)
    if kind == "ollama":
        return await _of_ollama(upstream, str(row["id"]))
    return _Details(positive_int(row, "max_model_len"))


async def _of_llamacpp(upstream: Upstream, row: Mapping[str, Any]) -> _Details:
    meta = row.get("meta") if isinstance(row.get("meta"), dict) else {}
    props: dict[str, Any] = {}
    with contextlib.suppress(ErrorReply, Unreachable):
        props = await upstream.ask("GET", "/props")
    settings = props.get("default_generation_settings")
    length = positive_int(settings, "n_ctx") or positive_int(meta, "n_ctx")
    modalities = props.get("modalities")
    vision = bool(modalities.get("vision")) if isinstance(modalities, dict) else None
    return _Details(
        length,
        vision,
        None,
        positive_int(meta, "n_params"),
        str((meta or {}).get("ftype") or props.get("model_ftype") or ""),
    )


async def _of_ollama(upstream: Upstream, name: str) -> _Details:
    """Ollama silently truncates prompts longer than its num_ctx, so the running value counts, not the model's maximum."""
    shown: dict[str, Any] = {}
    running: dict[str, Any] = {}
    with contextlib.suppress(ErrorReply, Unreachable):
        shown = await upstream.ask("POST", "/api/show", {"model": name})
    with contextlib.suppress(ErrorReply, Unreachable):
        running = await upstream.ask("GET", "/api/ps")
    lengths = [
        positive_int(m, "context_length")
        for m in running.get("models") or ()
        if isinstance(m, dict) and m.get("name") == name
    ]
    for line in str(shown.get("parameters", "")).splitlines():
        key, _, value = line.strip().partition(" ")
        if key == "num_ctx" and value.strip().isdigit():
            lengths.append(int(value))
    length = next((length for length in lengths if length), 0)
    note = "Ollama silently truncates longer prompts; the context length that it reports is used here."
    can = shown.get("capabilities")
    details = shown.get("details") if isinstance(shown.get("details"), dict) else {}
    return _Details(
        length,
        "vision" in can if isinstance(can, list) else None,
        "insert" in can if isinstance(can, list) else None,
        0,
        str((details or {}).get("quantization_level", "")),
        also=("tools",) if isinstance(can, list) and "tools" in can else (),
        notes=(note,),
    )


def row(card: ModelCard, *, is_default: bool, where: str) -> dict[str, Any]:
    """A row of the catalogue, as `models.listing.rows` has them."""
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

"""Entries for models outside the catalogue: any hub repository or local folder, described by its config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..protocol.failures import Failure
from .entry import Entry, Hub
from .memory import NF4_BYTES
from .store import NF4, SOURCE, is_4bit, model_dir


def of_hub(name: str) -> Entry:
    """An entry for `org/name`; its shapes are known once its config.json is on disk."""
    bare = Entry(name, name, "see its model card", sources=(Hub(name),))
    for folder in (model_dir(name) / SOURCE, model_dir(name) / NF4):
        config = _config(folder)
        if config:
            return with_shapes(bare, config, folder)
    return bare


def of_folder(name: str) -> Entry:
    """An entry for a local folder. Raises `Failure("unknown_model")` if it contains no model."""
    folder = Path(name).expanduser().resolve()
    config = _config(folder)
    if config is None:
        raise Failure(
            "unknown_model",
            f"{folder} is not a model folder: it has no config.json.",
            "Enter a folder with config.json and *.safetensors.",
            "model",
        )
    bare = Entry(str(folder), folder.name, "yours", folder=str(folder))
    return with_shapes(bare, config, folder)


def _config(folder: Path) -> dict[str, Any] | None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def with_shapes(entry: Entry, config: Mapping[str, Any], folder: Path) -> Entry:
    """Add the shapes from a transformers config.json, and the parameters from the size of the weights (16-bit or NF4)."""
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    assert text is not None

    def number(key: str, default: int = 0) -> int:
        value = text.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default

    heads, hidden = number("num_attention_heads", 1), number("hidden_size")
    tables = 1 if text.get("tie_word_embeddings", config.get("tie_word_embeddings", False)) else 2
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    sixteen_bit = min(tables * number("vocab_size") * hidden, weights // 2)
    packed = NF4_BYTES if is_4bit(folder) else 2
    return replace(
        entry,
        parameters=sixteen_bit + int((weights - 2 * sixteen_bit) / packed),
        sixteen_bit=sixteen_bit,
        layers=number("num_hidden_layers"),
        kv_heads=number("num_key_value_heads", heads),
        head_dim=number("head_dim", hidden // heads),
        context_length=number("max_position_embeddings"),
        can=("text", "image") if config.get("vision_config") else ("text",),
        download_bytes=weights,
    )

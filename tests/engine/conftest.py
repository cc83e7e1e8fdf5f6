"""Real 4-bit models, and workers with them loaded, shared by the tests in this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not, and benchmarks share these modules

import short_gguf
import tiny_mistral3
import tiny_talker
from engine_host import Host
from jupyter_mistral.engine.decode import float32_linear

float32_linear.install()  # so that tests compute the same products as the engine


@pytest.fixture(scope="session")
def gguf(models_home: Path) -> Path:
    """SmolLM2-135M as a GGUF file."""
    return next((models_home / "models" / "smollm2-135m" / "source").glob("*.gguf"))


@pytest.fixture(scope="session")
def short(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with two of its thirty layers and 2,048 of its tokens."""
    return short_gguf.build(tmp_path_factory.mktemp("short") / "source" / "short.gguf", gguf)


@pytest.fixture(scope="session")
def small(gguf: Path) -> Path:
    """SmolLM2-135M in NF4, converted by a worker if it is not there yet."""
    return _converted(gguf)


@pytest.fixture(scope="session")
def embedded(models_home: Path) -> Path:
    """The embedded default, Qwen2.5-Coder-0.5B, in NF4."""
    return _converted(next((models_home / "models" / "qwen2.5-coder-0.5b" / "source").glob("*.gguf")))


def _converted(source: Path) -> Path:
    out = source.parent.parent / "nf4"
    if not (out / "manifest.json").is_file():
        host = Host(source.parent.parent)
        assert host.load(source, out=str(out))["type"] == "ready"
        host.close()
    return out


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Mistral3 with vision and random weights in bf16."""
    return tiny_mistral3.build(tmp_path_factory.mktemp("tiny") / "source")


@pytest.fixture(scope="session")
def tiny(tiny_source: Path) -> Path:
    """The same in NF4."""
    return _quantized(tiny_source)


def _quantized(source: Path) -> Path:
    out = source.parent / "nf4"
    host = Host(source.parent)
    assert host.load(source, out=str(out))["type"] == "ready"
    host.close()
    return out


@pytest.fixture(scope="session")
def talker(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama with SmolLM2's vocabulary, in NF4, for tests that do not need sensible text."""
    return tiny_talker.build(tmp_path_factory.mktemp("talker") / "nf4", small)


@pytest.fixture(scope="module")
def host(talker: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A worker with the tiny llama loaded."""
    yield from _loaded(talker, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def real_host(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A worker with SmolLM2 loaded."""
    yield from _loaded(small, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def seeing_host(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A worker with the tiny Mistral3 loaded."""
    yield from _loaded(tiny, tmp_path_factory.mktemp("home"))


def _loaded(folder: Path, home: Path) -> Iterator[Host]:
    host = Host(home)
    loaded = host.load(folder)
    assert loaded["type"] == "ready", loaded
    yield host
    assert host.close() == 0

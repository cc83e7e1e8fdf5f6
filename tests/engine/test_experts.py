"""A mixture of experts in 4 bit gives the same answers as transformers' own experts with the same weights."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_mixtral
import torch
from bitsandbytes.functional import dequantize_4bit
from engine_host import Host
from jupyter_mistral.engine.decode import float32_linear
from jupyter_mistral.engine.load.engine import Engine
from jupyter_mistral.engine.load.experts import FILE, Experts
from jupyter_mistral.engine.load.loader import load
from row_driver import answer
from torch.nn import functional
from transformers.models.mixtral.modeling_mixtral import MixtralExperts

IDS = [(i * i * 31 + i * 7) % 4000 + 100 for i in range(300)]


@pytest.fixture(scope="module")
def source(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_mixtral.build(tmp_path_factory.mktemp("mixtral") / "source", small)


@pytest.fixture(scope="module")
def mixed(source: Path) -> Path:
    out = source.parent / "nf4"
    host = Host(source.parent)
    loaded = host.load(source, out=str(out))
    assert loaded["type"] == "ready", loaded
    end = host.ask("Hello.", sampling={"max_tokens": 8})
    assert end["type"] == "end" and end["usage"]["completion_tokens"] > 0
    assert host.close() == 0
    return out


@pytest.fixture(scope="module")
def engine(mixed: Path) -> Engine:
    return load({"path": str(mixed), "device": "cpu", "prefix_disk": False}, lambda *told: None)


def _modules(engine: Engine) -> list[Any]:
    return [module for module in engine.decoder._model.modules() if isinstance(module, Experts)]


def test_experts_are_4_bit_and_the_folder_has_their_real_width(mixed: Path, source: Path, engine: Engine) -> None:
    weights = 2 * 4 * 3 * 128 * 192
    assert (mixed / FILE).stat().st_size < weights * 0.6 + 2 * 4 * 2 * 8192, "0.5 bytes a weight, scales and header"
    assert json.loads((mixed / "config.json").read_text())["intermediate_size"] == 192
    assert len(_modules(engine)) == 2
    kept = [weight for weight in engine.decoder._model.parameters() if weight.dim() == 3]
    assert not kept, "the fused tensors of transformers are gone"
    bf16 = sum(path.stat().st_size for path in source.glob("*.safetensors")) / 2
    assert engine.card.parameters == pytest.approx(bf16, rel=0.01)


def test_experts_answer_like_transformers_experts_with_the_same_weights(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, kind = copy.deepcopy(engine.decoder._model.config), torch.bfloat16
    config._experts_implementation = "eager"
    if float32_linear.is_faster():  # theirs multiply in 32 bit too, then
        monkeypatch.setattr(float32_linear, "functional", SimpleNamespace(pad=functional.pad, linear=functional.linear))
        monkeypatch.setattr(functional, "linear", float32_linear.linear)
        kind = torch.float32
    for ours in _modules(engine):
        theirs = MixtralExperts(config).to(kind)
        with torch.no_grad():
            for n in range(4):
                theirs.gate_up_proj[n] = _unpacked(ours.gate_up[n], kind)
                theirs.down_proj[n] = _unpacked(ours.down[n], kind)
        torch.manual_seed(1)
        states = torch.randn(17, 128, dtype=torch.bfloat16)
        chosen = torch.stack([torch.randperm(4)[:2] for _ in range(17)])
        weights = torch.rand(17, 2, dtype=torch.bfloat16)
        with torch.inference_mode():
            assert torch.equal(ours(states, chosen, weights), theirs(states, chosen, weights))


def _unpacked(packed: Any, kind: torch.dtype) -> torch.Tensor:
    state = copy.copy(packed.quant_state)
    state.dtype = kind
    return dequantize_4bit(packed, state)


def test_chunking_does_not_change_the_bits(engine: Engine) -> None:
    whole = answer(engine.decoder, IDS, tokens=8)
    engine.decoder.free_idle()
    engine.decoder.memory = None
    engine.decoder._chunk = 37
    again = answer(engine.decoder, IDS, tokens=8)
    assert torch.equal(whole[1], again[1]) and whole[0] == again[0]


def test_the_second_load_only_copies(mixed: Path, tmp_path: Path) -> None:
    written = (mixed / FILE).stat().st_mtime_ns
    host = Host(tmp_path)
    assert host.load(mixed)["type"] == "ready"
    assert host.ask("Hello.", sampling={"max_tokens": 4})["type"] == "end"
    assert host.close() == 0 and (mixed / FILE).stat().st_mtime_ns == written

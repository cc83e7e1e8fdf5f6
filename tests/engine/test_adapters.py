"""LoRA adapters on a 4-bit model compute what peft would, can be switched, and leave the model unchanged when unloaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_host import Host
from jupyter_mistral.engine.decode.lora import LoraLayer
from jupyter_mistral.engine.load.engine import Engine
from jupyter_mistral.engine.load.loader import load
from jupyter_mistral.protocol.failures import Failure
from row_driver import answer
from safetensors.torch import load_file, save_file

IDS = [(i * i * 31 + i * 7) % 4000 + 100 for i in range(130)]


def _trained(model: Path, out: Path, seed: int, **how: Any) -> Path:
    """An adapter as peft saves it, with weights that matter."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"], **how)
    adapted = get_peft_model(base, config)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.05)
    adapted.save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def first(talker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _trained(talker, tmp_path_factory.mktemp("adapters") / "first", 1)


@pytest.fixture(scope="module")
def second(talker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _trained(talker, tmp_path_factory.mktemp("adapters") / "second", 2, use_rslora=True)


@pytest.fixture
def engine(talker: Path) -> Engine:
    return load({"path": str(talker), "device": "cpu", "prefix_disk": False}, lambda *told: None)


def _scores(engine: Engine) -> torch.Tensor:
    return answer(engine.decoder, IDS, tokens=1)[1]


def test_an_adapter_adds_what_peft_would_add(talker: Path, first: Path, second: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    for folder in (first, second):
        engine = load({"path": str(talker), "prefix_disk": False}, lambda *told: None)
        engine.adapters.load("ours", folder)
        engine.adapters.use("ours")
        theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(talker, dtype=torch.bfloat16), folder)
        with torch.inference_mode():
            want = theirs.eval()(torch.tensor([IDS])).logits[0, -1].float()
            with theirs.disable_adapter():
                bare = theirs(torch.tensor([IDS])).logits[0, -1].float()
        found = _scores(engine).float()
        engine.adapters.use("")
        rounding = (_scores(engine).float() - bare).norm()
        assert (found - want).norm() < 2 * rounding < (want - bare).norm() / 2, "nothing is lost but rounding"


def test_switching_back_and_unloading_restore_the_model(engine: Engine, first: Path, second: Path) -> None:
    plain = _scores(engine)
    engine.adapters.load("a", first)
    assert torch.equal(_scores(engine), plain), "loaded is not in use"
    engine.adapters.use("a")
    with_a = _scores(engine)
    engine.adapters.load("b", second)
    engine.adapters.use("b")
    with_b = _scores(engine)
    assert not torch.equal(with_a, plain) and not torch.equal(with_b, with_a)
    engine.adapters.use("a")
    assert torch.equal(_scores(engine), with_a)
    engine.adapters.unload("a")
    assert engine.adapters.used == "" and engine.adapters.names == ["b"]
    assert torch.equal(_scores(engine), plain)
    engine.adapters.unload("b")
    assert not [module for module in engine.decoder._model.modules() if isinstance(module, LoraLayer)]
    assert torch.equal(_scores(engine), plain)


def test_adapters_do_not_share_cached_prefixes(engine: Engine, first: Path) -> None:
    answer(engine.decoder, IDS, tokens=1)
    engine.adapters.load("a", first)
    engine.adapters.use("a")
    assert answer(engine.decoder, IDS, tokens=1)[2] == 0
    engine.adapters.use("")
    assert answer(engine.decoder, IDS, tokens=1)[2] == 128, "out of the prefix memory, of the model alone"


def _other_shape(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({k: v[:, :-1].contiguous() for k, v in tensors.items()}, folder / "adapter_model.safetensors")


def _other_place(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file(
        {k.replace("layers.0.", "layers.99."): v for k, v in tensors.items()}, folder / "adapter_model.safetensors"
    )


def _cut(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _other_kind(folder: Path) -> None:
    told = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(told | {"use_dora": True}))


def _pickle(folder: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(b"anything")


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (_other_shape, "unsupported"),
        (_other_place, "unsupported"),
        (_cut, "corrupt_model"),
        (_other_kind, "unsupported"),
        (_pickle, "unsupported"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_and_changes_nothing(
    engine: Engine, first: Path, tmp_path: Path, damage: Callable[[Path], None], code: str
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    for path in first.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    damage(folder)
    with pytest.raises(Failure) as refused:
        engine.adapters.load("bad", folder)
    assert refused.value.code == code and refused.value.todo
    assert engine.adapters.names == []
    assert not [module for module in engine.decoder._model.modules() if isinstance(module, LoraLayer)]


def test_a_worker_loads_switches_and_unloads(talker: Path, first: Path, tmp_path: Path) -> None:
    host = Host(tmp_path)
    loaded = host.load(talker, adapter={"name": "a", "path": str(first)})
    assert loaded["type"] == "ready" and loaded["card"]["adapter"] == "a", loaded
    with_a = host.ask("Say hello.")["text"]

    def adapt(**fields: Any) -> dict[str, Any]:
        host.send("adapt", **fields)
        return host.next("adapted", "error")

    assert adapt(name="")["adapter"] == ""
    plain = host.ask("Say hello.")["text"]
    assert plain != with_a
    assert adapt(name="a")["adapter"] == "a"
    assert host.ask("Say hello.")["text"] == with_a
    assert adapt(name="nobody")["failure"]["code"] == "unknown_model"
    assert adapt(name="a", unload=True)["adapters"] == []
    assert host.ask("Say hello.")["text"] == plain
    assert host.close() == 0

"""GGUF files and 16-bit folders are converted to 4-bit weights once, completely or not at all, without running code."""

from __future__ import annotations

import json
import shutil
import signal
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from effort import first
from engine_host import Host
from jupyter_mistral.engine.device import memory
from jupyter_mistral.engine.load.gguf import convert
from jupyter_mistral.protocol.failures import Failure


@pytest.fixture
def bare(tmp_path: Path):  # type: ignore[no-untyped-def]
    host = Host(tmp_path / "home")
    yield host
    host.close()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One worker that is refused one thing after another: none may harm it for the next."""
    host = Host(tmp_path_factory.mktemp("lasting") / "home")
    yield host
    host.close()


def test_a_gguf_is_converted_once_and_then_only_loaded(bare: Host, short: Path, tmp_path: Path) -> None:
    out = tmp_path / "nf4"
    bare.send("load", path=str(short), out=str(out), name="small", device="cpu")
    stages = []
    for frame in bare.frames():
        stages.append(frame.get("stage"))
        if frame["type"] != "loading":
            break
    assert frame["type"] == "ready", frame
    assert stages[0] == "quantize" and "load" in stages and "warm" in stages
    written = (out / "model.safetensors").stat().st_mtime_ns
    assert bare.load(out)["type"] == "ready"
    assert (out / "model.safetensors").stat().st_mtime_ns == written
    assert bare.ask("Say hello.")["reason"] in ("stop", "length")


@pytest.mark.threat("T30")
def test_the_cache_is_for_its_owner_only_and_listed_in_a_manifest(small: Path) -> None:
    manifest = json.loads((small / "manifest.json").read_text())
    names = {path.name for path in small.iterdir() if not path.name.startswith(".")}
    assert set(manifest["files"]) == names - {"manifest.json"}
    assert stat.S_IMODE(small.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in small.iterdir())


@pytest.mark.parametrize("name", first(1, ["short", "gguf"]))
def test_converted_weights_give_the_scores_of_quantizing_on_the_fly(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Same bytes as the transformers way: unpack the whole GGUF, save, quantize while loading."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GgufConfig

    gguf = request.getfixturevalue(name)
    convert(gguf, tmp_path / "nf4", lambda *told: None)
    whole = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    whole.save_pretrained(tmp_path / "bf16")
    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "bf16", quantization_config=how, dtype=torch.bfloat16)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "nf4", dtype=torch.bfloat16)
    ids = torch.arange(100, 164)[None]
    with torch.inference_mode():
        assert torch.equal(theirs(ids).logits, ours(ids).logits)


def test_a_16_bit_folder_is_quantized_and_saved_before_it_runs(tiny: Path, tiny_source: Path) -> None:
    """Saved after a forward, the weights would differ (bitsandbytes repacks them on the CPU with a loss)."""
    from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["lm_head", "model.vision_tower", "model.multi_modal_projector"],
    )
    fresh = AutoModelForImageTextToText.from_pretrained(tiny_source, quantization_config=how, dtype=torch.bfloat16)
    saved = AutoModelForImageTextToText.from_pretrained(tiny, dtype=torch.bfloat16)
    ids = torch.arange(1100, 1164)[None]
    with torch.inference_mode():
        assert torch.equal(fresh(ids).logits, saved(ids).logits)
    eyes = saved.model.vision_tower.transformer.layers[0].attention.q_proj.weight
    assert eyes.dtype == torch.bfloat16, "the eyes stay in 16 bit"
    assert saved.model.language_model.layers[0].mlp.up_proj.weight.dtype == torch.uint8


# ---------------------------------------------------------------------------------------------- what is refused


def _cut(folder: Path) -> str:
    path = folder / "model.safetensors"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1000)
    return path.name


def _flip(folder: Path) -> str:
    path = folder / "model.safetensors"
    with path.open("r+b") as file:
        file.seek(-5000, 2)
        byte = file.read(1)[0]
        file.seek(-5000, 2)
        file.write(bytes([byte ^ 1]))
    return path.name


def _lie_in_the_header(folder: Path) -> str:
    (folder / "manifest.json").unlink()
    path = folder / "model.safetensors"
    with path.open("r+b") as file:
        file.write(struct.pack("<Q", 1 << 60))
    return path.name


def _break_the_config(folder: Path) -> str:
    (folder / "config.json").write_text('{"model_type": ')
    return "config.json"


def _lose_the_tokenizer(folder: Path) -> str:
    (folder / "text_tokenizer.json").unlink()
    return "text_tokenizer.json"


@pytest.mark.threat("T15")
@pytest.mark.fault("F12")
@pytest.mark.parametrize("damage", [_cut, _flip, _lie_in_the_header, _break_the_config, _lose_the_tokenizer])
def test_damaged_files_are_named_and_the_worker_survives(
    lasting: Host, tiny: Path, tmp_path: Path, damage: Callable[[Path], str]
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny, folder)
    name = damage(folder)
    failed = lasting.load(folder)
    assert failed["type"] == "failed" and failed["failure"]["code"] == "corrupt_model", failed
    assert name in failed["failure"]["message"] and failed["failure"]["todo"]
    assert lasting.load(tiny)["type"] == "ready"


@pytest.mark.fault("F12")
def test_a_truncated_gguf_is_named(lasting: Host, short: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(short.read_bytes()[:-500_000])
    failed = lasting.load(cut, out=str(tmp_path / "nf4"))
    assert failed["failure"]["code"] == "corrupt_model" and "cut.gguf" in failed["failure"]["message"]
    assert not (tmp_path / "nf4").exists() and not list(tmp_path.glob(".nf4*"))


@pytest.mark.threat("T15")
def test_code_and_pickles_are_never_opened(lasting: Host, tiny: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return (open, (str(canary), "w"))

    for name, damage in {
        "pytorch_model.bin": lambda path: torch.save(Bomb(), path),
        "modeling_evil.py": lambda path: path.write_text(f"open({str(canary)!r}, 'w')"),
        "weights.pkl": lambda path: torch.save(Bomb(), path),
    }.items():
        folder = tmp_path / name.replace(".", "-")
        shutil.copytree(tiny, folder)
        damage(folder / name)
        failed = lasting.load(folder)
        assert failed["type"] == "failed" and failed["failure"]["code"] == "unsupported", failed
        assert name in failed["failure"]["message"]
    assert not canary.exists()


@pytest.mark.threat("T15")
def test_a_config_that_requests_its_own_code_is_refused(lasting: Host, tiny: Path, tmp_path: Path) -> None:
    for file in ("config.json", "tokenizer_config.json"):
        folder = tmp_path / file.replace(".", "-")
        shutil.copytree(tiny, folder)
        config = json.loads((folder / file).read_text())
        config["auto_map"] = {"AutoConfig": "evil.Config"}
        (folder / file).write_text(json.dumps(config))
        failed = lasting.load(folder)
        assert failed["failure"]["code"] == "unsupported" and "auto_map" in failed["failure"]["message"]


def test_a_missing_path_is_reported(bare: Host, tmp_path: Path) -> None:
    assert bare.load(tmp_path / "nowhere")["failure"]["code"] == "model_not_on_disk"
    bare.send("generate", messages=[{"role": "user", "content": ["hi"]}])
    assert bare.next("error", "end")["failure"]["code"] == "engine_stopped"


# ---------------------------------------------------------------------------------------------- memory


@pytest.mark.fault("F3")
def test_memory_is_refused_with_numbers_before_anything_is_loaded() -> None:
    with pytest.raises(Failure) as caught:
        memory.admit(15 * 10**9, 163_840, 131_072, 131_072, 24 * 10**9, "cuda")
    assert caught.value.code == "no_memory"
    assert "38.4 GB" in caught.value.message and "24.0 GB" in caught.value.message
    assert "at most 43,411 tokens" in caught.value.todo


def test_by_default_the_context_is_the_longest_that_fits() -> None:
    assert memory.admit(15 * 10**9, 163_840, None, 131_072, 24 * 10**9, "cuda") == (43_411, 43_411)
    together = (23 * 10**9 - 500 * 2**20) // 12_288  # tokens for all requests at once
    assert memory.admit(10**9, 12_288, None, 32_768, 24 * 10**9, "cpu") == (32_768, together)
    assert memory.admit(10**9, 12_288, 4096, 32_768, 24 * 10**9, "cpu") == (4096, together)
    with pytest.raises(Failure):
        memory.admit(15 * 10**9, 163_840, None, 131_072, 16 * 10**9, "cuda")


def test_the_context_length_given_at_load_is_the_models(lasting: Host, tiny: Path) -> None:
    assert lasting.load(tiny, context_length=500)["card"]["context_length"] == 500
    failed = lasting.ask("word " * 1000)
    assert failed["failure"]["code"] == "context_too_long"
    assert "the model's context is 500 tokens" in failed["failure"]["message"]
    assert lasting.ask("short")["reason"] in ("stop", "length")


def test_converting_in_process_leaves_nothing_behind_when_it_fails(short: Path, tmp_path: Path) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(short, tmp_path / "nf4", stop)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_fit_is_refused_before_it_is_quantized(
    lasting: Host, tiny_source: Path, tmp_path: Path
) -> None:
    """A config that promises a gigantic cache stands for a gigantic model."""
    folder = tmp_path / "giant"
    shutil.copytree(tiny_source, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"num_hidden_layers": 10**6, "max_position_embeddings": 10**9, "layer_types": None}
    (folder / "config.json").write_text(json.dumps(config))
    failed = lasting.load(folder, out=str(tmp_path / "nf4"))
    assert failed["failure"]["code"] == "no_memory" and "GB" in failed["failure"]["message"], failed
    assert not (tmp_path / "nf4").exists()


def test_an_unknown_architecture_and_other_quantizations_are_named(
    lasting: Host, tiny_source: Path, tmp_path: Path
) -> None:
    for name, change in {
        "arch": {"model_type": "unheard_of"},
        "kind": {"quantization_config": {"quant_method": "fp8"}},
    }.items():
        folder = tmp_path / name
        shutil.copytree(tiny_source, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | change))
        failed = lasting.load(folder, out=str(tmp_path / "nf4"))
        assert failed["failure"]["code"] == "unsupported" and failed["failure"]["todo"], failed


def test_the_worker_ignores_ctrl_c(bare: Host) -> None:
    bare.process.send_signal(signal.SIGINT)
    bare.send("ping", id="p")
    assert bare.next("pong")["id"] == "p"
